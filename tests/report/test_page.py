import dataclasses
import json
import math
import re
import shutil
from urllib.parse import unquote

import numpy as np
import pytest

from scnn_tf.datasets.annotations import AMBIGUOUS, Instance, VideoAnnotation
from scnn_tf.errors import InputError
from scnn_tf.evaluation.error_types import classify
from scnn_tf.evaluation.evaluate import evaluate
from scnn_tf.localization.tables import Detections
from scnn_tf.report.page import write_report

TRUTH = {
    "v": VideoAnnotation(
        "v", "test", 30.0, None,
        (Instance("run", 0, 10), Instance("jump", 20, 32), Instance(AMBIGUOUS, 15, 16)),
    ),
    "empty": VideoAnnotation("empty", "test", None, None, (Instance("run", 0, math.inf),), True),
}  # fmt: skip
FOUND = Detections(
    ["v", "v", "v", "w"], [0, 1, 21, 5], [9, 10, 31, 6], ["run", "run", "jump", "sit"],
    [0.25, 0.5, 1 / 3, 0.9],
)  # fmt: skip
NONE = FOUND.take(np.zeros(4, bool))


def data_of(path) -> dict:
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>',
                         path.read_text())  # fmt: skip
    return json.loads(text)


def test_rows_without_a_length_or_a_score_count_and_are_drawn_as_a_point(tmp_path):
    nan, inf = math.nan, math.inf
    times = [(5, 5), (4, 3), (nan, 2), (1, inf), (1, 2), (1, 2), (1, 2)]
    scores = [0.5, 0.4, 0.3, 0.2, nan, inf, -inf]
    found = Detections(["v"] * 7, *zip(*times, strict=True), ["run"] * 7, scores)
    instances = tuple(Instance("run", *span) for span in [(0, 0), (9, 8), (nan, 1), (1, 2)])
    truth = {"v": VideoAnnotation("v", "test", None, None, instances)}
    write_report(tmp_path / "r.html", found, ground_truth=truth, tiou_thresholds=[0.5])
    page = data_of(tmp_path / "r.html")
    (video,) = page["videos"]
    # inf is drawn like the highest score, -inf and none like the lowest: background, true,
    # background four times, double detection.
    assert video["errorType"] == ["5055551"]
    assert video["start"] == [5, 1, 4, 0, 1, 1, 1] and video["stop"] == [5, 2, 4, 0, 1, 1, 2]
    assert video["score"] == [0.5, 0.5, 0.4, 0.3, 0.2, 0.2, 0.2]
    assert video["instances"] == [[0, 0, 0], [0, 9, 9], [0, 0, 0], [0, 1, 2]]
    assert page["evaluations"]["these detections"]["map"] == {"0.5": 0.25}
    assert page["evaluations"]["these detections"]["detections"] == {"0.5": 7}


def test_the_data_of_a_page_by_hand(tmp_path):
    write_report(
        tmp_path / "new" / "r.html", FOUND, ground_truth=TRUTH, tiou_thresholds=[0.5, 0.85]
    )
    page = data_of(tmp_path / "new" / "r.html")
    assert page["labels"] == ["jump", "run"]  # the ground truth lacks video w
    video, empty = page["videos"]
    # Best first: scores .5, 1/3, .25. tIoU of run .9 and .9; the better score takes the instance.
    assert video == {
        "id": "v", "duration": 30.0, "end": 32.0, "label": [1, 0, 1], "start": [1.0, 21.0, 0.0],
        "stop": [10.0, 31.0, 9.0], "score": [0.5, 0.333333, 0.25],
        "instances": [[1, 0, 10], [0, 20, 32], [-1, 15, 16]], "errorType": ["001", "031"],
    }  # fmt: skip
    assert [page["errorTypes"][int(kind)] for kind in "031"] == [
        "true positive", "localization", "double detection",
    ]  # fmt: skip
    assert empty["instances"] == [[1, 0, 1.0]] and empty["score"] == []
    only = FOUND.take(FOUND.video == "v")
    expected = evaluate(TRUTH, only, tiou_thresholds=[0.5, 0.85]).to_json()
    assert page["evaluations"] == {"these detections": expected}
    # jump: one of one; run: true, then a double detection; one of two instances is found.
    assert page["precision"]["run"] == {"instances": 2, "precision": [[1.0], [1.0]]}
    assert page["precision"]["jump"] == {"instances": 1, "precision": [[1.0], []]}
    # At .333333 there are two true positives and three instances: F1 = 4 / 5.
    assert (page["threshold"], page["shownTiou"]) == (0.333333, 0)


def test_without_ground_truth_there_are_no_error_types(tmp_path):
    write_report(tmp_path / "r.html", FOUND, title="found")
    page = data_of(tmp_path / "r.html")
    assert [video["id"] for video in page["videos"]] == ["w", "v"]
    assert page["videos"][0] == {
        "id": "w", "duration": 6.0, "end": 6.0, "label": [2], "start": [5.0], "stop": [6.0],
        "score": [0.9],
    }  # fmt: skip
    assert page["threshold"] is None and "precision" not in page and not page["evaluations"]
    assert (tmp_path / "r.html").stat().st_size < 100_000  # Plotly is in it only for charts


