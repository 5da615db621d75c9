"""A video from its file to detections, against the method as everyone writes it."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import av
import keras
import numpy as np
from keras import ops

from scnn_tf.annotations import VideoAnnotation
from scnn_tf.benchmarks.network import multiply_adds
from scnn_tf.evaluation import evaluate_segments
from scnn_tf.input_pipeline import centre_crop
from scnn_tf.localization import Networks
from scnn_tf.recipes import Recipe
from scnn_tf.results import BACKGROUND, RawSegments, concatenate
from scnn_tf.segments import Segment, sampled_indices, sliding_windows
from scnn_tf.video import probe

TIOU = (0.3, 0.5, 0.7)


def compare(
    networks: Mapping[str, Networks],
    videos: Mapping[str, VideoAnnotation],
    video_dir: Path,
    repeats: int = 3,
) -> dict:
    """Seconds and mAP of networks as `localize` runs them, and of the naive way.

    Args:
        networks: by a name, to be run as `localize` does; the first ones also naively.
        videos: annotated, whose files are in `video_dir`.
        video_dir: folder.
        repeats: of each, in turn; the naive way, which takes longest, runs once.

    Returns:
        "videos", "frames", "windows", and by name "seconds", "realtime" (seconds of video in a
        second), "gflop" multiplied in all, "kept" (share of the windows that went on to the
        localization network), "map", and "times_faster" than the naive way.
    """
    paths = {video_id: video_dir / video.file for video_id, video in videos.items()}
    first = next(iter(networks.values()))
    ways: dict[str, Callable[[Path, str], RawSegments]] = {
        "naive": lambda path, video_id: naive(first, path, video_id),
        "naive, proposals only": lambda path, video_id: naive(first, path, video_id, False),
        **{name: each.score_video for name, each in networks.items()},
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, RawSegments] = {}
    warm_up = next(iter(paths.items()))
    for each in ways.values():
        each(warm_up[1], warm_up[0])
    for round_ in range(repeats):
        for name, score in ways.items():
            if round_ and name.startswith("naive"):
                continue
            began = time.perf_counter()
            tables = [score(path, video_id) for video_id, path in paths.items()]
            taken[name].append(time.perf_counter() - began)
            found[name] = concatenate(tables)
    duration = sum(video.duration for video in videos.values())
    frames = sum(round(video.duration * first.info.frame_rate) for video in videos.values())
    windows = sum(
        len(sliding_windows(round(v.duration * first.info.frame_rate), first.info.window_frames))
        for v in videos.values()
    )
    rows = {}
    for name in ways:
        each = networks.get(name, first)
        seconds = float(np.median(taken[name]))
        scored = evaluate_segments(videos, found[name], each.prior, TIOU).to_json()["map"]
        rows[name] = {
            "seconds": round(seconds, 2),
            "realtime": round(duration / seconds, 2),
            "times_faster": round(taken["naive"][0] / seconds, 1),
            "gflop": round(_gflop(each, windows, found[name], name)),
            "kept": round(len(found[name]) / windows, 3),
            "map": scored,
        }
    return {"videos": len(videos), "frames": frames, "windows": windows, **rows}


def naive(
    networks: Networks, path: Path, video_id: str, both: bool = True
) -> RawSegments:
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
    return RawSegments(
        video=[video_id] * len(rows),
        window_frames=[window.length for window, _, _ in rows],
        start=[window.start / info.frame_rate for window, _, _ in rows],
        end=[window.end / info.frame_rate for window, _, _ in rows],
        label=[label for _, label, _ in rows],
        score=[score for _, _, score in rows],
    )


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
