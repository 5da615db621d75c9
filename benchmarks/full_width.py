"""Measures localization with the paper's networks at full width on a video of some seconds.

    python -m benchmarks.full_width --video=VIDEO --output_json=full_width.json

Reads one video. The networks are untrained, so there is no mAP; the threshold keeps as many
windows as the authors' proposal network keeps of THUMOS'14. Figures: as in `benchmarks.untrimmed`,
for float32, bfloat16, and bfloat16 with a proposal network of half the width.
"""

import dataclasses
from pathlib import Path

import numpy as np
from absl import flags

from benchmarks import measure
from benchmarks.untrimmed import scores, timed
from scnn_tf.io.video import read_frames
from scnn_tf.localization.scnn import SCNN
from scnn_tf.models.checkpoints import StageInfo
from scnn_tf.models.recipes import InferenceRecipe, get_recipe
from scnn_tf.segments.prior import window_prior
from scnn_tf.segments.windows import WINDOW_FRAMES, stream_segments
from scnn_tf.shards.frames import centre_crop

KEPT = 0.14  # fraction of THUMOS'14's windows that the authors' proposal network keeps


def full_width(path: Path) -> dict:
    """Returns time and operations of the paper's networks, untrained, on one video.

    Args:
        path: A video of some seconds.

    Returns:
        The figures of `benchmarks.untrimmed`, without mAP.
    """
    recipe = dataclasses.replace(get_recipe("thumos14"), initializer="he")
    names = tuple(f"class{i:02d}" for i in range(20))
    info = StageInfo("localization", names, 25.0, 0, recipe)
    prior = window_prior([], [], names, WINDOW_FRAMES, info.frame_rate)
    localization = info.build()

    def networks(width: float) -> SCNN:
        narrow = dataclasses.replace(recipe, width=width)
        proposal = dataclasses.replace(info, stage="proposal", recipe=narrow).build()
        # With the initial kernel all scores are 0 or 1, and no threshold keeps a part of them.
        kernel = proposal.layers[-1].kernel
        kernel.assign(kernel * 1e-3)
        return SCNN(proposal, localization, info, prior, InferenceRecipe(proposal_threshold=0.0))

    whole, half = networks(1.0), networks(0.5)
    ways = {
        "float32": whole,
        "bfloat16": whole.in_precision("bfloat16"),
        "bfloat16, half the proposal network's width": half.in_precision("bfloat16"),
    }
    kept = {name: _keeping(each, path, KEPT) for name, each in ways.items()}
    return timed(kept, {path.stem: path}, repeats=3)[0]


def _keeping(networks: SCNN, path: Path, share: float) -> SCNN:
    """Returns the networks with a threshold that keeps a fraction of a video's windows."""
    info = networks.info
    frames = read_frames(
        path, info.frame_rate, info.recipe.shards.frame_height, info.recipe.shards.frame_width
    )
    cropped = (centre_crop(frame, info.recipe.crop) for frame in frames)
    action = [
        scores(networks.proposal, np.stack(images)[None], window)[1]
        for window, images in stream_segments(cropped, info.recipe.shards.window_frames)
    ]
    threshold = float(np.quantile(action, 1 - share))
    inference = dataclasses.replace(networks.inference, proposal_threshold=threshold)
    return dataclasses.replace(networks, inference=inference)


def run() -> None:
    """Runs this benchmark as a program."""
    video = flags.DEFINE_string("video", None, "Video file of some seconds.", required=True)

    def suite() -> dict:
        return full_width(path=Path(video.value))

    measure.run(suite)


if __name__ == "__main__":
    run()
