"""Measures the evaluation against a loop over the rows of a pandas table.

    python -m benchmarks.evaluation --output_json=evaluation.json

Reads nothing: annotations and detections are random, as many as THUMOS'14 has. Figures: seconds of
both protocols and of the loop, which is how evaluators are usually written, and how many times
faster the evaluation is. The benchmark fails if the two give different AP.
"""

import numpy as np

from benchmarks import measure
from scnn_tf.datasets.annotations import Instance, VideoAnnotation, class_names
from scnn_tf.evaluation.evaluate import evaluate
from scnn_tf.evaluation.protocols import PROTOCOLS
from scnn_tf.localization.tables import Detections

TIOU = tuple(np.linspace(0.5, 0.95, 10).round(2).tolist())


def compare(num_videos: int = 213, num_classes: int = 20, num_detections: int = 24_000) -> dict:
    """Returns the duration of the evaluation under both protocols, and of the loop.

    Args:
        num_videos: Number of random videos, with 16 instances each, as in THUMOS'14.
        num_classes: Number of classes of the instances and detections.
        num_detections: Number of detections in all videos.

    Raises:
        InputError: pandas is not installed.
        RuntimeError: The evaluation and the loop give different AP.
    """
    measure.require(packages=["pandas"])
    videos, found = random_case(num_videos, num_classes, num_detections)
    results = {}

    def ours(protocol: str) -> None:
        results[protocol] = evaluate(videos, found, tiou_thresholds=TIOU, protocol=protocol).ap

    def theirs() -> None:
        results["pandas loop"] = _loop_over_rows(videos, found)

    calls = {protocol: lambda protocol=protocol: ours(protocol) for protocol in PROTOCOLS}
    seconds = measure.in_turn({**calls, "pandas loop": theirs}, repeats=3, warm_up=False)
    if not np.allclose(results["activitynet"], results["pandas loop"], rtol=0, atol=1e-12):
        raise RuntimeError("the evaluation and the loop over rows give different AP")
    return {
        "videos": num_videos, "classes": num_classes, "detections": num_detections,
        "thresholds": len(TIOU),
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "times_faster": round(seconds["pandas loop"] / seconds["activitynet"], 1),
    }  # fmt: skip


def random_case(
    num_videos: int, num_classes: int, num_detections: int, seed: int = 0
) -> tuple[dict[str, VideoAnnotation], Detections]:
    """Returns annotated videos of 200 s, and detections, half of them around an instance."""
    random = np.random.default_rng(seed)
    names = [f"class{i:04d}" for i in range(num_classes)]
    videos = {}
    for number in range(num_videos):
        starts = random.uniform(0, 180, 16)
        instances = tuple(
            Instance(names[random.integers(num_classes)], float(start), float(start + length))
            for start, length in zip(starts, random.uniform(1, 20, 16), strict=True)
        )
        name = f"video{number:05d}"
        videos[name] = VideoAnnotation(name, "test", 200.0, 25.0, instances, file=f"{name}.mp4")
    truth = [(name, i) for name, video in videos.items() for i in video.instances]
    rows = []
    for index in random.integers(len(truth), size=num_detections):
        name, instance = truth[index]
        length = instance.end - instance.start
        start = instance.start + length * random.normal(0, 0.2)
        rows.append((name, start, start + length * random.uniform(0.6, 1.5), instance.label))
    videos_of, starts, ends, labels = zip(*rows, strict=True)
    labels = np.where(
        random.random(num_detections) < 0.5, labels, random.choice(names, num_detections)
    )
    found = Detections(
        list(videos_of), list(starts), list(ends), labels.tolist(),
        random.permutation(num_detections) / num_detections,  # all different
    )  # fmt: skip
    return videos, found


def _loop_over_rows(videos: dict[str, VideoAnnotation], found: Detections) -> np.ndarray:
    """Returns the AP, float64 `[K, T]`, row by row: each takes its best free instance."""
    import pandas as pd

    truth = pd.DataFrame(
        [(name, i.label, i.start, i.end) for name, v in videos.items() for i in v.instances],
        columns=["video", "label", "start", "end"],
    )
    rows = pd.DataFrame(
        {
            "video": found.video, "label": found.label, "start": found.start, "end": found.end,
            "score": found.score,
        }
    )  # fmt: skip
    result = []
    for label in class_names(videos.values()):
        instances = truth[truth.label == label].reset_index(drop=True)
        ours = rows[rows.label == label].sort_values("score", ascending=False)
        by_video = dict(list(instances.groupby("video")))
        true = np.zeros((len(TIOU), len(ours)), bool)
        taken = np.zeros((len(TIOU), len(instances)), bool)
        for position, (_, row) in enumerate(ours.iterrows()):
            if row.video not in by_video:
                continue
            here = by_video[row.video]
            inside = np.minimum(row.end, here.end) - np.maximum(row.start, here.start)
            inside = inside.clip(lower=0)
            overlap = inside / (row.end - row.start + here.end - here.start - inside)
            overlap = overlap.sort_values(ascending=False)
            for at, threshold in enumerate(TIOU):
                for index, value in overlap.items():
                    if value < threshold:
                        break
                    if not taken[at, index]:
                        taken[at, index] = true[at, position] = True
                        break
        result.append([_interpolated(hits, len(instances)) for hits in true])
    return np.array(result)


def _interpolated(hits: np.ndarray, num_instances: int) -> float:
    """Returns the area under the interpolated precision, as ActivityNet's evaluator has it."""
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    recall = np.cumsum(hits) / num_instances
    precision = np.hstack([[0], precision, [0]])
    recall = np.hstack([[0], recall, [1]])
    for i in range(len(precision) - 2, -1, -1):
        precision[i] = max(precision[i], precision[i + 1])
    steps = np.flatnonzero(recall[1:] != recall[:-1]) + 1
    return float(((recall[steps] - recall[steps - 1]) * precision[steps]).sum())


def run() -> None:
    """Runs this benchmark as a program."""
    measure.run(compare)


if __name__ == "__main__":
    run()
