r"""Measures localization in untrimmed videos, from file to mAP, against the naive way.

    python -m benchmarks.untrimmed --model_dir=MODELS --annotations=annotations.json \
        --video_dir=videos --subset=test --output_json=untrimmed.json

Reads trained networks and annotated videos. Runs the networks as `localize` does, in float32 and
in bfloat16, and twice naively, every window decoded, resized and run on its own in float32: with
the localization network on every window, and on the kept windows only. Figures: number of videos,
frames and windows; and for each way "seconds", "realtime" (seconds of video per second),
"times_faster" than the naive way, "gflop" of all multiplications, "kept" (fraction of the windows
that the localization network sees) and "map" by tIoU.
"""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path

import av
import keras
import numpy as np
from absl import flags
from keras import ops

from benchmarks import measure
from benchmarks.network import multiply_adds
from scnn_tf.datasets.annotations import VideoAnnotation
from scnn_tf.datasets.formats import read_annotations
from scnn_tf.evaluation.evaluate import evaluate_segments
from scnn_tf.io.video import probe
from scnn_tf.localization.scnn import SCNN, load_scnn
from scnn_tf.localization.sequences import Scored, segments_table
from scnn_tf.localization.tables import RawSegments, concatenate
from scnn_tf.models.recipes import Recipe
from scnn_tf.segments.labels import BACKGROUND
from scnn_tf.segments.windows import (
    SAMPLED_FRAMES,
    Segment,
    sampled_indices,
    sliding_windows,
)
from scnn_tf.shards.frames import centre_crop

TIOU = (0.3, 0.5, 0.7)


def compare(
    networks: Mapping[str, SCNN],
    videos: Mapping[str, VideoAnnotation],
    video_dir: Path,
    repeats: int = 3,
) -> dict:
    """Returns time and mAP of networks as `localize` runs them, and of the naive way.

    Args:
        networks: Name → networks; the first ones, in float32, also run naively.
        videos: Annotated videos.
        video_dir: Folder of the video files.
        repeats: Number of timed runs; the naive ways, which take longest, run once.

    Returns:
        The figures of the module's docstring.
    """
    paths = {video_id: video_dir / video.file for video_id, video in videos.items()}
    rows, found = timed(networks, paths, repeats)
    for name, segments in found.items():
        prior = networks.get(name, next(iter(networks.values()))).prior
        evaluation = evaluate_segments(videos, segments, prior=prior, tiou_thresholds=TIOU)
        rows[name]["map"] = evaluation.to_json()["map"]
    return rows


def timed(
    networks: Mapping[str, SCNN], paths: Mapping[str, Path], repeats: int
) -> tuple[dict, dict[str, RawSegments]]:
    """Runs each way through all videos.

    Args:
        networks: Name → networks; the first ones, in float32, also run naively.
        paths: Video id → file.
        repeats: Number of timed runs; the naive ways run once.

    Returns:
        The figures of the module's docstring without "map"; and way → scored segments.
    """
    first = next(iter(networks.values()))
    ways: dict[str, Callable[[Path, str], RawSegments]] = {
        "naive": lambda path, video_id: naive(first, path, video_id),
        "naive, kept windows": lambda path, video_id: naive(first, path, video_id, False),
        **{name: each.score_video for name, each in networks.items()},
    }
    found: dict[str, RawSegments] = {}

    def run(name: str) -> None:
        tables = [ways[name](path, video_id) for video_id, path in paths.items()]
        found[name] = concatenate(tables)

    blank = np.zeros((1, SAMPLED_FRAMES, *[first.info.recipe.crop] * 2, 3), np.uint8)
    for network in (first.proposal, first.localization):  # compiles the naive ways
        scores(network, blank, Segment(0, SAMPLED_FRAMES))
    calls = {name: functools.partial(run, name) for name in ways}
    slow = {name: calls.pop(name) for name in ways if name not in networks}
    taken = measure.in_turn(slow, repeats=1, warm_up=False) | measure.in_turn(calls, repeats)
    durations = [probe(path).duration for path in paths.values()]
    frames = [round(duration * first.info.frame_rate) for duration in durations]
    windows = sum(
        len(sliding_windows(count, first.info.recipe.shards.window_frames)) for count in frames
    )
    rows = {}
    for name in ways:
        seconds = taken[name]
        gflop = _gflop(networks.get(name, first), windows, found[name], name)
        rows[name] = {
            "seconds": round(seconds, 2),
            "realtime": round(sum(durations) / seconds, 2),
            "times_faster": round(taken["naive"] / seconds, 1),
            "gflop": round(gflop),
            "kept": round(len(found[name]) / windows, 3),
        }
    return {"videos": len(paths), "frames": sum(frames), "windows": windows, **rows}, found


