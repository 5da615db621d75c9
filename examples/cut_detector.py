"""Measures what the cuts alone reveal about stitched videos.

    python examples/cut_detector.py DIR [DIR …]

Each DIR holds `annotations.json` and `videos/`, as `stitch_videos.py` writes them. Cuts are found
where the picture changes, without a network. Each interval between neighboring cuts is a detection;
its score is the strength of its weaker cut. The ground truth gives its class: that of the instance
that covers the most of it, or background if none covers half. So only the times count. For
comparison, every video is also cut into equal parts, without a look at its pictures.

Prints, for the subset "test" and as means over the folders: which share of the cuts are boundaries
of instances, which share of the boundaries are at cuts (within 3 frames), and the mAP of the
detections. All settings are those with the best mAP at tIoU .5 on the subset "train".
"""

import itertools
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from scnn_tf.datasets.annotations import Instance, VideoAnnotation
from scnn_tf.datasets.formats import read_annotations
from scnn_tf.evaluation.evaluate import evaluate
from scnn_tf.io import video
from scnn_tf.localization.tables import Detections

FPS = 25.0
HEIGHT, WIDTH = 36, 45  # pixels
TOLERANCE = 3 / FPS  # seconds between a boundary and its cut
TIOU = (0.3, 0.5, 0.7)
# Settings. Frames before and after a cut: 6 are half of the longest cross-fade.
WINDOWS = (1, 3, 6)
THRESHOLDS = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
PARTS = (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0)  # seconds

Videos = Mapping[str, VideoAnnotation]
Cuts = dict[str, dict[int, float]]
"""Video id → frame → strength of the cut before it. The ends of the video have any strength."""


def main(folders: list[str]) -> None:
    """Prints the means over the folders of data."""
    rows = {"detected cuts": [], "equal parts": []}
    for folder in map(Path, folders):
        truth = {s: read_annotations(folder / "annotations.json", s) for s in ("train", "test")}
        changes = {
            subset: {key: relative_change(folder / "videos" / v.file) for key, v in videos.items()}
            for subset, videos in truth.items()
        }
        candidates = {
            "detected cuts": [
                {s: find_cuts(changes[s], n, threshold) for s in truth}
                for n, threshold in itertools.product(WINDOWS, THRESHOLDS)
            ],
            "equal parts": [
                {s: equal_parts(truth[s], round(seconds * FPS)) for s in truth} for seconds in PARTS
            ],
        }
        for name, choices in candidates.items():
            best = max(choices, key=lambda cuts: mean_ap(truth["train"], cuts["train"])[1])["test"]
            test = truth["test"]
            rows[name].append((*precision_recall(test, best), *mean_ap(test, best)))
    columns = ("precision", "recall", *(f"mAP@{tiou:g}" for tiou in TIOU))
    print(f"{'':<16}" + "".join(f"{name:>10}" for name in columns))
    for name, values in rows.items():
        print(f"{name:<16}" + "".join(f"{value:>10.3f}" for value in np.mean(values, axis=0)))


def relative_change(path: Path) -> dict[int, np.ndarray]:
    """Returns how much the picture of a video changes at each frame, for each of `WINDOWS`.

    The change is the difference between the mean picture of the n frames before and that of the n
    frames from this one on. It is divided by its median over a second, so that an actor who moves
    fast is no cut.

    Returns:
        n → float64 `[frames]`; 0 where the video has fewer than n frames before or after.
    """
    frames = np.stack(list(video.read_frames(path, FPS, HEIGHT, WIDTH)))
    total = np.concatenate([np.zeros_like(frames[:1], float), frames.cumsum(axis=0, dtype=float)])
    result = {}
    for n in WINDOWS:
        means = (total[n:] - total[:-n]) / n
        change = np.abs(means[n:] - means[:-n]).mean(axis=(1, 2, 3))
        change = np.pad(change, (n, n - 1))
        usual = np.median(_nearby(change, round(FPS / 2)), axis=1)
        result[n] = change / (usual + 0.5)  # half a grey level is noise
    return result


def find_cuts(changes: Mapping[str, dict[int, np.ndarray]], n: int, threshold: float) -> Cuts:
    """Returns the frames at which the change is the largest within n frames, and large enough.

    Args:
        changes: `relative_change` by video id.
        n: One of `WINDOWS`.
        threshold: The least change.
    """
    cuts = {}
    for key, change in ((key, of_windows[n]) for key, of_windows in changes.items()):
        peaks = np.flatnonzero((change >= threshold) & (change == _nearby(change, n).max(axis=1)))
        ends = {0: np.inf, len(change): np.inf}
        cuts[key] = dict(sorted((ends | {int(i): float(change[i]) for i in peaks}).items()))
    return cuts


def equal_parts(videos: Videos, length: int) -> Cuts:
    """Returns a cut every `length` frames."""
    return {
        key: dict.fromkeys([*range(0, frames - length // 2, length), frames], 1.0)
        for key, frames in ((key, round(v.duration * FPS)) for key, v in videos.items())
    }


def precision_recall(videos: Videos, cuts: Cuts) -> tuple[float, float]:
    """Returns the share of cuts that are boundaries, and of boundaries that are at cuts.

    The two ends of a video are no cuts, and no boundaries.
    """
    right, found = [], []
    for key, annotation in videos.items():
        times = np.array(list(cuts[key])[1:-1]) / FPS
        ends = {time for i in annotation.actions for time in (i.start, i.end)}
        boundaries = [t for t in ends if TOLERANCE < t < annotation.duration - TOLERANCE]
        near = np.abs(times[:, None] - boundaries) <= TOLERANCE + 1e-6
        right.extend(near.any(axis=1))
        found.extend(near.any(axis=0))
    return float(np.mean(right)), float(np.mean(found))


def mean_ap(videos: Videos, cuts: Cuts) -> list[float]:
    """Returns the mAP at each of `TIOU` of the intervals between neighboring cuts."""
    rows = []
    for key, annotation in videos.items():
        for (first, strength), (last, other) in itertools.pairwise(cuts[key].items()):
            start, end = first / FPS, last / FPS
            instance = max(annotation.actions, key=lambda i: _covered(i, start, end))
            if _covered(instance, start, end) >= (end - start) / 2:
                rows.append((key, start, end, instance.label, min(strength, other)))
    if not rows:
        return [0.0] * len(TIOU)
    detections = Detections(*zip(*rows, strict=True))
    return evaluate(videos, detections, tiou_thresholds=TIOU).map.tolist()


def _covered(instance: Instance, start: float, end: float) -> float:
    """Returns how many seconds of an interval an instance covers; below 0 if it is apart."""
    return min(instance.end, end) - max(instance.start, start)


def _nearby(values: np.ndarray, n: int) -> np.ndarray:
    """Returns the n values before and after each one, and itself, `[N, 2 n + 1]`."""
    padded = np.pad(values, n, mode="reflect")
    return np.lib.stride_tricks.sliding_window_view(padded, 2 * n + 1)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: python examples/cut_detector.py DIR [DIR …]")
    main(sys.argv[1:])
