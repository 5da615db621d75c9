"""Stretches at other speeds: the few people of a training set act in a few durations only."""

from typing import NamedTuple

import tensorflow as tf

from scnn_tf.models.recipes import ShardRecipe
from scnn_tf.segments.labels import LEAST_TIOU
from scnn_tf.segments.stretches import SAMPLES_PER_STRIDE
from scnn_tf.segments.windows import SAMPLED_FRAMES


class WindowTargets(NamedTuple):
    """The targets of the n windows of a stretch; in a multi-label dataset, for each of K classes.

    Attributes:
        labels: int64 `[n]` or `[n, K]`: 0 for background, 1…K for the classes, -1 for neither.
        overlaps: float32, of the same shape: tIoU with the window's instance; 1 without one.
        offsets: float32 `[..., 2]`, from the window's start and end to its instance's, in window
            lengths.
    """

    labels: tf.Tensor
    overlaps: tf.Tensor
    offsets: tf.Tensor


def random_rate(fastest: float, seed: tf.Tensor) -> tf.Tensor:
    """Returns how many times as fast a stretch is shown, float32 `[]`: 1 for one in two.

    Args:
        fastest: The largest rate, from 1 to 2; the logarithms of the others are uniform.
        seed: Seed of the draw, int `[2]`.
    """
    changes, power = tf.unstack(tf.random.stateless_uniform([2], tf.random.fold_in(seed, 1)))
    return tf.where(changes < 0.5, tf.pow(float(fastest), power), 1.0)


def at_rate(
    stored: WindowTargets, rate: tf.Tensor, first: tf.Tensor, count: int, shards: ShardRecipe
) -> WindowTargets:
    """Returns the targets of windows of a stretch that is shown at another rate.

    Each window is `rate` times as long as the stored ones. It shows what the one shows whose middle
    is nearest to its own: its label follows from its tIoU with the same instance, as in
    `labels.label_segments`. If the nearest one is background within an action, whose class is not
    stored, a window that covers the action is neither action nor background.

    Args:
        stored: Targets of the windows of the whole stretch.
        rate: float32 `[]`, from 1 to 2; of 1, the targets are the stored ones.
        first: float32 `[]`, the sample at which the first window starts.
        count: Number of windows.
        shards: By which tIoU windows are labelled.
    """
    length = rate * SAMPLED_FRAMES
    starts = first + rate * SAMPLES_PER_STRIDE * tf.range(float(count))
    nearest = tf.round((starts + (length - SAMPLED_FRAMES) / 2) / SAMPLES_PER_STRIDE)
    nearest = tf.clip_by_value(tf.cast(nearest, tf.int32), 0, tf.shape(stored.labels)[0] - 1)
    labels, overlaps, offsets = (tf.gather(each, nearest) for each in stored)

    shape = [-1] + [1] * (labels.shape.rank - 1)
    starts, near = (
        tf.reshape(each, shape)
        for each in (starts, SAMPLES_PER_STRIDE * tf.cast(nearest, tf.float32))
    )
    ends = starts + length
    begin = near + SAMPLED_FRAMES * offsets[..., 0]
    end = near + SAMPLED_FRAMES * (1 + offsets[..., 1])
    around = shards.margin * length
    intersection = tf.minimum(end, ends + around) - tf.maximum(begin, starts - around)
    union = tf.maximum(end, ends + around) - tf.minimum(begin, starts - around)
    tiou = tf.maximum(intersection, 0.0) / union

    has_action = (labels > 0) | (overlaps < 1.0)
    as_action = tf.where(labels > 0, labels, -1)  # of background, the class is not stored
    label = tf.where(tiou < shards.background_tiou, tf.zeros_like(labels), -1)
    label = tf.where(tiou > shards.positive_tiou, as_action, label)
    label = tf.where(has_action & (labels >= 0), label, labels)
    belongs = has_action & (tiou >= LEAST_TIOU)
    moved = WindowTargets(
        labels=label,
        overlaps=tf.where(belongs, tiou, 1.0),
        offsets=tf.stack([begin - starts, end - ends], axis=-1) / length,
    )
    return WindowTargets(
        *(
            tf.where(rate > 1, new, old)
            for new, old in zip(moved, (labels, overlaps, offsets), strict=True)
        )
    )
