"""The computation of a served model as one TensorFlow graph, from frames to actions.

The steps are those of `Localizer.score_frames` and `postprocess.detections_from_segments`, for
servers that have neither Python nor NumPy. What depends on the networks is in `segment_graph` (the
paper's) and in `stretch_graph` (one network with three heads).
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from scnn_tf.localization.postprocess import SAME_TIOU
from scnn_tf.localization.scnn import Localizer
from scnn_tf.segments.prior import WindowPrior
from scnn_tf.serving.bounds import checked, harmless
from scnn_tf.shards.frames import centre_crop, decode_frames, fit_frames
from scnn_tf.shards.records import parse_images

WARMUP_FRAMES = 64  # of a video in a warm-up request


class Signature(NamedTuple):
    """A kind of request that a served model answers.

    Attributes:
        function: Takes the inputs, returns a dict of outputs.
        inputs: Names, shapes and dtypes of the inputs.
        warmup: Sizes of the inputs in warm-up requests, each for the first dimensions whose size
            is not fixed: such as segments, or stretches and their frames, or frames of a video.
    """

    function: Callable[..., dict[str, tf.Tensor]]
    inputs: list[tf.TensorSpec]
    warmup: Sequence[tuple[int, ...]]


class ServingGraph:
    """The signatures of a served model, and the steps that all models share.

    Args:
        model: Trained networks.
        takes_length: Whether the networks are given the lengths of windows.
    """

    def __init__(self, model: Localizer, takes_length: bool):
        self.model = model
        self.info = model.info
        self.takes_length = takes_length

    def signatures(self) -> dict[str, Signature]:
        """Returns the signatures by name."""
        raise NotImplementedError

    def score_frames(self, frames: tf.Tensor) -> dict[str, tf.Tensor]:
        """Scores every window of a video.

        Args:
            frames: uint8 `[T, H, W, 3]`, RGB, at the model's frame rate, T at most `MAX_FRAMES`.

        Returns:
            A row for each window that passes the proposal threshold, by window length, then by
            start: start_frame (int64), window_frames (int32), start_s, end_s (float64),
            proposal_score (float32), each `[S]`; class_scores, float32 `[S, K + 1]`.
        """
        raise NotImplementedError

    def localize(self, frames: tf.Tensor) -> dict[str, tf.Tensor]:
        """Finds the actions of a video: windows, scores, prior, non-maximum suppression.

        Args:
            frames: uint8 `[T, H, W, 3]`; see `score_frames`.

        Returns:
            Detections by score, descending: start_s and end_s, float64 `[D]`, seconds; label,
            string `[D]`; class_index, int32 `[D]`, 1 … K; score, float64 `[D]`.
        """
        rows = self.score_frames(frames)
        index = tf.argmax(rows["class_scores"], axis=1, output_type=tf.int32)
        score = tf.cast(tf.reduce_max(rows["class_scores"], axis=1), tf.float64)
        score *= self._prior_weights(index, rows["window_frames"])
        found = tf.where(index > 0)[:, 0]
        start, end = (rows.get(f"action_{time}", rows[time]) for time in ("start_s", "end_s"))
        regressed = (start != rows["start_s"]) | (end != rows["end_s"])
        columns = start, end, index, score, regressed
        start, end, index, score, regressed = (tf.gather(c, found) for c in columns)
        picked = nms(start, end, index, score, self.model.inference.nms_threshold)
        start, end = mean_actions(picked, start, end, index, score, regressed)
        index, score = (tf.gather(c, picked) for c in (index, score))
        names = tf.constant(["", *self.info.class_names])
        return {
            "start_s": start,
            "end_s": end,
            "label": tf.gather(names, index),
            "class_index": index,
            "score": score,
        }

    def _fitted(self, frames: tf.Tensor) -> tf.Tensor:
        recipe = self.info.recipe
        height, width = recipe.shards.frame_height, recipe.shards.frame_width
        return centre_crop(fit_frames(frames, height, width), recipe.crop)

    def _decoded(self, images: tf.Tensor) -> tf.Tensor:
        recipe = self.info.recipe
        height, width = recipe.shards.frame_height, recipe.shards.frame_width
        images = tf.map_fn(harmless, images)
        frames = decode_frames(images, height, width, "INTEGER_ACCURATE")
        return centre_crop(frames, recipe.crop)

    def _parsed(self, examples: tf.Tensor, num_frames: int | None) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the images of records, string `[N, num_frames]`, and window lengths, int32 `[N]`.

        Args:
            examples: string `[N]`, records of shards.
            num_frames: Number of images of each; None: the same number in all of them.
        """

        def parse(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            images, window_frames = parse_images(serialized)
            return tf.ensure_shape(images, [num_frames]), window_frames

        outputs = tf.TensorSpec([num_frames], tf.string), tf.TensorSpec([], tf.int32)
        return tf.map_fn(parse, examples, fn_output_signature=outputs)

    def _seconds(self, frame: tf.Tensor) -> tf.Tensor:
        # TensorFlow's grappler turns a plain division by a constant into a multiplication, whose
        # result differs in the last digit.
        rate = tf.constant(self.info.frame_rate, tf.float64)
        return tf.math.divide_no_nan(tf.cast(frame, tf.float64), rate)

    def _prior_weights(self, index: tf.Tensor, window_frames: tf.Tensor) -> tf.Tensor:
        """Returns the prior's weight of each row, float64 `[S]`; background has weight 0."""
        prior = applied_prior(self.model)
        rows = [prior.weights[prior.class_names.index(name)] for name in self.info.class_names]
        weights = tf.constant([[0.0] * len(prior.window_frames), *rows], tf.float64)
        columns = tf.argmax(  # a video shorter than all windows takes the weight of the shortest
            tf.maximum(window_frames, min(prior.window_frames))[:, None]
            == tf.constant(prior.window_frames),
            axis=1,
            output_type=tf.int32,
        )
        return tf.gather_nd(weights, tf.stack([index, columns], axis=1))


def applied_prior(model: Localizer) -> WindowPrior:
    """Returns a model's window-length prior; all weights are 1 if its recipe does not use it."""
    if model.inference.window_prior:
        return model.prior
    return dataclasses.replace(model.prior, weights=np.ones_like(model.prior.weights))


def nms(
    start: tf.Tensor, end: tf.Tensor, label: tf.Tensor, score: tf.Tensor, threshold: float
) -> tf.Tensor:
    """Applies non-maximum suppression within each class: `postprocess.nms` in the graph.

    The result is the same to the last digit.

    Args:
        start: float64 `[N]`, seconds.
        end: float64 `[N]`, seconds.
        label: int32 `[N]`, class indices; a class does not suppress another class.
        score: float64 `[N]`.
        threshold: A row is kept if its tIoU with every kept row is at most this.

    Returns:
        int32 `[M]`: the kept rows by score, descending; equal scores by class, then the later row
        first.
    """

    def pick(waiting: tf.Tensor, picked: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        best, rest = waiting[0], waiting[1:]
        starts, ends = tf.gather(start, rest), tf.gather(end, rest)
        intersection = tf.minimum(ends, end[best]) - tf.maximum(starts, start[best])
        union = tf.maximum(ends, end[best]) - tf.minimum(starts, start[best])
        apart = intersection <= threshold * union
        apart |= tf.gather(label, rest) != label[best]
        return tf.boolean_mask(rest, apart), tf.concat([picked, waiting[:1]], axis=0)

    # Best first, and the later row first among equals: a stable sort of the reversed rows.
    reversed_order = tf.argsort(score[::-1], direction="DESCENDING", stable=True)
    _, picked = tf.while_loop(
        lambda waiting, _: tf.size(waiting) > 0,
        pick,
        (tf.size(score) - 1 - reversed_order, tf.zeros([0], tf.int32)),
        shape_invariants=(tf.TensorShape([None]), tf.TensorShape([None])),
    )
    by_class = tf.gather(picked, tf.argsort(tf.gather(label, picked), stable=True))
    scores = tf.gather(score, by_class)
    return tf.gather(by_class, tf.argsort(scores, direction="DESCENDING", stable=True))


def mean_actions(
    picked: tf.Tensor,
    start: tf.Tensor,
    end: tf.Tensor,
    label: tf.Tensor,
    score: tf.Tensor,
    regressed: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns mean starts and ends, float64 `[M]`: `postprocess.mean_action` in the graph.

    Args:
        picked: int32 `[M]`, the rows whose actions are wanted.
        start: float64 `[N]`, seconds.
        end: float64 `[N]`, seconds.
        label: int32 `[N]`, class indices.
        score: float64 `[N]`.
        regressed: bool `[N]`, whether a row has boundaries other than its window's.
    """

    def mean(row: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        intersection = tf.minimum(end, end[row]) - tf.maximum(start, start[row])
        union = tf.maximum(end, end[row]) - tf.minimum(start, start[row])
        same = regressed & (label == label[row]) & (intersection >= SAME_TIOU * union)
        weights = tf.where(same, score, tf.zeros_like(score))
        total = tf.reduce_sum(weights)
        return tuple(
            times[row] + tf.math.divide_no_nan(tf.reduce_sum(weights * (times - times[row])), total)
            for times in (start, end)
        )

    return tf.map_fn(mean, picked, fn_output_signature=(tf.float64, tf.float64))


def finite(scores: tf.Tensor, network: str) -> tf.Tensor:
    """Returns the same scores, or ends the request if one is not finite."""
    message = f"the {network} network gives scores that are not finite"
    return checked(scores, tf.reduce_all(tf.math.is_finite(scores)), message)
