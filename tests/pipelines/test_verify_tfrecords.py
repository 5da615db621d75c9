import shutil

from scnn_tf.shards.files import read_manifest


def test_a_good_data_set(run_binary, tiny_dataset):
    code, out, _ = run_binary("verify_tfrecords", f"--data_dir={tiny_dataset / 'shards'}")
    total = sum(read_manifest(tiny_dataset / "shards").label_counts)
    assert (code, out) == (0, f"ok: 2 shards, {total} segments\n")


def test_a_damaged_one(run_binary, tiny_dataset, tmp_path):
    data = tmp_path / "shards"
    shutil.copytree(tiny_dataset / "shards", data)
    shard = data / read_manifest(data).shards[1]["file"]
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    code, out, _ = run_binary("verify_tfrecords", f"--data_dir={data}")
    assert code == 1
    lines = out.splitlines()
    assert lines[0].startswith(f"{shard}: the shard was changed or damaged")
    assert lines[1].startswith(f"{shard}, record ") and "are lost" in lines[1]


def test_no_data_set(run_binary, tmp_path):
    code, _, err = run_binary("verify_tfrecords", f"--data_dir={tmp_path}")
    assert code == 1
    assert err.splitlines()[-1].startswith(f"error: {tmp_path}: no finished data set here")
