"""Projects and tables as BORIS 7 to 9 write them, shortened by hand."""

import copy

import pytest

from tests.datasets.labels.spans import spans

# Two media files one after the other, 60 s and 40 s, and a second view of both.
PROJECT = {
    "time_format": "hh:mm:ss", "project_date": "2026-03-02T10:14:04", "project_name": "finches",
    "project_description": "", "project_format_version": "7.0",
    "subjects_conf": {"0": {"key": "1", "name": "Ann", "description": ""}},
    "behaviors_conf": {
        "0": {
            "type": "Point event", "key": "p", "code": "peck", "description": "", "category": "",
            "modifiers": {}, "excluded": "", "coding map": "",
        },
        "1": {
            "type": "State event", "key": "f", "code": "fly", "description": "", "category": "",
            "modifiers": {"0": {"name": "where", "type": 0, "values": ["up (u)", "down (d)"]}},
            "excluded": "", "coding map": "",
        },
    },
    "observations": {
        "cage 1": {
            "file": {"1": ["/home/ann/a.mp4", "/home/ann/b.mp4"], "2": ["/home/ann/top.mp4"]},
            "type": "MEDIA", "date": "2026-03-02T10:15:00", "description": "", "time offset": 0.0,
            "events": [
                [1.8, "Ann", "fly", "up", ""], [2.25, "", "fly", "up", ""],
                [4.5, "Ann", "fly", "up", ""], [5.0, "", "peck", "None", "twice", 125],
                [6.5, "", "fly", "up", ""], [58.0, "Ann", "fly", "", ""],
                [60.0, "", "peck", "None", ""], [63.96, "Ann", "fly", "", ""],
            ],
            "observation time interval": [0, 0], "independent_variables": {"weather": "sun"},
            "visualize_spectrogram": False, "close_behaviors_between_videos": False,
            "media_info": {
                "length": {"/home/ann/a.mp4": 60.0, "/home/ann/b.mp4": 40.0,
                           "/home/ann/top.mp4": 100.0},
                "fps": {"/home/ann/a.mp4": 25.0}, "hasVideo": {"/home/ann/a.mp4": True},
                "hasAudio": {"/home/ann/a.mp4": False}, "offset": {"1": 0.0, "2": 0.0},
            },
        },
        "in the field": {
            "file": [], "type": "LIVE", "date": "2026-03-02T15:34:38", "description": "",
            "time offset": 0.0, "events": [[2.0, "", "peck", "", ""]],
            "independent_variables": {}, "scan_sampling_time": 0, "media_info": {"offset": {}},
        },
        "prepared": {
            "file": {"1": ["c.mp4"], "2": []}, "type": "MEDIA", "date": "", "description": "",
            "time offset": 0.0, "events": [], "media_info": {"length": {"c.mp4": 9.5}},
        },
    },
    "behavioral_categories": [], "independent_variables": {}, "coding_map": {}, "converters": {},
}  # fmt: skip

# BORIS 7, "Export events", of one observation; a field is empty up to the last column.
OLD_EVENTS = """Observation id\tcage 1\t\t\t\t\t\t\t\t
\t\t\t\t\t\t\t\t\t
Media file(s)\t\t\t\t\t\t\t\t\t
\t\t\t\t\t\t\t\t\t
Player #1\tday 1/a.mp4\t\t\t\t\t\t\t\t
\t\t\t\t\t\t\t\t\t
Observation date\t2026-03-02 10:15:00\t\t\t\t\t\t\t\t
\t\t\t\t\t\t\t\t\t
Description\t\t\t\t\t\t\t\t\t
\t\t\t\t\t\t\t\t\t
Time offset (s)\t10.0\t\t\t\t\t\t\t\t
\t\t\t\t\t\t\t\t\t
independent variables\t\t\t\t\t\t\t\t\t
variable\tvalue\t\t\t\t\t\t\t\t
weather\tsun\t\t\t\t\t\t\t\t
\t\t\t\t\t\t\t\t\t
Time\tMedia file path\tTotal length\tFPS\tSubject\tBehavior\tBehavioral category\tModifier 1\t\
Comment\tStatus
13.3\tday 1/a.mp4\t60.000\t25.0\tAnn\tfly\t\tup\t\tSTART
14.125\tday 1/a.mp4\t60.000\t25.0\t\tfly\t\tup\t\tSTART
15.0\tday 1/a.mp4\t60.000\t25.0\t\tpeck\t\t\t\tPOINT
17.75\tday 1/a.mp4\t60.000\t25.0\tAnn\tfly\t\tup\t\tSTOP
18.0\tday 1/a.mp4\t60.000\t25.0\t\tfly\t\tdown\t\tSTOP
"""

