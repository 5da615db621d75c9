"""Matches as SoccerNet-v2 labels them, and samples of OSL JSON as its documentation has them."""

import pytest

from scnn_tf.errors import InputError
from tests.datasets.labels.spans import spans

MATCH = {
    "UrlLocal": "england_epl/2014-2015/2015-02-21 - 18-00 A 1 - 1 B/",
    "UrlYoutube": "",
    "annotations": [
        {
            "gameTime": "1 - 06:35", "label": "Ball out of play", "position": "395123",
            "team": "not applicable", "visibility": "visible",
        },
        {
            "gameTime": "2 - 00:00", "label": "Kick-off", "position": "0", "team": "away",
            "visibility": "not shown",
        },
        {"gameTime": "1 - 45:01", "label": "Goal", "position": "2701600", "team": "home",
         "visibility": "visible"},
    ],
    "gameAwayTeam": "B", "gameDate": "21/02/2015 - 18:00", "gameHomeTeam": "A",
    "gameScore": "1 - 1",
}  # fmt: skip

OSL = {
    "version": "2.0", "date": "2026-05-19", "task": "action_spotting",
    "dataset_name": "demo", "modalities": ["video"],
    "metadata": {"sport": "soccer", "split": "train"},
    "labels": {"action": {"type": "single_label", "labels": ["pass", "shot"]}},
    "data": [
        {
            "id": "attack_0001",
            "inputs": [
                {"type": "video", "path": "wide/attack_0001.mp4", "fps": 25.0},
                {"type": "video", "path": "close/attack_0001.mp4", "fps": 25.0},
                {"type": "tracking_parquet", "path": "tracking/attack_0001.parquet"},
            ],
            "events": [
                {"head": "action", "label": "pass", "position_ms": 1240},
                {"head": "action", "label": "shot", "gameTime": "1 - 00:04"},
            ],
        },
        {"id": "new", "inputs": [{"type": "video", "path": "new.mp4"}]},
        {"id": "calm", "inputs": [{"type": "video", "path": "calm.mp4"}], "events": []},
    ],
}  # fmt: skip


def test_the_halves_of_a_match_are_a_video_each(read):
    first, second = read("Labels-v2.json", MATCH)
    folder = "england_epl/2014-2015/2015-02-21 - 18-00 A 1 - 1 B"
    assert (first.file, first.stored_as) == (f"{folder}/1_224p.mkv", f"{folder}/1_720p.mkv")
    assert spans(first) == [("Ball out of play", 395.123, 395.123), ("Goal", 2701.6, 2701.6)]
    assert second.file == f"{folder}/2_224p.mkv"
    assert spans(second) == [("Kick-off", 0, 0)]
    assert all(span.is_point for video in (first, second) for span in video.spans)


def test_labels_without_positions_have_the_second_of_the_half(read, tmp_path):
    # SoccerNet's first version; here the folder of the file is that of the match.
    (video,) = read("Labels.json", {"annotations": [{"gameTime": "2 - 46:08", "label": "goal"}]})
    assert (video.file, spans(video)) == (
        f"{tmp_path.name}/2_224p.mkv", [("goal", 2768, 2768)],
    )  # fmt: skip


def test_an_annotation_that_cannot_be_read_costs_that_annotation(read):
    bad = [3, {"gameTime": "6:35", "label": "Goal"}, {"gameTime": "1 - 6:75", "label": "Goal"}]
    *problems, first, _ = read("a.json", {**MATCH, "annotations": [*bad, *MATCH["annotations"]]})
    expected = 'expected a "gameTime" such as "1 - 06:35". Received:'
    assert [video.problem for video in problems] == [
        f"annotation 1: {expected} 3", f"annotation 2: {expected} '6:35'",
    ]  # fmt: skip
    assert first.spans[0].problem == "expected the time of a point. Found: none"


def test_osl_events_hold_for_each_view(read):
    wide, close, new, calm = read("annotations_train.json", OSL)
    assert (wide.file, wide.subset) == ("wide/attack_0001.mp4", "train")
    assert spans(wide) == [("pass", 1.24, 1.24), ("shot", 4, 4)]
    assert (close.file, close.spans) == ("close/attack_0001.mp4", wide.spans)
    assert (new.labelled, calm.labelled, calm.spans) == (False, True, ())


def test_osl_with_several_heads_needs_the_name_of_one(read):
    event = {"head": "card", "label": "red", "position_ms": 10}
    sample = {**OSL["data"][0], "events": [*OSL["data"][0]["events"], event]}
    with pytest.raises(InputError, match="Found: action, card; name it .--attribute"):
        read("a.json", {**OSL, "data": [sample]})
    assert spans(read("a.json", {**OSL, "data": [sample]}, "card")[0]) == [("red", 0.01, 0.01)]


def test_osl_predictions_and_broken_samples_are_no_labels(read):
    with pytest.raises(InputError, match="expected labels. Found: predictions"):
        read("a.json", {**OSL, "metadata": {"type": "predictions"}})
    features = {"inputs": [{"type": "frames_npy", "path": "a.npy"}], "events": []}
    *problems, _, _, _, _ = read("a.json", {**OSL, "data": [3, features, *OSL["data"]]})
    assert problems[0].problem.startswith("sample 1: expected a sample of OSL JSON. Received:")
    assert problems[1].problem == "sample 2: expected a video among its inputs. Found: none"
