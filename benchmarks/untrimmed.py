"""A video from its file to detections, against the method as everyone writes it."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path

import av
import keras
import numpy as np
from keras import ops

from benchmarks.measure import in_turn
from benchmarks.network import multiply_adds
from scnn_tf.datasets.annotations import VideoAnnotation
from scnn_tf.evaluation.evaluate import evaluate_segments
from scnn_tf.io.video import probe, read_frames
from scnn_tf.localization.scnn import Networks, segments_table
from scnn_tf.localization.tables import RawSegments, concatenate
from scnn_tf.models.checkpoints import StageInfo
from scnn_tf.models.recipes import Recipe, get_recipe
from scnn_tf.segments.labels import BACKGROUND
from scnn_tf.segments.prior import window_prior
from scnn_tf.segments.windows import (
    SAMPLED_FRAMES,
    WINDOW_FRAMES,
    Segment,
    sampled_indices,
    sliding_windows,
    stream_segments,
)
from scnn_tf.shards.frames import centre_crop

TIOU = (0.3, 0.5, 0.7)
KEPT = 0.14  # of the windows of THUMOS'14 by the authors' proposal network


def compare(
    networks: Mapping[str, Networks],
    videos: Mapping[str, VideoAnnotation],
    video_dir: Path,
    repeats: int = 3,
) -> dict:
    """Seconds and mAP of networks as `localize` runs them, and of the naive way.

    Args:
        networks: by a name, to be run as `localize` does; the first ones, of float32, naively too.
        videos: annotated, whose files are in `video_dir`.
        video_dir: folder.
        repeats: of each, in turn; the naive ways, which take longest, run once.

    Returns:
        "videos", "frames", "windows", and by name what `_timed` says and "map".
    """
    paths = {video_id: video_dir / video.file for video_id, video in videos.items()}
    rows, found = _timed(networks, paths, repeats)
    for name, segments in found.items():
        prior = networks.get(name, next(iter(networks.values()))).prior
        evaluation = evaluate_segments(videos, segments, prior=prior, tiou_thresholds=TIOU)
        rows[name]["map"] = evaluation.to_json()["map"]
    return rows


def full_width(path: Path) -> dict:
    """The same for the paper's networks, untrained, of whose windows as many are kept as there.

    Args:
        path: a video of some seconds.

    Returns:
        As `compare`, without mAP; beside float32 and bfloat16, a proposal network of half the
        width in bfloat16.
    """
    recipe = dataclasses.replace(get_recipe("thumos14"), initializer="he")
    names = tuple(f"class{i:02d}" for i in range(20))
    info = StageInfo("localization", names, WINDOW_FRAMES, 25.0, 0, recipe)
    prior = window_prior([], [], names, WINDOW_FRAMES, info.frame_rate)
    localization = info.build()

    def networks(width: float) -> Networks:
        narrow = dataclasses.replace(recipe, width=width)
        proposal = dataclasses.replace(info, stage="proposal", recipe=narrow).build()
        # Or all scores would be 0 or 1, and no threshold could part them.
        kernel = proposal.layers[-1].kernel
        kernel.assign(kernel * 1e-3)
        return Networks(proposal, localization, info, prior, 0.0)

    whole, half = networks(1.0), networks(0.5)
    ways = {
        "float32": whole,
        "bfloat16": whole.in_precision("bfloat16"),
        "bfloat16, half the proposal network's width": half.in_precision("bfloat16"),
    }
    kept = {name: _keeping(each, path, KEPT) for name, each in ways.items()}
    return _timed(kept, {path.stem: path}, repeats=3)[0]


def _timed(
    networks: Mapping[str, Networks], paths: Mapping[str, Path], repeats: int
) -> tuple[dict, dict[str, RawSegments]]:
    """Runs each way through all videos.

    Returns:
        "videos", "frames", "windows", and by name "seconds", "realtime" (seconds of video in a
        second), "times_faster" than naively, "gflop" multiplied in all, and "kept" (share of the
        windows that went on to the localization network); and what each found.
    """
    first = next(iter(networks.values()))
    ways: dict[str, Callable[[Path, str], RawSegments]] = {
        "naive": lambda path, video_id: naive(first, path, video_id),
        "naive, what is kept": lambda path, video_id: naive(first, path, video_id, False),
        **{name: each.score_video for name, each in networks.items()},
    }
    found: dict[str, RawSegments] = {}

    def run(name: str) -> None:
        tables = [ways[name](path, video_id) for video_id, path in paths.items()]
        found[name] = concatenate(tables)

    blank = np.zeros((1, SAMPLED_FRAMES, *[first.info.recipe.crop] * 2, 3), np.uint8)
    for network in (first.proposal, first.localization):  # compiles what the naive ways call
        _scores(network, blank, Segment(0, SAMPLED_FRAMES))
    calls = {name: functools.partial(run, name) for name in ways}
    slow = {name: calls.pop(name) for name in ways if name not in networks}
    taken = in_turn(slow, repeats=1, warm_up=False) | in_turn(calls, repeats)
    durations = [probe(path).duration for path in paths.values()]
    frames = [round(duration * first.info.frame_rate) for duration in durations]
    windows = sum(len(sliding_windows(count, first.info.window_frames)) for count in frames)
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


def _keeping(networks: Networks, path: Path, share: float) -> Networks:
    """The same networks with a threshold that keeps a share of a video's windows."""
    info = networks.info
    frames = read_frames(path, info.frame_rate, info.recipe.frame_height, info.recipe.frame_width)
    cropped = (centre_crop(frame, info.recipe.crop) for frame in frames)
    action = [
        _scores(networks.proposal, np.stack(images)[None], window)[1]
        for window, images in stream_segments(cropped, info.window_frames)
    ]
    threshold = float(np.quantile(action, 1 - share))
    return dataclasses.replace(networks, proposal_threshold=threshold)