# BORIS 8 and 9, "Export events" and "Export aggregated events", of two observations.
HEAD = '"Observation id","Observation date",Description,"Observation type",Source,'
EVENTS = (
    HEAD.replace('"Observation type"', '"Observation duration","Observation type"')
    + "Time offset (s),Media duration (s),FPS,weather,Subject,Behavior,Behavioral category,"
    "Modifier #1,Behavior type,Time,Media file name,Image index,Image file path,Comment\n"
    'cage 1,2026-03-02 10:15:00,,100.000,Media file(s),"player #1:/home/ann/a.mp4;/home/ann/b.mp4'
    '|player #2:/home/ann/top.mp4",0.0,60.000;40.000|100.000,25.000;25.000|25.000,sun,Ann,fly,'
    "Not defined,up,START,58.000,a.mp4,1450,NA,\n"
    'cage 1,2026-03-02 10:15:00,,100.000,Media file(s),"player #1:/home/ann/a.mp4;/home/ann/b.mp4'
    '|player #2:/home/ann/top.mp4",0.0,60.000;40.000|100.000,25.000;25.000|25.000,sun,,peck,'
    "Not defined,,POINT,61.000,b.mp4,25,NA,\n"
    'cage 1,2026-03-02 10:15:00,,100.000,Media file(s),"player #1:/home/ann/a.mp4;/home/ann/b.mp4'
    '|player #2:/home/ann/top.mp4",0.0,60.000;40.000|100.000,25.000;25.000|25.000,sun,Ann,fly,'
    "Not defined,up,STOP,63.960,b.mp4,99,NA,\n"
)
AGGREGATED = (
    HEAD + "Time offset (s),Coding duration,Media duration (s),FPS (frame/s),weather,Subject,"
    "Observation duration by subject by observation,Behavior,Behavioral category,Modifier #1,"
    "Behavior type,Start (s),Stop (s),Duration (s),Media file name,Image index start,"
    "Image index stop,Image file path start,Image file path stop,Comment start,Comment stop\n"
    "cage 2,2026-03-02 10:15:00,,Media file,player #1:c.mp4,-5.0,50.000,60.000,25.000,sun,"
    "No focal subject,9.2,fly,Not defined,up,STATE,-3.200,1.125,4.325,c.mp4,45,153,,,,\n"
    "cage 2,2026-03-02 10:15:00,,Media file,player #1:c.mp4,-5.0,50.000,60.000,25.000,sun,"
    "No focal subject,9.2,peck,Not defined,,POINT,2.000,2.000,NA,c.mp4,175,175,,,,\n"
    "yard,2026-03-02 15:34:38,,Live observation,NA,0.0,26.000,NA,NA,sun,"
    "No focal subject,0,peck,Not defined,,POINT,4.151,4.151,NA,NA,NA,NA,,,,\n"
)

# BORIS 7, "Export aggregated events".
OLD_AGGREGATED = (
    "Observation id\tObservation date\tDescription\tMedia file\tTotal length\tFPS\tweather\tSubject"
    "\tBehavior\tBehavioral category\tModifiers\tBehavior type\tStart (s)\tStop (s)\tDuration (s)"
    "\tComment start\tComment stop\n"
    "cage 1\t2026-03-02 10:15:00\t\ta.mp4\t100.000\t25.0\tsun\tAnn\tfly\t\tup|left\tSTATE\t1.800"
    "\t8.125\t6.325\t\t\n"
    "cage 1\t2026-03-02 10:15:00\t\ta.mp4\t100.000\t25.0\tsun\tNo focal subject\tpeck\t\t\tPOINT"
    "\t32.825\t32.825\tNA\t\t\n"
)


def with_observation(**changes):
    """The project with its first observation only, in which something is different."""
    observation = {**copy.deepcopy(PROJECT["observations"]["cage 1"]), **changes}
    return {**PROJECT, "observations": {"cage 1": observation}}


def test_a_state_lasts_from_an_event_to_the_next_of_its_subject_code_and_modifiers(read):
    first, second, *_ = read("finches.boris", PROJECT)
    assert (first.file, first.duration) == ("/home/ann/a.mp4", 60)
    assert spans(first) == [
        ("fly", 1.8, 4.5), ("peck", 5, 5), ("fly", 2.25, 6.5), ("fly", 58, 60),
    ]  # fmt: skip
    assert [span.is_point for span in first.spans] == [False, True, False, False]
    assert first.spans[0].where == "observation 'cage 1', event 1 at 1.8 s to event 3 at 4.5 s"
    assert second.file == "/home/ann/b.mp4"


def test_times_that_run_on_over_several_media_files_are_divided(read):
    _, second, *_ = read("finches.boris", PROJECT)
    # From 58 s to 63.96 s, of which 3.96 s are in the second file; at 60 s, where that one begins.
    assert spans(second) == [("peck", 0, 0), ("fly", 0, 3.96)]


def test_observations_without_media_or_events_are_no_labels(read, warnings):
    *_, live, prepared = read("finches.boris", PROJECT)
    assert live.problem == (
        "observation 'in the field': expected events of media files. Found: no media file"
    )
    assert (prepared.file, prepared.labelled) == ("c.mp4", False)
    _, _, text = warnings[0].partition("finches.boris: ")
    assert text == ("times are those of the first player; not labelled: 1 media file(s) of others")


