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
SPANS = [
    ("walk", 1.5, 3), ("walk", 3, 4.25), ("wave, slowly", 3, 4.25), ("wave, slowly", 4.25, 3605)
]  # fmt: skip
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


def test_each_line_of_a_cue_is_an_instance(read):
    (video,) = read("hall_01.srt", SRT)
    assert spans(video) == SPANS


def test_markup_is_that_of_the_form(read):
    cue = "00:00:01.000 --> 00:00:02.000\na <b>c</b> <c> &lt;\n\n"
    assert spans(read("a.srt", "1\n" + cue)[0]) == [("a c <c> &lt;", 1, 2)]
    assert spans(read("a.vtt", "WEBVTT\n\n" + cue)[0]) == [("a c  <", 1, 2)]


@pytest.mark.parametrize(
    "text",
    [
        SRT.replace("\n\n", "\n"),
        "\ufeff" + SRT.replace("\n", "\r\n"),
        "\n\n" + SRT.replace(",", ".").replace("wave.", "wave,"),
    ],
)
def test_srt_as_other_programs_write_it(read, text):
    assert spans(read("a.srt", text)[0]) == SPANS


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
