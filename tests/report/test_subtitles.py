import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scnn_tf.errors import InputError
from scnn_tf.localization.tables import Detections
from scnn_tf.report.subtitles import srt_lines, vtt_lines, write_subtitles

FOUND = Detections(
    video=["v", "v", "v", "w"],
    start=[1.0, 2.5, 3599.9996, 0.0],
    end=[4.0, 3.0, 360000.0, 0.0001],
    label=["run", "a <b> & c\n\n-->", "sit", "run"],
    score=[0.25, 0.75, 1e-6, 0.5],
)
NONE = Detections([], [], [], [], [])


def test_srt_by_hand(tmp_path):
    (path, other) = write_subtitles(tmp_path / "new", FOUND)
    assert path == tmp_path / "new" / "v.srt"
    # Where two hold, the better one comes first. 3599.9996 s are one hour, not 59 min 60 s.
    assert path.read_text() == (
        "1\n00:00:01,000 --> 00:00:02,500\nrun (0.25)\n\n"
        "2\n00:00:02,500 --> 00:00:03,000\na <b> & c --> (0.75)\nrun (0.25)\n\n"
        "3\n00:00:03,000 --> 00:00:04,000\nrun (0.25)\n\n"
        "4\n01:00:00,000 --> 100:00:00,000\nsit (1e-06)\n\n"
    )
    assert other.name == "w.srt"


def test_vtt_by_hand(tmp_path):
    (path, other) = write_subtitles(tmp_path, FOUND, form="vtt", score_threshold=0.25)
    assert path.read_text() == (
        "WEBVTT\n\n"
        "00:00:01.000 --> 00:00:04.000\nrun (0.25)\n\n"
        "00:00:02.500 --> 00:00:03.000\na &lt;b&gt; &amp; c --&gt; (0.75)\n\n"
    )
    assert other.read_text() == "WEBVTT\n\n"  # it rounds to nothing


def test_subtitles_without_a_detection(tmp_path):
    assert write_subtitles(tmp_path, NONE) == []
    (path, _) = write_subtitles(tmp_path, FOUND, score_threshold=2.0)
    assert path.read_text() == ""


def test_a_detection_before_the_beginning_of_the_video():
    early = Detections(["v"] * 2, [-1.0, -2.0], [1.0, -1.0], ["run"] * 2, [0.5, 0.4])
    assert list(vtt_lines(early))[1:] == ["00:00:00.000 --> 00:00:01.000\nrun (0.5)\n\n"]


def test_a_detection_that_never_ends():
    late = Detections(["v"], [0.0], [1.7e308], ["run"], [0.5])
    assert list(vtt_lines(late))[1].startswith("00:00:00.000 --> 277777777:46:40.000\n")


def test_detections_without_a_length_or_a_score_are_left_out(tmp_path):
    nan = float("nan")
    found = Detections(
        ["v"] * 5, [5.0, 3.0, nan, 1.0, 1.0], [5.0, 2.0, 2.0, np.inf, 2.0], ["run"] * 5,
        [0.9, 0.9, 0.9, 0.9, nan],
    )  # fmt: skip
    (path,) = write_subtitles(tmp_path, found, form="vtt")
    assert path.read_text() == "WEBVTT\n\n"


def test_subtitles_lie_in_the_folders_of_the_id(tmp_path):
    names = ["cam1/GH010001", "cam2/GH010001"]
    found = Detections(names, [1.0, 2.0], [2.0, 3.0], ["run", "sit"], [0.5, 0.5])
    paths = write_subtitles(tmp_path, found)
    assert paths == [tmp_path / f"{name}.srt" for name in names]
    assert "run" in paths[0].read_text() and "sit" in paths[1].read_text()


def test_invalid_arguments_are_refused(tmp_path):
    with pytest.raises(InputError, match="expected subtitles as srt or vtt. Received: 'ass'"):
        write_subtitles(tmp_path, FOUND, form="ass")
    with pytest.raises(InputError, match="expected a number as score threshold"):
        write_subtitles(tmp_path, FOUND, score_threshold=float("nan"))
    for name in ("../v", "..", "", "/v", "a//v", "a/./v", "a\\v"):
        with pytest.raises(InputError, match="expected video ids that can be file names"):
            write_subtitles(tmp_path, Detections([name], [0], [1], ["run"], [1]))
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"v\.srt: cannot be written"):
        write_subtitles(tmp_path / "file", FOUND)


def milliseconds(clock):
    hours, minutes, seconds, rest = map(int, re.split("[:.,]", clock))
    return ((hours * 60 + minutes) * 60 + seconds) * 1000 + rest


spans = st.tuples(st.integers(0, 30), st.integers(1, 10), st.integers(0, 9))


@given(st.lists(spans, max_size=12))
def test_every_instant_shows_the_detections_that_hold(rows):
    found = Detections(
        ["v"] * len(rows), [row[0] / 3 for row in rows], [(row[0] + row[1]) / 3 for row in rows],
        [f"class{n}" for n in range(len(rows))], [row[2] / 10 for row in rows],
    )  # fmt: skip
    for lines in (srt_lines(found), vtt_lines(found)):
        cues = []
        for block in "".join(lines).split("\n\n"):
            if "-->" in block:
                times, *texts = block.splitlines()[block[0].isdigit() and "\n0" in block :]
                cues.append((*map(milliseconds, times.split(" --> ")), texts))
        for time in np.arange(0, 14, 1 / 6) + 0.05:
            shown = {t.split()[0] for s, e, texts in cues if s <= 1000 * time < e for t in texts}
            real = (found.start <= time) & (time < found.end)
            assert shown == set(found.label[real].tolist())
    times = [re.findall(r"\S+:\S+", line) for line in srt_lines(found)]
    ends = [milliseconds(clock) for pair in times for clock in pair]
    assert ends == sorted(ends)
