"""Fixtures of the tests of training."""

import shutil

import pytest
import tensorflow as tf

from scnn_tf.shards.files import describe, read_manifest, write_manifest


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