def naive(networks: SCNN, path: Path, video_id: str, both: bool = True) -> RawSegments:
    """Scores a video with every window decoded, resized and run on its own.

    Args:
        networks: SCNN in float32.
        path: A video.
        video_id: Id of the video in the rows.
        both: Whether the localization network sees every window, too, or only those that the
            proposal network keeps.
    """
    info = networks.info
    names = [BACKGROUND, *info.class_names]
    num_frames = round(probe(path).duration * info.frame_rate)
    rows = []
    for window in sliding_windows(num_frames, info.recipe.shards.window_frames):
        frames = _decoded(path, window, info.recipe, info.frame_rate)
        frames = centre_crop(frames, info.recipe.crop)[None]
        action = scores(networks.proposal, frames, window)[1]
        if not both and action < networks.inference.proposal_threshold:
            continue
        class_scores = scores(networks.localization, frames, window)
        if info.recipe.inference.mirror:
            mirrored = scores(networks.localization, frames[:, :, :, ::-1], window)
            class_scores = (class_scores + mirrored) / 2
        if action >= networks.inference.proposal_threshold:
            best = int(class_scores.argmax())
            rows.append(Scored(window, names[best], float(class_scores[best])))
    return segments_table(video_id, rows, info.frame_rate, num_frames)


def _decoded(path: Path, window: Segment, recipe: Recipe, fps: float) -> np.ndarray:
    """Returns the 16 frames of a window: the pictures on display at their times."""
    times = list(sampled_indices(window) / fps + 1e-4)
    images = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        begin = stream.start_time * stream.time_base
        # Seeks to the key frame before the window.
        container.seek(int((begin + times[0]) / stream.time_base), stream=stream)
        shown = None
        for frame in container.decode(stream):
            while shown and len(images) < len(times) and times[len(images)] < frame.time - begin:
                images.append(_image(shown, recipe))
            if len(images) == len(times):
                break
            shown = frame
    return np.stack(images + [_image(shown, recipe)] * (len(times) - len(images)))


def _image(frame: av.VideoFrame, recipe: Recipe) -> np.ndarray:
    rgb = frame.reformat(
        width=recipe.shards.frame_width, height=recipe.shards.frame_height, format="rgb24"
    )
    return rgb.to_ndarray()


def scores(network: keras.Model, frames: np.ndarray, window: Segment) -> np.ndarray:
    """Returns a network's softmax scores of one window, float32 `[K]`."""
    inputs = {"frames": frames}
    if "window_frames" in network.input:
        inputs["window_frames"] = np.array([window.length], np.int32)
    return ops.convert_to_numpy(ops.softmax(network.predict_on_batch(inputs)))[0, 0]


def _gflop(networks: SCNN, windows: int, found: RawSegments, way: str) -> float:
    """Returns the floating-point operations of a run in 10⁹, without the last batch's padding."""
    kept = windows if way == "naive" else len(found)
    views = 2 if networks.info.recipe.inference.mirror else 1
    proposal = multiply_adds(networks.proposal) if networks.proposal else 0
    return 2e-9 * (windows * proposal + views * kept * multiply_adds(networks.localization))


def run() -> None:
    """Runs this benchmark as a program."""
    model_dir = flags.DEFINE_string(
        "model_dir", None, "Folder of the trained networks.", required=True
    )
    annotations = flags.DEFINE_string(
        "annotations", None, "Annotations of the videos.", required=True
    )
    video_dir = flags.DEFINE_string("video_dir", None, "Folder of the videos.", required=True)
    subset = flags.DEFINE_string("subset", "test", "Subset of the annotations to localize in.")

    def suite() -> dict:
        networks = load_scnn(model_dir.value)
        return compare(
            networks={"float32": networks, "bfloat16": networks.in_precision("bfloat16")},
            videos=read_annotations(annotations.value, subset.value),
            video_dir=Path(video_dir.value),
        )

    measure.run(suite)


if __name__ == "__main__":
    run()
