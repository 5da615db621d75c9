import h5py
import numpy as np
import pytest

from scnn_tf.datasets.annotations import VideoAnnotation
from scnn_tf.datasets.feature_files import find_feature_files, find_features, read_features
from scnn_tf.errors import InputError, VideoError

VECTORS = np.arange(12, dtype=np.float64).reshape(4, 3)


def write_h5(path, **arrays) -> None:
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array


def test_every_form_gives_the_same_vectors(tmp_path):
    np.save(tmp_path / "a.npy", VECTORS)
    np.save(tmp_path / "batch.npy", VECTORS[None].astype(np.float16))
    np.save(tmp_path / "counts.npy", VECTORS.astype(np.int32))
    np.savez(tmp_path / "b.npz", features=VECTORS)
    np.savez_compressed(tmp_path / "UPPER.NPZ.npz", VECTORS)
    write_h5(tmp_path / "c.h5", **{"video/rgb": VECTORS})
    write_h5(tmp_path / "d.hdf5", x=VECTORS)
    for path in tmp_path.iterdir():
        found = read_features(path, size=3)
        assert found.dtype == np.float32, path
        np.testing.assert_array_equal(found, VECTORS, err_msg=str(path))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (VECTORS[0], r"expected features of shape \(time, size\). Found: float64 of shape \(3,\)"),
        (np.zeros([0, 3]), "shape"),
        (np.array([["a"]]), "Found: <U1 of shape"),
        (np.where(VECTORS == 5, np.nan, VECTORS), "expected finite features"),
        (VECTORS.T, r"expected vectors of 3 features, .* Found: shape \(3, 4\)"),
        (np.array([{}]), "cannot be read"),  # an object, whose pickle could run code
    ],
)
def test_unusable_arrays_are_refused(tmp_path, array, message):
    np.save(tmp_path / "v.npy", array, allow_pickle=True)
    with pytest.raises(VideoError, match=f"v.npy: .*{message}"):
        read_features(tmp_path / "v.npy", size=3)


def test_unusable_files_are_refused(tmp_path):
    np.savez(tmp_path / "two.npz", a=VECTORS, b=VECTORS)
    write_h5(tmp_path / "none.h5")
    (tmp_path / "text.npy").write_text("1 2 3")
    (tmp_path / "cut.h5").write_bytes(b"\x89HDF\r\n")
    (tmp_path / "v.csv").write_text("1,2,3")
    for name, message in (
        ("two.npz", "expected one array, the features of one video. Found: a, b"),
        ("none.h5", "expected one array, the features of one video. Found: none"),
        ("text.npy", "the features cannot be read"),
        ("cut.h5", "the features cannot be read"),
        ("v.csv", "expected a file of features, .npy, .npz, .h5, .hdf5"),
        ("missing.npy", "the features cannot be read .*No such file"),
    ):
        with pytest.raises(VideoError, match=f"{name}: {message}"):
            read_features(tmp_path / name)


def test_the_file_of_a_video_is_named_by_its_id_or_its_file(tmp_path):
    np.save(tmp_path / "by_id.npy", VECTORS)
    np.savez(tmp_path / "by.file.npz", VECTORS)

    def find(name, file=None):
        return find_features(VideoAnnotation(name, "train", None, None, (), file=file), tmp_path)

    assert find("by_id").name == find("by_id", "videos/other.mp4").name == "by_id.npy"
    assert find("v", "by.file.mp4").name == "by.file.npz"
    with pytest.raises(VideoError, match=r"expected one file of features, v.npy .*Found: none"):
        find("v")
    write_h5(tmp_path / "by_id.h5", x=VECTORS)
    with pytest.raises(VideoError, match="Found: by_id.npy, by_id.h5"):
        find("by_id")


def test_the_files_of_a_folder(tmp_path):
    for name in ("b.npy", "a.NPZ", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    single = tmp_path / "elsewhere.npy"
    found = find_feature_files([single, tmp_path])
    assert [path.removeprefix(f"{tmp_path}/") for path in found] == [
        "elsewhere.npy", "a.NPZ", "b.npy"
    ]  # fmt: skip
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: expected files of features .*Found: none"):
        find_feature_files([tmp_path / "empty"])
