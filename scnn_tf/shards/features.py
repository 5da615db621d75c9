"""Features of a frozen trunk: computed once for each stretch of a dataset, then trained from.

A dataset of features lies in the folder of the one that it was made of, `features-<checksum>`: the
checksum is of the trunk, of the layer, and of the shards, so that others get a folder of their own.
"""

import dataclasses
import hashlib
import time
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from scnn_tf.errors import InputError
from scnn_tf.io.files import AnyPath, as_path, json_checksum, read_text, write_text
from scnn_tf.io.folders import locked
from scnn_tf.models.recipes import Recipe
from scnn_tf.segments.prior import WINDOW_PRIOR
from scnn_tf.shards import records
from scnn_tf.shards.files import (
    MANIFEST,
    Features,
    Manifest,
    describe,
    read_manifest,
    read_records,
    write_manifest,
    write_records,
)
from scnn_tf.shards.frames import centre_crop, decode_frames


def feature_shards(manifest: Manifest, trunk: keras.Model, layer: str, recipe: Recipe) -> Manifest:
    """Computes the features of all stretches of a dataset, unless they are there already.

    The same call resumes: the features of a finished shard are not computed again. They are of the
    center crops of the frames and, with the recipe's `mirror`, of their mirror images.

    Args:
        manifest: Description of the dataset of stretches.
        trunk: Network from a dict of `frames` and perhaps `window_frames` to features `[N, n, …]`,
            as `fine_tuning.split` gives it.
        layer: Name of the trunk's last layer.
        recipe: Crop and mirroring.

    Returns:
        Description of the dataset of features.

    Raises:
        InputError: The layer has no outputs for each window, or outputs that are not finite; or a
            file cannot be read or written.
    """
    trunk.jit_compile = False  # XLA makes 3D convolutions many times slower on a CPU
    identity = {"layer": layer, "weights": _weights_checksum(trunk)}
    of = [[shard["sha256"] for shard in manifest.shards], recipe.crop, recipe.mirror]
    folder = as_path(manifest.folder) / f"features-{json_checksum([identity, of])[:16]}"
    if (folder / MANIFEST).is_file():
        return read_manifest(folder)
    with locked(folder, "computing features"):
        for shard in manifest.shards:
            began, target = time.monotonic(), folder / shard["file"]
            if not target.is_file():
                found = _Features(trunk, layer, recipe)
                write_records(target, found.of(as_path(manifest.folder) / shard["file"]))
                logging.info(
                    "%s: features of %d stretches in %.0f s", target, shard["count"],
                    time.monotonic() - began,
                )  # fmt: skip
        write_text(folder / WINDOW_PRIOR, read_text(as_path(manifest.folder) / WINDOW_PRIOR))
        shards = [
            {"file": shard["file"], **describe(folder / shard["file"])} for shard in manifest.shards
        ]
        features = Features(trunk.output_shape[2:], 1 + recipe.mirror, identity)
        write_manifest(folder, dataclasses.replace(manifest, shards=shards, features=features))
        return read_manifest(folder)


@dataclasses.dataclass(frozen=True)
class _Features:
    """The features of the stretches of a shard."""

    trunk: keras.Model
    layer: str
    recipe: Recipe

    def of(self, shard: AnyPath) -> Iterator[records.SegmentRecord]:
        """Yields the stretches of a shard with features in place of their images."""
        for stretch in read_records(shard):
            images = tf.constant(stretch.images)
            frames = decode_frames(images, stretch.height, stretch.width).numpy()
            frames = centre_crop(frames, self.recipe.crop)
            views = [frames, frames[:, :, ::-1]] if self.recipe.mirror else [frames]
            features = [self._compute(view, stretch) for view in views]
            yield dataclasses.replace(
                stretch, images=(), frame_indices=(), features=np.concatenate(features, axis=1)
            )

    def _compute(self, frames: np.ndarray, stretch: records.SegmentRecord) -> np.ndarray:
        """Returns the features of each window of a stretch, float32 `[n, F]`.

        Raises:
            InputError: There is another number of windows, or a feature is not finite.
        """
        inputs = {"frames": frames[None]}
        if "window_frames" in self.trunk.input:
            inputs["window_frames"] = np.full(1, stretch.window_frames, np.int32)
        features = np.asarray(self.trunk.predict_on_batch(inputs)[0], np.float32)
        if len(features) != stretch.stretch.count:
            raise InputError(
                f"layer {self.layer!r}: expected the features of {stretch.stretch.count} windows. "
                f"Found: {len(features)} steps; choose a layer after the last pooling over time"
            )
        if not np.isfinite(features).all():
            raise InputError(f"layer {self.layer!r}: its features are not finite")
        return features.reshape(len(features), -1)


def _weights_checksum(trunk: keras.Model) -> str:
    """Returns a checksum of all weights of a trunk, and of the precision of its layers."""
    checksum = hashlib.sha256(
        json_checksum([layer.dtype_policy.name for layer in trunk.layers]).encode()
    )
    for weight in trunk.weights:
        checksum.update(weight.path.encode() + weight.numpy().tobytes())
    return checksum.hexdigest()
