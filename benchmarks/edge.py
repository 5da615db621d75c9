r"""Measures models exported for devices: equality, size, time and mAP, next to TensorFlow.

    taskset -c 1 python -m benchmarks.edge --model_dir=models --data_dir=shards \
        --annotations=annotations.json --video_dir=videos --videos=4 --output_json=edge.json

Reads a folder of a network with three heads, its shards, and annotated videos. Exports the network
in every format and precision, and runs each export, and TensorFlow, with one thread: in turn on one
stretch, and through the videos. Figures: "windows" of the stretch, "videos" and their "seconds";
and for each way "mb" (10⁶ bytes of the network), "ms" and "cpu_ms" (medians for the stretch, of the
clock, and of the processor's time, which other programs change less), "mean_difference" and
"largest_difference" (of the outputs for the stretch, from TensorFlow's) and "map" by tIoU.
"""

import functools
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from absl import flags

from benchmarks import measure
from scnn_tf.datasets.annotations import VideoAnnotation
from scnn_tf.datasets.formats import read_annotations
from scnn_tf.errors import InputError
from scnn_tf.evaluation.evaluate import evaluate_segments
from scnn_tf.io.files import size_of
from scnn_tf.io.video import probe, read_frames
from scnn_tf.localization.scnn import JointSCNN, load_scnn
from scnn_tf.localization.tables import RawSegments, concatenate
from scnn_tf.models.checkpoints import WEIGHTS
from scnn_tf.models.recipes import JOINT
from scnn_tf.segments.stretches import num_samples
from scnn_tf.serving import edge_runtime
from scnn_tf.serving.edge import PRECISIONS, export_edge
from scnn_tf.serving.edge_graph import edge_networks

TIOU = (0.3, 0.5, 0.7)
TENSORFLOW = "TensorFlow"


def compare(
    model: JointSCNN,
    weights: Path,
    data_dir: Path,
    videos: Mapping[str, VideoAnnotation],
    video_dir: Path,
    repeats: int = 11,
) -> dict:
    """Returns the figures of the module's docstring.

    Args:
        model: A network with three heads.
        weights: File of its weights.
        data_dir: Its shards.
        videos: Annotated videos, at least one.
        video_dir: Folder of the video files.
        repeats: Number of timed runs of the stretch.
    """
    paths = {video_id: video_dir / video.file for video_id, video in videos.items()}
    (network,) = edge_networks(model, pictures=False)
    runs: dict[str, Callable] = {
        TENSORFLOW: lambda inputs: {
            name: output.numpy() for name, output in network.score(**inputs).items()
        }
    }
    sizes = {TENSORFLOW: size_of(weights)}
    scorers = {TENSORFLOW: model.score_frames}
    with tempfile.TemporaryDirectory() as folder:
        for format, precisions in PRECISIONS.items():
            for precision in precisions:
                name = f"{format}, {precision}"
                exported = export_edge(
                    model,
                    Path(folder) / name,
                    format=format,
                    precision=precision,
                    data_dir=data_dir,
                )
                loaded = edge_runtime.load(exported)
                runs[name] = loaded.networks[JOINT]
                sizes[name] = loaded.card["networks"][JOINT]["bytes"]
                scorers[name] = loaded.score_frames
    inputs = _stretch(model, next(iter(paths.values())), loaded.card["part_windows"])
    spent = {name: [] for name in runs}  # seconds of the processor

    def timed(name: str) -> None:
        began = time.process_time()
        runs[name](inputs)
        spent[name].append(time.process_time() - began)

    taken = measure.in_turn({name: functools.partial(timed, name) for name in runs}, repeats)
    expected = _outputs(runs[TENSORFLOW], inputs)
    rows = {}
    for name, run in runs.items():
        difference = np.abs(_outputs(run, inputs) - expected)
        rows[name] = {
            "mb": round(sizes[name] / 1e6, 2),
            "ms": round(1000 * taken[name], 1),
            "cpu_ms": round(1000 * statistics.median(spent[name][1:]), 1),  # after the warm-up
            "mean_difference": float(difference.mean()),
            "largest_difference": float(difference.max()),
            "map": _map(model, scorers[name], videos, paths),
        }
    seconds = sum(probe(path).duration for path in paths.values())
    windows = len(expected) // (len(model.info.class_names) + 4)
    return {"windows": windows, "videos": len(paths), "seconds": round(seconds, 1), **rows}


def _stretch(model: JointSCNN, path: Path, windows: int) -> dict[str, np.ndarray]:
    """Returns the first windows of a video, of the shortest length, as the input of a network."""
    length = min(model.info.recipe.shards.window_frames)
    frames = itertools.islice(_frames(model, path), num_samples(windows))
    inputs = {"frames": np.stack(list(frames))[None]}
    if model.info.recipe.window_input:
        inputs["window_frames"] = np.full(1, length, np.int32)
    return inputs


def _frames(model: JointSCNN, path: Path):
    shards = model.info.recipe.shards
    return read_frames(path, model.info.frame_rate, shards.frame_height, shards.frame_width)


def _outputs(run: Callable, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """Returns all scores and offsets of a stretch in one row."""
    return np.concatenate([output.ravel() for _, output in sorted(run(inputs).items())])


def _map(
    model: JointSCNN,
    score_frames: Callable[..., RawSegments],
    videos: Mapping[str, VideoAnnotation],
    paths: Mapping[str, Path],
) -> dict[str, float]:
    """Returns mAP by tIoU of one way to score the frames of the videos."""
    tables = [score_frames(_frames(model, path), video_id) for video_id, path in paths.items()]
    prior = model.prior if model.inference.window_prior else None
    evaluation = evaluate_segments(videos, concatenate(tables), prior=prior, tiou_thresholds=TIOU)
    return evaluation.to_json()["map"]


def run() -> None:
    """Runs this benchmark as a program."""
    model_dir = flags.DEFINE_string("model_dir", None, "Folder of the network.", required=True)
    data_dir = flags.DEFINE_string("data_dir", None, "Folder of its shards.", required=True)
    annotations = flags.DEFINE_string(
        "annotations", None, "Annotations of the videos.", required=True
    )
    video_dir = flags.DEFINE_string("video_dir", None, "Folder of the videos.", required=True)
    subset = flags.DEFINE_string("subset", "test", "Subset of the annotations to localize in.")
    count = flags.DEFINE_integer("videos", 4, "Number of videos, from the subset's first.", 1)

    def suite() -> dict:
        model = load_scnn(model_dir.value)
        if not isinstance(model, JointSCNN):
            raise InputError(f"{model_dir.value}: expected a network with three heads, joint/")
        videos = read_annotations(annotations.value, subset.value)
        return compare(
            model=model,
            weights=Path(model_dir.value) / JOINT / WEIGHTS,
            data_dir=Path(data_dir.value),
            videos=dict(itertools.islice(videos.items(), count.value)),
            video_dir=Path(video_dir.value),
        )

    measure.run(suite)


if __name__ == "__main__":
    run()
