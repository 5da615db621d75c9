"""Measures localization with full-width C3D on a video of half a minute.

    python -m benchmarks.full_width --video=VIDEO --output_json=full_width.json

Reads one video. The networks are untrained, so there is no mAP. Ways, all in bfloat16: the paper's
three networks, window by window, with a threshold that keeps about as many windows as the authors'
proposal network keeps of THUMOS'14; one network with three heads, which keeps all; the same at half
the width; and without windows of 16 frames, which are the best ones for 7 % of THUMOS'14's test
instances. Figures: those of `benchmarks.untrimmed`, without mAP; "gflops", the operations a second
by the definition of a convolution, and their share of the machine's matrix-multiply rate, which may
be above 1: to form pairs of frames (`layers.Convolution`) takes fewer operations.
"""

import dataclasses
import itertools
from pathlib import Path

import numpy as np
from absl import flags

from benchmarks import measure
from benchmarks.network import matmul_gflops
from benchmarks.untrimmed import scores, timed
from scnn_tf.io.video import read_frames
from scnn_tf.localization.scnn import SCNN, JointSCNN, Localizer
from scnn_tf.models.checkpoints import StageInfo
from scnn_tf.models.recipes import JOINT, InferenceRecipe, get_recipe
from scnn_tf.segments.prior import window_prior
from scnn_tf.segments.windows import WINDOW_FRAMES, stream_segments
from scnn_tf.shards.frames import centre_crop

KEPT = 0.14  # fraction of THUMOS'14's windows that the authors' proposal network keeps
NAMES = tuple(f"class{i:02d}" for i in range(20))
_EVERY = 20  # of these windows one decides on the threshold
_PRECISION = "bfloat16"


def full_width(path: Path, repeats: int = 2) -> dict:
    """Returns time and operations of untrained networks on one video.

    Args:
        path: A video of half a minute: the longest windows are of 20 seconds.
        repeats: Number of timed runs.

    Returns:
        The figures of the module's docstring.
    """
    ways: dict[str, Localizer] = {
        "three networks": _keeping(_three_networks(), path, KEPT),
        "one network": one_network(),
        "one network, half the width": one_network(width=0.5),
        "one network, windows from 32 frames on": one_network(window_frames=WINDOW_FRAMES[1:]),
    }
    before = matmul_gflops(_PRECISION)
    rows = timed(ways, {path.stem: path}, repeats)[0]
    rate = max(before, matmul_gflops(_PRECISION))
    for name in ways:
        gflops = rows[name]["gflop"] / rows[name]["seconds"]
        rows[name] |= {"gflops": round(gflops), "of_matmul_rate": round(gflops / rate, 2)}
    return {"matmul_gflops": rate, **rows}


def _info(stage: str, stretch_windows: int, width: float = 1.0, **shards: object) -> StageInfo:
    recipe = get_recipe("thumos14")
    shards = dataclasses.replace(recipe.shards, stretch_windows=stretch_windows, **shards)
    recipe = dataclasses.replace(recipe, shards=shards, width=width, initializer="he")
    return StageInfo(stage, NAMES, 25.0, 0, recipe)


def one_network(width: float = 1.0, window_frames: tuple[int, ...] = WINDOW_FRAMES) -> JointSCNN:
    """Returns the one network with three heads, untrained, on the paper's C3D."""
    info = _info(JOINT, 13, width, window_frames=window_frames)
    prior = window_prior([], [], NAMES, window_frames, info.frame_rate)
    every = InferenceRecipe(proposal_threshold=0.0)
    return JointSCNN(info.build(), info, prior, every).in_precision(_PRECISION)


def _three_networks() -> SCNN:
    info = _info("localization", 1)
    prior = window_prior([], [], NAMES, WINDOW_FRAMES, info.frame_rate)
    proposal = dataclasses.replace(info, stage="proposal").build()
    # With the initial kernel all scores are 0 or 1, and no threshold keeps a part of them.
    kernel = proposal.layers[-1].kernel
    kernel.assign(kernel * 1e-3)
    return SCNN(proposal, info.build(), info, prior, InferenceRecipe()).in_precision(_PRECISION)


def _keeping(networks: SCNN, path: Path, share: float) -> SCNN:
    """Returns the networks with a threshold that keeps about a fraction of a video's windows."""
    info = networks.info
    frames = read_frames(
        path, info.frame_rate, info.recipe.shards.frame_height, info.recipe.shards.frame_width
    )
    cropped = (centre_crop(frame, info.recipe.crop) for frame in frames)
    segments = stream_segments(cropped, info.recipe.shards.window_frames)
    action = [
        scores(networks.proposal, np.stack(images)[None], window)[1]
        for window, images in itertools.islice(segments, 0, None, _EVERY)
    ]
    threshold = float(np.quantile(action, 1 - share))
    inference = dataclasses.replace(networks.inference, proposal_threshold=threshold)
    return dataclasses.replace(networks, inference=inference)


def run() -> None:
    """Runs this benchmark as a program."""
    video = flags.DEFINE_string("video", None, "Video file of half a minute.", required=True)

    def suite() -> dict:
        return full_width(path=Path(video.value))

    measure.run(suite)


if __name__ == "__main__":
    run()
