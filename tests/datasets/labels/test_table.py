"""Tables of labels as people and spreadsheets write them."""

import math

import pytest

from scnn_tf.datasets.labels.labelled import LabelledVideo
from scnn_tf.datasets.labels.table import seconds
from scnn_tf.errors import InputError
from tests.datasets.labels.spans import spans


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12.5", 12.5),
        ("02:03.5", 123.5),
        ("1:02:03", 3723),
        (" 90 ", 90),
        ("-1", -1),
        ("1e1", 10),
        ("90:30", 5430),
    ],
)
def test_times_are_seconds_or_clock_times(text, expected):
    assert seconds(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "one", "1:60", "1:2:3:4", "1.5:20", "1:-2", "-1:30", "1_2", "\uff11\uff12", "inf",
        "nan", "1,5", "0:75", "1s", "00:00:01:12", "12:01:30 AM", "2023-01-01", "0:0\u0663",
        "1:60:00",
    ],
)  # fmt: skip
def test_an_invalid_time_is_nan(text):
    assert math.isnan(seconds(text))


def test_csv_columns_may_be_in_any_order_and_have_other_names(read):
    text = (
        "\ufeffEnd_s,Class,note,start_s,Filename,Split\r\n"
        "15.0,pour,,12.4,kitchen_01.mp4,train\r\n"
        "00:00:40.7,stir,good,0:21.2,kitchen_01.mp4,train\r\n"
        "\r\n"
        ",,,,hall_01,test\r\n"
    )
    kitchen, hall = read("a.csv", text)
    assert (kitchen.file, kitchen.subset, kitchen.in_frames) == ("kitchen_01.mp4", "train", False)
    assert spans(kitchen) == [("pour", 12.4, 15.0), ("stir", 21.2, 40.7)]
    assert hall == LabelledVideo("hall_01", (), subset="test")


def test_csv_separated_by_semicolons_may_have_decimal_commas(read):
    (video,) = read("a.csv", 'video;label;start;end\nv;"run; fast";1,5;2,25\n')
    assert spans(video) == [("run; fast", 1.5, 2.25)]
    (video,) = read("a.tsv", "video\tlabel\tstart\tend\nv\trun, fast\t1.5\t2\n")
    assert spans(video) == [("run, fast", 1.5, 2.0)]


def test_invalid_times_of_a_csv_are_kept_with_their_line_and_reason(read):
    (video,) = read("a.csv", 'video,label,start,end\nv,run,1,\nv,run,"1,5",2\n')
    assert [span.where for span in video.spans] == ["line 2, 1 to nothing", "line 3, 1,5 to 2"]
    expected = "is no time (expected seconds or h:m:s, such as 72.5 or 0:01:12.5)"
    assert [span.problem for span in video.spans] == [
        f"its end {expected}. Received: ''", f"its start {expected}. Received: '1,5'",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "video,label,start,end\rv,run,1,2\rv,sit,3,4\r",  # as Macs wrote it
        "sep=;\nvideo;label;start;end\nv;run;1,0;2\nv;sit;3;4\n",
        '"sep=|"\r\nvideo|label|start|end\r\nv|run|1|2\r\nv|sit|3|4\r\n',
        "video,label,start,end,,\nv,run,1,2,,\nv,sit,3,4,,,,\n",  # Excel's spare columns
        "\n,,,\nvideo,label,start,end,note\nv,run,1,2\nv,sit,3,4,good\n",
    ],
)
def test_csv_as_spreadsheets_write_it(read, text):
    (video,) = read("a.csv", text)
    assert spans(video) == [("run", 1, 2), ("sit", 3, 4)]


def test_a_quote_that_is_not_closed_is_named(read):
    (row,) = read("a.csv", 'video,label,start,end\nv,"run,1,2\nw,run,1,2\n')
    assert row.problem == (
        "line 3: expected values of one line. Received: 'run,1,2\\nw,run,1,2'…; close its quote"
    )


def test_a_row_that_cannot_be_read_costs_that_row(read):
    unnamed, long, video = read(
        "a.csv", "video,label,start,end\n,run,1,2\nv,run,1,5,2,5\nv,run,1,2\n"
    )
    assert unnamed.problem == "line 2: expected the name of a video. Found: none"
    assert long.problem == "line 3: expected 4 values. Received: 6"
    assert (spans(video), video.problem) == ([("run", 1, 2)], "")


def test_kinetics_has_columns_of_its_own(read):
    text = (
        "label,youtube_id,time_start,time_end,split\n"
        '"applauding, loudly",-0h7V3gzTCk,10,20,validate\n'
        "testifying,---QUuC4vJs,84,94,validate\n"
    )
    first, second = read("kinetics-600_val.csv", text)
    assert (first.file, first.subset, spans(first)) == (
        "-0h7V3gzTCk", "validate", [("applauding, loudly", 10.0, 20.0)],
    )  # fmt: skip
    assert spans(second) == [("testifying", 84.0, 94.0)]


def test_hacs_clips_are_no_whole_actions(read):
    text = (
        "classname,youtube_id,subset,start,end,label\n"
        "Archery,a2X2hz1G6i8,training,15.5,17.5,1\nArchery,NUdji_CqvcY,training,77.5,79.5,-1\n"
    )
    with pytest.raises(InputError, match=r"clips of 2 s, as of HACS Clips.*take HACS Segments"):
        read("HACS_clips_v1.1.csv", text)