def test_the_time_offset_of_an_observation_is_not_in_its_video(read):
    events = [[3603.5, "", "fly", "", ""], [3605.25, "", "fly", "", ""]]
    (video, _) = read("a.boris", with_observation(**{"time offset": 3600.0, "events": events}))
    assert spans(video) == [("fly", 3.5, 5.25)]
    (problem,) = read("a.boris", with_observation(media_creation_date_as_offset=True))
    assert problem.problem.endswith(
        "expected times since the start of the media. Found: times since their creation"
    )


def test_events_that_cannot_be_paired_are_kept_with_their_reason(read):
    events = [[1.5, "", "fly", "up", ""], [2, "Ann", "fly", "up"], ["NA", "", "peck", "", ""], [3]]
    video, _ = read("a.boris", with_observation(events=events))
    nameless, *listed = video.spans
    assert (nameless.label, nameless.start) == ("", 3)
    assert [(span.where, span.problem) for span in listed] == [
        (
            "observation 'cage 1', event 3 at NA s", "expected a time in seconds. Found: none",
        ),
        (
            "observation 'cage 1', event 1 at 1.5 s", "it starts what no event after it stops",
        ),
        (
            "observation 'cage 1', event 2 at 2 s", "it starts what no event after it stops",
        ),
    ]  # fmt: skip


def test_a_project_that_does_not_know_the_lengths_of_its_files_names_the_observation(read):
    (problem,) = read("a.boris", with_observation(media_info={}))
    assert problem.problem.startswith(
        "observation 'cage 1': times run on over 2 media files, whose lengths this export does not"
    )
    # Of one file, the length does not matter.
    (video,) = read("a.boris", with_observation(media_info={}, file={"1": ["a.mp4"]}))
    assert spans(video)[-1] == ("fly", 58, 63.96)


def test_an_observation_of_another_form_costs_that_observation(read):
    observations = {"odd": {"events": 3, "type": "MEDIA"}, **PROJECT["observations"]}
    odd, first, *_ = read("a.boris", {**PROJECT, "observations": observations})
    assert odd.problem.startswith("observation 'odd': expected an observation of BORIS. Received:")
    assert len(first.spans) == 4


def test_events_of_boris_7_have_file_and_offset_above_the_table(read):
    (video,) = read("cage.tsv", OLD_EVENTS)
    assert video.file == "day 1/a.mp4"
    # 10 s were added to the times.
    assert spans(video)[:2] == [("peck", 5, 5), ("fly", 3.3, 7.75)]
    assert [(span.where, span.problem) for span in video.spans[2:]] == [
        ("observation 'cage 1', line 22", "it stops what no event before it starts"),
        ("observation 'cage 1', line 19", "it starts what no event after it stops"),
    ]
    assert video.spans[1].where == "observation 'cage 1', line 18 to line 21"
    (same,) = read("cage.csv", OLD_EVENTS.replace("\t", ","))
    assert same == video


def test_events_of_newer_versions_have_files_and_lengths_in_each_row(read):
    first, second = read("events.csv", EVENTS)
    assert (first.file, first.duration, spans(first)) == (
        "/home/ann/a.mp4", 60, [("fly", 58, 60)],
    )  # fmt: skip
    assert (second.file, spans(second)) == (
        "/home/ann/b.mp4", [("peck", 1, 1), ("fly", 0, 3.96)],
    )  # fmt: skip
    assert read("events.tsv", EVENTS.replace(",", "\t")) == [first, second]


def test_aggregated_events_are_intervals_and_points(read):
    video, live = read("events.csv", AGGREGATED)
    assert (video.file, video.duration) == ("c.mp4", 60)
    # The observer has subtracted 5 s from the times of the file.
    assert spans(video) == [("fly", 1.8, 6.125), ("peck", 7, 7)]
    assert [span.is_point for span in video.spans] == [False, True]
    assert live.problem.startswith("observation 'yard': expected events of media files")


def test_aggregated_events_of_boris_7_have_one_media_file(read):
    (video,) = read("events.tsv", OLD_AGGREGATED)
    assert (video.file, spans(video)) == (
        "a.mp4", [("fly", 1.8, 8.125), ("peck", 32.825, 32.825)],
    )  # fmt: skip
    second = "cage 1\t\t\tb.mp4\t100.000\t25.0\tsun\tAnn\tfly\t\t\tSTATE\t70\t80\t10\t\t\n"
    (problem,) = read("events.tsv", OLD_AGGREGATED + second)
    assert "times run on over 2 media files" in problem.problem


@pytest.mark.parametrize(
    ("row", "received"),
    [
        ("cage 1", "'' to ''"),
        ("cage 1\t\t\ta.mp4\t\t\t\t\tfly\t\t\tSTATE\t3.5\tNA\t", "3.5 to 'NA'"),
    ],
)
def test_a_row_that_cannot_be_read_costs_that_row(read, row, received):
    (video,) = read("events.tsv", f"{OLD_AGGREGATED}{row}\n")
    *good, bad = video.spans
    assert (len(good), bad.where) == (2, "observation 'cage 1', line 4")
    assert bad.problem == f"expected two numbers. Received: {received}"
