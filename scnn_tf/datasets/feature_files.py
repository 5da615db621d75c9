"""Files of features: a sequence of vectors of a video, as NumPy and HDF5 files hold them."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from scnn_tf.datasets.annotations import VideoAnnotation
from scnn_tf.datasets.video_files import FEATURE_ENDINGS, without_ending
from scnn_tf.errors import InputError, VideoError
from scnn_tf.io.files import AnyPath, PathLike, as_path


def find_features(video: VideoAnnotation, folder: PathLike) -> AnyPath:
    """Returns the file of a video's features: its id, or its file's name, with another ending.

    Raises:
        VideoError: There is no such file, or several.
    """
    names = dict.fromkeys((video.video_id, without_ending(video.file or video.video_id)))
    paths = [as_path(folder) / f"{name}{ending}" for name in names for ending in FEATURE_ENDINGS]
    found = [path for path in paths if path.is_file()]
    if len(found) != 1:
        raise VideoError(
            f"{folder}: expected one file of features, {video.video_id}{FEATURE_ENDINGS[0]} (or "
            f"{', '.join(FEATURE_ENDINGS[1:])}). Found: "
            f"{', '.join(path.name for path in found) or 'none'}"
        )
    return found[0]


def find_feature_files(places: Iterable[PathLike]) -> list[str]:
    """Returns the given files, and the files of features in the given folders, sorted.

    Raises:
        InputError: There is no file of features in a folder.
    """
    files: list[str] = []
    for place in places:
        path = as_path(place)
        if not path.is_dir():
            files.append(str(place))
            continue
        inside = sorted(str(p) for p in path.iterdir() if p.suffix.lower() in FEATURE_ENDINGS)
        if not inside:
            raise InputError(
                f"{place}: expected files of features ({', '.join(FEATURE_ENDINGS)}). Found: none"
            )
        files += inside
    return files


def read_features(path: PathLike, size: int = 0) -> np.ndarray:
    """Reads the features of a video.

    Args:
        path: `.npy`; or `.npz`, `.h5` or `.hdf5` with one array.
        size: Length that the vectors must have; 0: any.

    Returns:
        float32 `[T, F]`, a vector for each moment, by time.

    Raises:
        VideoError: The file cannot be read, or has other than one array `[T, F]` of finite numbers,
            or vectors of another length.
    """
    path = as_path(path)
    try:
        array = _READERS[path.suffix.lower()](path)
    except KeyError:
        raise VideoError(
            f"{path}: expected a file of features, {', '.join(FEATURE_ENDINGS)}"
        ) from None
    except VideoError:
        raise
    except Exception as error:  # damage raises errors of many types
        raise VideoError(f"{path}: the features cannot be read ({_reason(error)})") from error
    # A leading axis of 1 is a batch of one video.
    array = array[0] if array.ndim == 3 and len(array) == 1 else array
    if array.ndim != 2 or not array.size or array.dtype.kind not in "fiu":
        raise VideoError(
            f"{path}: expected features of shape (time, size). Found: {array.dtype} of shape "
            f"{array.shape}"
        )
    if size and array.shape[1] != size:
        raise VideoError(
            f"{path}: expected vectors of {size} features, like those of the other videos. Found: "
            f"shape {array.shape}"
        )
    array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise VideoError(f"{path}: expected finite features. Found: NaN or infinity")
    return array


def _read_npy(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        return np.load(file, allow_pickle=False)  # pickles can run code


def _read_npz(path: Path) -> np.ndarray:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return arrays[_only(path, list(arrays))]


def _read_hdf5(path: Path) -> np.ndarray:
    import h5py

    with path.open("rb") as binary, h5py.File(binary, "r") as file:
        arrays: list[str] = []
        file.visititems(lambda name, node: arrays.append(name) if hasattr(node, "shape") else None)
        return file[_only(path, arrays)][()]


_READERS = {".npy": _read_npy, ".npz": _read_npz, ".h5": _read_hdf5, ".hdf5": _read_hdf5}


def _only(path: Path, names: list[str]) -> str:
    """Returns the name of the only array of a file.

    Raises:
        VideoError: There is another number of arrays.
    """
    if len(names) != 1:
        raise VideoError(
            f"{path}: expected one array, the features of one video. Found: "
            f"{', '.join(names[:8]) or 'none'}; write a file for each video"
        )
    return names[0]


def _reason(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
