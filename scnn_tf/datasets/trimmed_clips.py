"""Reader of folders of trimmed clips, one folder a class, as UCF101 and Kinetics are kept."""

import math
from collections import Counter

from scnn_tf.datasets.annotations import Instance, VideoAnnotation
from scnn_tf.datasets.video_files import is_video_name
from scnn_tf.errors import InputError
from scnn_tf.io.files import PathLike, as_path


def read_trimmed(folder: PathLike, subset: str = "train") -> dict[str, VideoAnnotation]:
    """Reads a folder with a folder of trimmed clips for each class.

    Nothing is decoded: durations are None and every instance ends at infinity, until `clipped`
    sets the duration.

    Args:
        folder: Holds `<Class>/<clip>.<extension>`.
        subset: Name of the subset.

    Returns:
        video id → annotation, by class and name. The id is the file's name without extension, or
        `<Class>_<file name>` if two files would have the same id; `file` is relative to `folder`.

    Raises:
        InputError: The folder has no clips.
    """
    classes = [path for path in sorted(as_path(folder).iterdir()) if path.is_dir()]
    files = [file for path in classes for file in sorted(path.iterdir())]
    files = [file for file in files if is_video_name(file.name)]
    if not files:
        raise InputError(
            f"{folder}: expected text (<Class>_test.txt, <Class>_val.txt) or a folder of clips "
            "for each class (.mp4, .avi, .mkv, …). Found: neither"
        )
    stems = Counter(f.stem for f in files)
    videos = {}
    for file in files:
        label = file.parent.name
        key = file.stem if stems[file.stem] == 1 else f"{label}_{file.name}"
        instances = (Instance(label, 0.0, math.inf),)
        relative = f"{label}/{file.name}"
        videos[key] = VideoAnnotation(key, subset, None, None, instances, True, relative)
    return videos
