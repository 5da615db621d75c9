"""Fixtures of the tests of training."""

import shutil

import numpy as np
import pytest
import tensorflow as tf

from scnn_tf.shards.files import describe, read_manifest, write_manifest
from tests.training.c3d_numpy import forward, random_layers


@pytest.fixture
def rewrite_records(tiny_dataset, tmp_path):
    """`rewrite_records(change)` returns a copy of the shards with every record changed.

    `change` modifies a `tf.train.SequenceExample`. The checksums in the copy are right. Another
    dataset than `tiny_dataset` may be given.
    """

    def rewrite(change, dataset=tiny_dataset):
        folder = shutil.copytree(dataset / "shards", tmp_path / "rewritten")
        manifest = read_manifest(folder)
        for shard in manifest.shards:
            path = folder / shard["file"]
            examples = [
                tf.train.SequenceExample.FromString(record.numpy())
                for record in tf.data.TFRecordDataset(str(path))
            ]
            with tf.io.TFRecordWriter(str(path)) as writer:
                for example in examples:
                    change(example)
                    writer.write(example.SerializeToString())
            shard.update(describe(path))
        write_manifest(folder, manifest)
        return folder

    return rewrite


@pytest.fixture(scope="session")
def layers():
    return random_layers(filters=4, hidden=24)


@pytest.fixture(scope="session")
def frames():
    return np.random.default_rng(1).integers(0, 256, [16, 112, 112, 3], np.uint8)


@pytest.fixture(scope="session")
def volume():
    """A mean volume in which no two values are alike."""
    return np.random.default_rng(2).uniform(0, 255, [3, 16, 128, 171]).astype(np.float32)


@pytest.fixture(scope="session")
def expected(layers, frames, volume):
    return forward(layers, frames, volume[:, :, 8 : 8 + 112, 29 : 29 + 112])