def naive(networks: Networks, path: Path, video_id: str, both: bool = True) -> RawSegments:
    """Every window decoded, resized and run on its own, in float32.

    Args:
        networks: of float32.
        path: a video.
        video_id: for the rows.
        both: whether the localization network sees every window, too, or only those that the
            proposal network keeps.
    """
    info = networks.info
    names = [BACKGROUND, *info.class_names]
    num_frames = round(probe(path).duration * info.frame_rate)
    rows = []
    for window in sliding_windows(num_frames, info.window_frames):
        frames = _decoded(path, window, info.recipe, info.frame_rate)
        frames = centre_crop(frames, info.recipe.crop)[None]
        action = _scores(networks.proposal, frames, window)[1]
        if not both and action < networks.proposal_threshold:
            continue
        scores = _scores(networks.localization, frames, window)
        if info.recipe.test_mirror:
            mirrored = _scores(networks.localization, frames[:, :, :, ::-1], window)
            scores = (scores + mirrored) / 2
        if action >= networks.proposal_threshold:
            rows.append((window, names[int(scores.argmax())], float(scores.max())))
    return segments_table(video_id, rows, info.frame_rate)


def _decoded(path: Path, window: Segment, recipe: Recipe, fps: float) -> np.ndarray:
    """The 16 frames of a window: the pictures on display at their times."""
    times = list(sampled_indices(window) / fps + 1e-4)
    images = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        begin = stream.start_time * stream.time_base
        # To the key frame before it.
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
    rgb = frame.reformat(width=recipe.frame_width, height=recipe.frame_height, format="rgb24")
    return rgb.to_ndarray()


def _scores(network: keras.Model, frames: np.ndarray, window: Segment) -> np.ndarray:
    inputs = {"frames": frames}
    if "window_frames" in network.input:
        inputs["window_frames"] = np.array([window.length], np.int32)
    return ops.convert_to_numpy(ops.softmax(network.predict_on_batch(inputs)))[0]


def _gflop(networks: Networks, windows: int, found: RawSegments, way: str) -> float:
    """Of a run, without what fills up the last batch."""
    kept = windows if way == "naive" else len(found)
    views = 2 if networks.info.recipe.test_mirror else 1
    proposal = multiply_adds(networks.proposal) if networks.proposal else 0
    return 2e-9 * (windows * proposal + views * kept * multiply_adds(networks.localization))
