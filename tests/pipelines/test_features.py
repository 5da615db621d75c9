"""From files of features to detections, by the binaries."""

import json

import numpy as np
import pytest

from scnn_tf.datasets.annotations import Instance, VideoAnnotation
from scnn_tf.datasets.formats import write_annotations


@pytest.fixture
def data(tmp_path):
    """A folder with `features/` of three videos and `annotations.json`."""
    random, videos = np.random.default_rng(0), {}
    (tmp_path / "features").mkdir()
    for name, subset in (("a", "train"), ("b", "train"), ("c", "test")):
        vectors = random.normal(size=(60, 4)).astype(np.float32)
        vectors[20:30, 0] += 3
        np.save(tmp_path / "features" / f"{name}.npy", vectors)
        run = Instance("run", 3.2, 4.8)
        videos[name] = VideoAnnotation(name, subset, 9.6, None, (run,))
    write_annotations(tmp_path / "annotations.json", videos)
    return tmp_path


@pytest.fixture
def build(run_binary, data):
    def run(*flags):
        return run_binary(
            "build_tfrecords", f"--annotations={data / 'annotations.json'}",
            f"--output_dir={data / 'shards'}", *flags,
        )  # fmt: skip

    return run


def test_features_to_detections(run_binary, build, data):
    code, out, _ = build(
        f"--feature_dir={data / 'features'}", "--feature_seconds=0.16", "--recipe=features"
    )
    assert code == 0 and "of 2 videos in 4 shards" in out
    code, _, _ = run_binary("check_dataset", f"--data_dir={data / 'shards'}")
    assert code == 0
    code, out, _ = run_binary(
        "train", f"--data_dir={data / 'shards'}", f"--model_dir={data / 'model'}",
        "--recipe=features", "--steps=4", f"--annotations={data / 'annotations.json'}",
        f"--video_dir={data / 'features'}", "--validation_subset=test",
    )  # fmt: skip
    metrics = json.loads(out)
    assert code == 0 and "map" in metrics["validation"][0]
    code, out, _ = run_binary(
        "localize", f"--model_dir={data / 'model'}", f"--output_dir={data / 'found'}",
        data / "features",
    )  # fmt: skip
    assert code == 0 and "detections in 3 videos" in out
    results = json.loads((data / "found" / "detections.json").read_text())["results"]
    assert set(results) <= {"a", "b", "c"}
    ends = [row["segment"][1] for rows in results.values() for row in rows]
    assert ends and max(ends) <= 9.6


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "give either --video_dir, to cut videos, or --feature_dir"),
        (["--feature_dir=x"], "--recipe=small requires --video_dir"),
        (["--video_dir=x", "--recipe=features"], "--recipe=features requires --feature_dir"),
        (["--feature_dir=x", "--recipe=features"], "expected --feature_seconds"),
        (["--video_dir=x", "--feature_seconds=1"], "takes videos, not features"),
    ],
)
def test_flags_that_do_not_fit_together(build, flags, message):
    code, _, err = build(*flags)
    assert code == 1 and err.startswith("error: ") and message in err