def test_error_types_follow_the_protocol(tmp_path):
    for protocol in ("thumos14", "activitynet"):
        options = {"tiou_thresholds": [0.3], "protocol": protocol}
        write_report(tmp_path / "r.html", FOUND, ground_truth=TRUTH, **options)
        best_first = FOUND.take([1, 2, 0])
        expected = "".join(map(str, classify(TRUTH, best_first, **options)[:, 0]))
        assert data_of(tmp_path / "r.html")["videos"][0]["errorType"] == [expected]


def test_the_same_input_gives_the_same_page(tmp_path):
    for name in ("a.html", "b.html"):
        write_report(tmp_path / name, FOUND, ground_truth=TRUTH)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


EVIL = '</script><img src=x onerror="alert(1)">{{plotly}}\u2028&lt;'


def test_text_of_a_file_never_becomes_markup(tmp_path):
    found = dataclasses.replace(FOUND, label=[EVIL] * 4, video=[EVIL] * 4)
    truth = {EVIL: VideoAnnotation(EVIL, "test", 30.0, None, (Instance(EVIL, 0, 10),))}
    write_report(
        tmp_path / "r.html", found, ground_truth=truth, title=EVIL,
        training={EVIL: {"metrics": {EVIL: EVIL}, "loss": [(1, math.nan)], "accuracy": []}},
    )  # fmt: skip
    text = (tmp_path / "r.html").read_text()
    assert "<img" not in text and 'onerror="' not in text.replace('\\"', "")
    assert len(re.findall("</script", text)) == 3
    page = data_of(tmp_path / "r.html")
    assert page["title"] == page["labels"][0] == page["videos"][0]["id"] == EVIL
    assert page["training"][EVIL]["loss"] == [[1, None]]
    # Only scripts with these checksums run, and nothing is loaded from the network.
    (policy,) = re.findall('Content-Security-Policy" content="(.*?)"', text)
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert policy.count("sha256") == 2 and "unsafe-eval" not in policy


def test_addresses_of_videos_are_relative_to_the_page(tiny_dataset, tmp_path):
    folder = tmp_path / "some videos #1"
    folder.mkdir()
    shutil.copy(tiny_dataset / "videos" / "cat.mp4", folder / "v.mp4")
    write_report(tmp_path / "pages" / "r.html", FOUND, videos={"v": folder / "v.mp4"})
    video, other = data_of(tmp_path / "pages" / "r.html")["videos"]
    assert "src" not in other
    assert video["src"] == "./../some%20videos%20%231/v.mp4"
    assert (tmp_path / "pages" / unquote(video["src"])).resolve() == folder / "v.mp4"
    # 80 frames at 25 Hz; detections last longer.
    assert (video["duration"], video["end"]) == (3.2, 31.0)


def test_a_video_without_detections_is_shown(tiny_dataset, tmp_path, caplog):
    videos = {"cat": tiny_dataset / "videos" / "cat.mp4", "gone": tmp_path / "gone.mp4"}
    write_report(tmp_path / "r.html", NONE, videos=videos)
    cat, gone = data_of(tmp_path / "r.html")["videos"]
    assert cat["src"].endswith("/cat.mp4") and cat["score"] == []
    assert gone["note"] == f"{tmp_path / 'gone.mp4'} does not exist."
    assert "there are no detections: the page shows none" in caplog.text


def test_a_file_name_that_is_not_utf_8_is_shown_with_question_marks(tmp_path):
    write_report(tmp_path / "r.html", NONE, videos={"a\udcff": tmp_path / "a\udcff.mp4"})
    (video,) = data_of(tmp_path / "r.html")["videos"]
    assert video["id"] == "a?" and "its name is not UTF-8" in video["note"]


def test_invalid_arguments_are_refused(tmp_path):
    def fails(message, detections, **options):
        with pytest.raises(InputError, match=message):
            write_report(tmp_path / "r.html", detections, **options)
        assert not (tmp_path / "r.html").exists()

    fails("expected a detection, ground truth or a video to show", NONE)
    fails(
        "Received: 1 detections of other videos, such as 'w'", FOUND.take([3]), ground_truth=TRUTH
    )
    fails("expected a number as score threshold", FOUND, score_threshold=math.nan)
    fails(r"thresholds in \(0, 1\]", FOUND, ground_truth=TRUTH, tiou_thresholds=[50])
    fails("Received: 'mine'", FOUND, ground_truth=TRUTH, protocol="mine")
    fails(
        "another name for an evaluation than the page's own, these detections",
        FOUND,
        ground_truth=TRUTH,
        evaluations={"these detections": {}},
    )
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        write_report(tmp_path / "file" / "r.html", FOUND)


def test_a_page_that_is_too_large_for_browsers_is_refused(tiny_dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("scnn_tf.report.page._MAX_CHARACTERS", 40_000)
    video = {"v": tiny_dataset / "videos" / "cat.mp4"}
    with pytest.raises(InputError, match="more than browsers open; do not embed the videos"):
        write_report(tmp_path / "r.html", FOUND, videos=video, embed_videos=True)
