import dataclasses

import numpy as np
import pytest

from scnn_tf.datasets.annotations import Instance, VideoAnnotation
from scnn_tf.datasets.formats import read_annotations, write_annotations
from scnn_tf.errors import InputError
from scnn_tf.experiments import ablation
from scnn_tf.localization.run import Summary
from scnn_tf.localization.tables import Detections, RawSegments
from scnn_tf.models.recipes import RECIPES
from scnn_tf.segments.prior import WindowPrior


def video(name: str, duration: float, *labels: str) -> VideoAnnotation:
    """A video with an instance of one second every two seconds."""
    instances = tuple(Instance(label, 2.0 * i, 2.0 * i + 1) for i, label in enumerate(labels))
    return VideoAnnotation(name, "test", duration, None, instances)


TRUTH = {
    "a": video("a", 8.0, "run", "jump", "run"),
    "b": video("b", 4.0, "run", "Ambiguous"),
}


def test_top_k_keeps_the_best_of_each_class_in_order():
    found = Detections(
        video=["a", "b", "a", "b", "a", "a", "b"],
        start=range(7),
        end=range(1, 8),
        label=["run", "run", "jump", "run", "jump", "run", "run"],
        score=[0.2, 0.9, 0.8, 0.3, 0.7, 0.3, 0.1],
    )
    # run has 3 instances, jump 1. κ = .5: ⌈1.5⌉ = 2 of run (.9, and of the two .3 the first),
    # ⌈.5⌉ = 1 of jump (.8). The order is unchanged.
    assert ablation.top_k(found, TRUTH, 0.5).start.tolist() == [1, 2, 3]
    # κ = 1: 3 and 1.
    assert ablation.top_k(found, TRUTH, 1).start.tolist() == [1, 2, 3, 5]
    # κ = 10: all of them.
    assert ablation.top_k(found, TRUTH, 10).start.tolist() == list(range(7))
    assert len(ablation.top_k(found.take(np.arange(0)), TRUTH, 1)) == 0


def test_top_k_curve_by_hand():
    truth = {"a": video("a", 4.0, "run", "run")}  # [0, 1) and [2, 3)
    segments = RawSegments(
        video=["a"] * 3,
        window_frames=[16, 16, 32],
        start=[0.0, 6.0, 2.0],
        end=[1.0, 7.0, 3.0],
        label=["run"] * 3,
        score=[0.9, 0.8, 0.7],
    )
    # Right, wrong, right. κ = .5 keeps 1 of 2 instances' worth: AP = (1/1)/2. κ = 1 keeps 2: the
    # same. κ = 1.5 keeps 3: (1/1 + 2/3)/2.
    curve = ablation.top_k_curve(truth, segments, None, depths=(0.5, 1.0, 1.5))
    assert curve == pytest.approx([0.5, 0.5, 5 / 6])
    # A prior of .8 for 16 and .2 for 32 frames leaves the order; of .1 and .9 it puts the last
    # one first: right, right (.09), wrong (.08).
    prior = WindowPrior(("run",), (16, 32), np.ones((1, 2), int), np.array([[0.1, 0.9]]))
    curve = ablation.top_k_curve(truth, segments, prior, depths=(0.5, 1.0))
    assert curve == pytest.approx([0.5, 1.0])


SUMMARY = {
    "protocol": "thumos14",
    "videos": 5,
    "instances": 20,
    "classes": 2,
    "runs": [["fold0", 0], ["fold0", 1]],
    "variants": {
        "S-CNN": {"0.3": [0.5, 0.7], "0.5": [0.2, 0.2]},
        "w/o proposal": {"0.3": [0.4, 0.4], "0.5": [0.0, 0.1]},
    },
    "depths": [0.5, 1.0],
    "top_k": {"S-CNN": [[0.1, 0.3], [0.3, 0.5]]},
}


def test_format_table_has_mean_and_deviation_of_the_runs():
    # SD of .5 and .7: √((.1² + .1²)/1) = .141; of 0 and .1: .071.
    assert [line.split() for line in ablation.format_table(SUMMARY).splitlines()] == [
        "protocol thumos14: 5 videos, 20 instances, 2 classes; 2 runs, mean ± SD".split(),
        "mAP at tIoU 0.3 0.5".split(),
        "S-CNN 0.600 ± 0.141 0.200 ± 0.000".split(),
        "w/o proposal 0.400 ± 0.000 0.050 ± 0.071".split(),
        "mAP at .5 of the best κ detections of a class for each instance".split(),
        "κ 0.5 1".split(),
        "S-CNN 0.200 0.400".split(),
    ]


def test_the_deviation_of_a_single_run_is_zero():
    single = {
        **SUMMARY,
        "variants": {"S-CNN": {"0.5": [0.25]}},
        "top_k": {"S-CNN": [[0.1, 0.3]]},
    }
    assert "0.250 ± 0.000" in ablation.format_table(single)


def test_wrong_arguments_are_reported_before_anything_is_trained(tmp_path):
    def fails(message, datasets=("a",), **options):
        with pytest.raises(InputError, match=message):
            ablation.run(datasets, output_dir=tmp_path, recipe=RECIPES["small_paper"], **options)
        assert not list(tmp_path.iterdir())

    fails("expected a dataset, a seed and a tIoU threshold", datasets=())
    fails("expected a dataset, a seed", seeds=())
    fails("expected a dataset, a seed", tiou_thresholds=())
    fails("folders have different names. Received: a/fold, b/fold", ("a/fold", "b/fold"))
    fails("expected seeds in", seeds=(0, -1))
    fails(r"tIoU thresholds in \(0, 1\]", tiou_thresholds=(0.5, 50))
    fails(r"α in \[0, 1\]", alphas=(0.5, 1.5))
    fails("annotations.json: no such file", datasets=(str(tmp_path / "none"),))


def test_a_dataset_without_a_test_action_is_refused_before_anything_is_built(tmp_path):
    folder = tmp_path / "fold0"
    ann = dataclasses.replace(video("ann", 8.0, "run"), subset="train")
    for videos, message in (
        ({"ann": ann}, "expected videos of the subset 'test'. Found: train"),
        ({"ann": ann, "cat": video("cat", 4.0)}, "expected at least one action in its subset"),
    ):
        write_annotations(folder / "annotations.json", videos)
        with pytest.raises(InputError, match=f"fold0/annotations.json: {message}"):
            ablation.run([folder], output_dir=tmp_path / "out", recipe=RECIPES["small_paper"])
    assert not (tmp_path / "out").exists()


def test_an_unusable_test_video_is_an_error(tiny_dataset, tmp_path, monkeypatch):
    failure = {"video": "b.mp4", "cause": "b.mp4: is empty"}
    found = Summary(Detections([], [], [], [], []), 0, [failure], {})
    monkeypatch.setattr(ablation, "localize_videos", lambda *arguments, **options: found)
    test = read_annotations(tiny_dataset / "annotations.json", "test")
    with pytest.raises(InputError, match="b.mp4: is empty: the figures need every test video"):
        ablation._segments(
            tmp_path, ablation.Variant("localization"), tiny_dataset / "videos", test
        )
    assert not list(tmp_path.rglob("seconds.json"))  # the next call tries again
