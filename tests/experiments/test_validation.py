import pytest

from scnn_tf.datasets.formats import read_annotations
from scnn_tf.errors import InputError
from scnn_tf.evaluation.evaluate import evaluate
from scnn_tf.experiments import validation
from scnn_tf.experiments.validation import VideoMeasure, build_validation_shards
from scnn_tf.localization.formats import read_detections
from scnn_tf.localization.run import ModelFolder, localize_videos
from scnn_tf.models.checkpoints import load_stage
from scnn_tf.models.recipes import get_recipe
from scnn_tf.shards.files import read_manifest


@pytest.fixture
def measure(tiny_dataset, tiny_models):
    """`measure(proposal_dir)` measures in the video of the subset test."""

    def make(proposal_dir):
        return VideoMeasure(
            read_annotations(tiny_dataset / "annotations.json", "test"),
            video_dir=tiny_dataset / "videos", data_dir=tiny_dataset / "shards",
            proposal_dir=proposal_dir,
        )  # fmt: skip

    return make


@pytest.mark.parametrize("proposal", [True, False])
def test_the_map_of_a_localization_network_is_that_of_localize_and_evaluate(
    proposal, measure, tiny_dataset, tiny_models, tmp_path
):
    """Filtered by the proposal network, where there is one."""
    localize_videos(
        [tiny_dataset / "videos" / "cat.mp4"], ModelFolder(tiny_models, proposal=proposal), tmp_path
    )
    expected = evaluate(
        read_annotations(tiny_dataset / "annotations.json", "test"),
        read_detections(tmp_path / "detections.json"),
        tiou_thresholds=[0.3, 0.5, 0.7],
    ).to_json()
    network, info = load_stage(tiny_models / "localization")
    found = measure(tiny_models / "proposal" if proposal else tmp_path / "none")(network, info)
    assert found == expected


def test_videos_that_are_too_large_to_hold_are_decoded_each_time(
    measure, tiny_models, monkeypatch, tmp_path
):
    """The video has 80 frames of 32 × 32 × 3 bytes."""
    network, info = load_stage(tiny_models / "localization")
    reads = []
    read_frames = validation.read_frames
    monkeypatch.setattr(validation, "read_frames", lambda *a: reads.append(a) or read_frames(*a))
    results = []
    for room, times in ((80 * 32 * 32 * 3, 1), (80 * 32 * 32 * 3 - 1, 2)):
        monkeypatch.setattr(validation, "_CACHE_BYTES", room)
        measured = measure(tiny_models / "proposal")
        results += [measured(network, info), measured(network, info)]
        assert len(reads) == times
        reads.clear()
    assert all(result == results[0] for result in results)


def test_a_validation_video_without_annotations_is_named(tiny_dataset, tmp_path):
    with pytest.raises(InputError, match="expected annotations of the validation videos. Found: n"):
        build_validation_shards(
            read_annotations(tiny_dataset / "annotations.json"), ["dog"],
            video_dir=tiny_dataset / "videos", output_dir=tmp_path / "shards",
            recipe=get_recipe(tiny_dataset / "recipe.json"),
            manifest=read_manifest(tiny_dataset / "shards"),
        )  # fmt: skip
