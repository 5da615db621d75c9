"""Labels as SubRip and WebVTT, as editors of subtitles and VIA write them."""

import pytest

from tests.datasets.labels.spans import spans

SRT = """1
00:00:01,500 --> 00:00:03,000
walk

2
00:00:03,000 --> 00:00:04,250
walk
wave, slowly

3
00:00:04,250 --> 01:00:05,000
{\\an8}<i>wave, slowly</i>
"""
VTT = """WEBVTT - kitchen

STYLE
::cue { color: red }

NOTE
checked by Ann

pour-1
00:01.500 --> 00:03.000 line:0 position:20%
<v Ann>pour &amp; stir

00:00:02.000 --> 00:00:04.000
<c.loud>clap</c>
"""


def test_a_file_has_the_name_of_its_video_and_a_cue_has_its_class(read):
    (video,) = read("kitchen_01.vtt", VTT)
    assert video.file == "kitchen_01"
    assert spans(video) == [("pour & stir", 1.5, 3), ("clap", 2, 4)]
    assert video.spans[0].where == "line 10, 1.5 to 3.0 s"


def test_a_line_of_srt_that_goes_on_in_the_next_cue_is_one_instance(read):
    (video,) = read("hall_01.srt", SRT)
    # walk:       |1.5 ------ 4.25|
    # wave:            |3 ------------ 3605|
    assert spans(video) == [("walk", 1.5, 4.25), ("wave, slowly", 3, 3605)]
    # Where one class holds at a time, each cue is an instance.
    alone = SRT.replace("walk\nwave, slowly", "walk")
    assert spans(read("a.srt", alone)[0])[:2] == [("walk", 1.5, 3), ("walk", 3, 4.25)]
    # WebVTT has a cue for each of those that overlap.
    (video,) = read("a.vtt", "WEBVTT\n\n" + SRT.replace(",500", ".500").replace(",000", ".000"))
    assert len(video.spans) == 4


def test_scores_behind_the_classes_are_no_part_of_them(read):
    scored = SRT.replace("walk", "walk (0.912)").replace("slowly", "slowly (1)")
    assert read("hall_01.srt", scored) == read("hall_01.srt", SRT)
    numbered = SRT.replace("walk", "step (1)")
    assert spans(read("hall_01.srt", numbered)[0])[0] == ("step (1)", 1.5, 4.25)


@pytest.mark.parametrize(
    "text",
    [
        SRT.replace("\n\n", "\n"),
        "\ufeff" + SRT.replace("\n", "\r\n"),
        "\n\n" + SRT.replace(",", ".").replace("wave.", "wave,"),
    ],
)
def test_srt_as_other_programs_write_it(read, text):
    assert spans(read("a.srt", text)[0]) == [("walk", 1.5, 4.25), ("wave, slowly", 3, 3605)]


def test_cues_that_cannot_be_read_are_kept_with_their_line(read):
    (video, arrow) = read(
        "a.srt",
        "1\n00:00:01,000 --> 00:75:02,000\nrun\n\n2\n00:00:03,000 -> 00:00:04,000\nsit\n\n"
        "3\n00:00:05,000 --> 00:00:06,000\n\n",
    )
    broken, empty = video.spans
    assert (broken.where, broken.problem) == (
        "line 2, 1.0 to '00:75:02.000' s",
        "expected two numbers. Received: 1.0 to '00:75:02.000'",
    )
    assert (empty.label, empty.start, empty.end) == ("", 5, 6)
    assert arrow.problem == (
        "line 6: expected times such as 0:01:02.500 --> 0:01:04.000. Received: "
        "00:00:03,000 -> 00:00:04,000"
    )


def test_a_file_without_cues_is_not_labelled(read):
    (video,) = read("a.vtt", "WEBVTT\n")
    assert (video.spans, video.labelled) == ((), False)
