r"""Measures localization in untrimmed videos, from file to mAP, with one network and with three.

    python -m benchmarks.untrimmed --model_dir=PAPER --model_dir=MODELS \
        --annotations=annotations.json --video_dir=videos --subset=test --output_json=untrimmed.json

Reads folders of trained networks, and annotated videos. Runs each folder as `localize` does, in
float32 and in bfloat16; the paper's three networks, if they are the first folder, also naively,
every window decoded, resized and run on its own in float32: with the localization network on every
window, and on the kept windows only. Figures: number of videos, frames and windows; and for each
way "seconds", "realtime" (seconds of video per second), "times_faster" than the first way, "gflop"
of all multiplications, "kept" (fraction of the windows that are kept) and "map" by tIoU.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import av
import keras
import numpy as np
from absl import flags
from keras import ops

from benchmarks import measure
from benchmarks.network import PRECISIONS, multiply_adds
from scnn_tf.datasets.annotations import VideoAnnotation
from scnn_tf.datasets.formats import read_annotations
from scnn_tf.evaluation.evaluate import evaluate_segments
from scnn_tf.io.video import probe
from scnn_tf.localization.scnn import SCNN, JointSCNN, Localizer, load_scnn
from scnn_tf.localization.sequences import Scored, segments_table
from scnn_tf.localization.tables import RawSegments, concatenate
from scnn_tf.models.recipes import Recipe
from scnn_tf.segments.labels import BACKGROUND
from scnn_tf.segments.stretches import num_samples, num_windows
from scnn_tf.segments.windows import (
    SAMPLED_FRAMES,
    Segment,
    sampled_indices,
    sliding_windows,
)
from scnn_tf.shards.frames import centre_crop

TIOU = (0.3, 0.5, 0.7)


def compare(
    networks: Mapping[str, Localizer],
    videos: Mapping[str, VideoAnnotation],
    video_dir: Path,
    repeats: int = 3,
) -> dict:
    """Returns time and mAP of networks as `localize` runs them, and of the naive way.

    Args:
        networks: Name → networks; the first ones, if they are three, also run naively.
        videos: Annotated videos.
        video_dir: Folder of the video files.
        repeats: Number of timed runs; the naive ways, which take longest, run once.

    Returns:
        The figures of the module's docstring.
    """
    paths = {video_id: video_dir / video.file for video_id, video in videos.items()}
    rows, found = timed(networks, paths, repeats, naively=True)
    for name, segments in found.items():
        used = networks.get(name, next(iter(networks.values())))
        prior = used.prior if used.inference.window_prior else None
        evaluation = evaluate_segments(videos, segments, prior=prior, tiou_thresholds=TIOU)
        rows[name]["map"] = evaluation.to_json()["map"]
    return rows


def timed(
    networks: Mapping[str, Localizer],
    paths: Mapping[str, Path],
    repeats: int,
    naively: bool = False,
) -> tuple[dict, dict[str, RawSegments]]:
    """Runs each way through all videos.

    Args:
        networks: Name → networks.
        paths: Video id → file.
        repeats: Number of timed runs; the naive ways run once.
        naively: Whether the first networks, if they are three, also run naively.

    Returns:
        The figures of the module's docstring without "map"; and way → scored segments.
    """
    first = next(iter(networks.values()))
    slow: dict[str, Callable[[Path, str], RawSegments]] = {}
    if naively and isinstance(first, SCNN):
        slow = {
            "naive": lambda path, video_id: naive(first, path, video_id),
            "naive, kept windows": lambda path, video_id: naive(first, path, video_id, False),
        }
        blank = np.zeros((1, SAMPLED_FRAMES, *[first.info.recipe.crop] * 2, 3), np.uint8)
        for network in (first.proposal, first.localization):  # compiles the naive ways
            scores(network, blank, Segment(0, SAMPLED_FRAMES))
    ways = slow | {name: each.score_video for name, each in networks.items()}
    found: dict[str, RawSegments] = {}

    def run(name: str) -> None:
        tables = [ways[name](path, video_id) for video_id, path in paths.items()]
        found[name] = concatenate(tables)

    calls = {name: functools.partial(run, name) for name in ways}
    taken = measure.in_turn({name: calls.pop(name) for name in slow}, repeats=1, warm_up=False)
    taken |= measure.in_turn(calls, repeats)
    durations = [probe(path).duration for path in paths.values()]
    rows = {}
    for name in ways:
        used = networks.get(name, first)
        frames = [round(duration * used.info.frame_rate) for duration in durations]
        lengths = used.info.recipe.shards.window_frames
        windows = sum(len(sliding_windows(count, lengths)) for count in frames)
        rows[name] = {
            "windows": windows,
            "seconds": round(taken[name], 2),
            "realtime": round(sum(durations) / taken[name], 2),
            "times_faster": round(taken[next(iter(ways))] / taken[name], 1),
            "gflop": round(_gflop(used, frames, windows, len(found[name]), name == "naive")),
            "kept": round(len(found[name]) / windows, 3),
        }
    return {"videos": len(paths), "seconds": round(sum(durations), 1), **rows}, found


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


def _gflop(
    networks: Localizer, frames: Sequence[int], windows: int, kept: int, every: bool
) -> float:
    """Returns the floating-point operations of a run in 10⁹, without padding and overlap of parts.

    Args:
        networks: The networks.
        frames: Number of frames of each video.
        windows: Number of windows of all videos.
        kept: Number of windows that are kept.
        every: Whether the localization network sees every window.
    """
    views = 2 if networks.inference.mirror else 1
    if isinstance(networks, JointSCNN):
        lengths = networks.info.recipe.shards.window_frames
        counts = [num_windows(count, length) for count in frames for length in lengths]
        samples = [num_samples(count) for count in counts if count]
        return 2e-9 * views * sum(multiply_adds(networks.network, each) for each in samples)
    proposal = multiply_adds(networks.proposal) if networks.proposal else 0
    scored = windows if every else kept
    return 2e-9 * (windows * proposal + views * scored * multiply_adds(networks.localization))


def run() -> None:
    """Runs this benchmark as a program."""
    model_dirs = flags.DEFINE_multi_string(
        "model_dir", None, "Folder of trained networks; may be given several times.", required=True
    )
    annotations = flags.DEFINE_string(
        "annotations", None, "Annotations of the videos.", required=True
    )
    video_dir = flags.DEFINE_string("video_dir", None, "Folder of the videos.", required=True)
    subset = flags.DEFINE_string("subset", "test", "Subset of the annotations to localize in.")

    def suite() -> dict:
        networks = {}
        for model_dir in model_dirs.value:
            trained = load_scnn(model_dir)
            for precision in PRECISIONS:
                networks[f"{model_dir}, {precision}"] = trained.in_precision(precision)
        return compare(
            networks=networks,
            videos=read_annotations(annotations.value, subset.value),
            video_dir=Path(video_dir.value),
        )

    measure.run(suite)


if __name__ == "__main__":
    run()
