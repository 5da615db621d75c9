import dataclasses

import numpy as np
import pytest

from scnn_tf.datasets.annotations import Instance, VideoAnnotation
from scnn_tf.datasets.formats import read_annotations, write_annotations
from scnn_tf.errors import InputError
from scnn_tf.evaluation.bootstrap import match_videos
from scnn_tf.experiments import ablation
from scnn_tf.experiments.variants import all_variants
from scnn_tf.io.folders import FolderInUseError
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
    "training_seconds": {"S-CNN": [10.0, 20.0], "S-CNN without proposal": [8.0, 12.0]},
    "variants": {
        "S-CNN": {"0.3": [0.5, 0.7], "0.5": [0.2, 0.2]},
        "S-CNN without proposal": {"0.3": [0.4, 0.4], "0.5": [0.2, 0.3]},
    },
    "intervals": {
        "S-CNN": {"0.3": [0.5, 0.7], "0.5": [0.1, 0.25]},
        "S-CNN without proposal": {"0.3": [0.3, 0.5], "0.5": [0.1, 0.3]},
    },
    "differences": {
        "S-CNN without proposal": {
            "reference": "S-CNN",
            "map": {
                "0.3": {"mean": -0.2, "interval": [-0.3, -0.1], "exceeds_noise": True},
                "0.5": {"mean": 0.05, "interval": [-0.1, 0.1], "exceeds_noise": False},
            },
        }
    },
    "depths": [0.5, 1.0],
    "top_k": {"S-CNN": [[0.1, 0.3], [0.3, 0.5]]},
}


def test_format_table_is_markdown_with_intervals_and_marked_differences():
    lines = ablation.format_table(SUMMARY).splitlines()
    assert lines[0] == (
        "protocol thumos14: 5 videos, 20 instances, 2 classes; 2 runs; mean [95 % interval]; "
        "**bold**: the interval of the difference excludes 0"
    )
    tables = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")
    ]
    rules = [row for row in tables if set("".join(row)) == {"-"}]
    assert [len(row) for row in rules] == [7, 3]
    assert [row for row in tables if row not in rules] == [
        ["mAP at tIoU", "0.3", "0.5", "minus", "0.3", "0.5", "training, s"],
        ["S-CNN", "0.600 [0.500, 0.700]", "0.200 [0.100, 0.250]", "", "", "", "15"],
        ["S-CNN without proposal", "0.400 [0.300, 0.500]", "0.250 [0.100, 0.300]", "S-CNN",
         "**-0.200 [-0.300, -0.100]**", "+0.050 [-0.100, +0.100]", "10"],
        ["κ", "0.5", "1"],
        ["S-CNN", "0.200", "0.400"],
    ]  # fmt: skip
    # Text aligns: the bars of a table are below one another.
    assert len({tuple(i for i, c in enumerate(line) if c == "|") for line in lines[2:6]}) == 1


def test_wrong_arguments_are_reported_before_anything_is_trained(tmp_path):
    def fails(message, datasets=("a",), **options):
        with pytest.raises(InputError, match=message):
            ablation.run(datasets, output_dir=tmp_path, recipes=[RECIPES["small_paper"]], **options)
        assert not list(tmp_path.iterdir())

    fails("expected a dataset, a seed and a tIoU threshold", datasets=())
    fails("expected a dataset, a seed", seeds=())
    fails("expected a dataset, a seed", tiou_thresholds=())
    fails("folders have different names. Received: a/fold, b/fold", ("a/fold", "b/fold"))
    fails("expected seeds in", seeds=(0, -1))
    fails(r"tIoU thresholds in \(0, 1\]", tiou_thresholds=(0.5, 50))
    fails(r"α in \[0, 1\]", alphas=(0.5, 1.5))
    fails("of these: S-CNN, .*without localization. Received: both, x", names=("both", "x"))
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
            ablation.run([folder], output_dir=tmp_path / "out", recipes=[RECIPES["small_paper"]])
    assert not (tmp_path / "out").exists()


def test_an_unusable_test_video_is_an_error(tiny_dataset, tmp_path, monkeypatch):
    failure = {"video": "b.mp4", "cause": "b.mp4: is empty"}
    found = Summary(Detections([], [], [], [], []), 0, [failure], {})
    monkeypatch.setattr(ablation, "localize_videos", lambda *arguments, **options: found)
    (variant, *_) = all_variants([RECIPES["small_paper"]]).values()
    test = read_annotations(tiny_dataset / "annotations.json", "test")
    dataset = ablation._Dataset(tiny_dataset, tmp_path, test)
    with pytest.raises(InputError, match="b.mp4: is empty: the figures need every test video"):
        ablation._localize(variant, tmp_path, dataset)
    assert not list(tmp_path.rglob("seconds.json"))  # the next call tries again


def test_work_of_another_process_is_left_for_later(monkeypatch):
    slept = []
    monkeypatch.setattr(ablation.time, "sleep", slept.append)
    tries, order = {"a": 0, "b": 0, "c": 0}, []

    def job(name, busy):
        def run():
            tries[name] += 1
            if tries[name] <= busy:
                raise FolderInUseError("another process trains in it")
            order.append(name)
            return name.upper()

        return run

    # The first look finds b free, the second c, the third nothing, the fourth a.
    jobs = {(name,): job(name, busy) for name, busy in (("a", 3), ("b", 0), ("c", 1))}
    assert ablation._done(jobs) == {("a",): "A", ("b",): "B", ("c",): "C"}
    assert order == ["b", "c", "a"] and tries == {"a": 4, "b": 1, "c": 2}
    assert len(slept) == 1


def test_other_errors_end_the_work():
    def job():
        raise InputError("bad data")

    with pytest.raises(InputError, match="bad data"):
        ablation._done({("a",): job})


def test_statistics_compare_each_variant_with_its_reference():
    truth = {name: video(name, 4.0, "run", "jump") for name in "abcd"}
    complete = Detections(
        video=[*"aabbccdd"],
        start=[0, 2] * 4,
        end=[1, 3] * 4,
        label=["run", "jump"] * 4,
        score=np.linspace(0.9, 0.2, 8),
    )
    partial = complete.take(complete.label == "run")
    chosen, runs = {}, {}
    for name, reference, found in (
        ("both", "both", complete),
        ("shared", "both", partial),
        ("shared without overlap", "shared", partial),
    ):
        chosen[name] = ablation.Variant((), reference)
        runs[name] = [match_videos(truth, found, tiou_threshold=0.5)] * 2
    found = ablation._statistics({"0.5": runs}, chosen, num_seeds=2)
    # Whichever videos and runs are drawn, jump, one of two classes, is never found.
    half, whole = {"0.5": [0.5, 0.5]}, {"0.5": [1, 1]}
    assert found["variants"] == found["intervals"] == {
        "both": whole, "shared": half, "shared without overlap": half
    }  # fmt: skip
    assert found["differences"] == {
        "shared": {
            "reference": "both",
            "map": {"0.5": {"mean": -0.5, "interval": [-0.5, -0.5], "exceeds_noise": True}},
        },
        "shared without overlap": {
            "reference": "shared",
            "map": {"0.5": {"mean": 0, "interval": [0, 0], "exceeds_noise": False}},
        },
    }
    # Without the variant that it is compared with, a variant has no difference.
    del chosen["both"], runs["both"]
    (only,) = ablation._statistics({"0.5": runs}, chosen, num_seeds=2)["differences"]
    assert only == "shared without overlap"
