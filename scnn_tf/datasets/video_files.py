"""Video files: how to find the file of a video, and the videos of a folder."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence

from scnn_tf.datasets.annotations import VideoAnnotation
from scnn_tf.errors import InputError, VideoError
from scnn_tf.io.files import AnyPath, PathLike, as_path, file_name

VIDEO_EXTENSIONS = frozenset(
    ".3gp .avi .flv .m4v .mkv .mov .mp4 .mpeg .mpg .ogv .ts .webm .wmv".split()
)


def find_video(video: VideoAnnotation, video_dir: PathLike) -> AnyPath:
    """Returns the file that a video's annotation names, or else the file named after its id.

    Raises:
        VideoError: The file is missing.
    """
    folder = as_path(video_dir)
    if video.file:
        path = folder / video.file
        if path.is_file():
            return path
        raise VideoError(f"{path}: the video is missing")
    for extension in sorted(VIDEO_EXTENSIONS):
        if (path := folder / f"{video.video_id}{extension}").is_file():
            return path
    raise VideoError(f"{folder}: no video file named {video.video_id}.mp4 (or .avi, .mkv, …)")


def find_videos(places: Iterable[PathLike]) -> Iterator[str]:
    """Yields the given files, and the videos in the given folders and their sub-folders, by name.

    Args:
        places: Files, folders, and URLs of either. A place with the extension of a video is
            yielded whether or not it exists.
    """
    for place in places:
        if _is_video(place) or not (folder := as_path(place)).is_dir():
            yield os.fspath(place)
            continue
        for path in sorted(folder.iterdir()):
            if _is_video(path):
                yield os.fspath(path)
            elif path.is_dir():
                yield from find_videos([path])


def by_id(videos: Sequence[PathLike]) -> dict[str, PathLike]:
    """Returns files or URLs by video id, the file's name without extension.

    Raises:
        InputError: Two videos have the same id.
    """
    files: dict[str, PathLike] = {}
    for video in videos:
        name = os.path.splitext(file_name(video))[0]
        if name in files:
            raise InputError(f"two videos are named {name!r}; rename one")
        files[name] = video
    return files


def videos_in(
    folder: PathLike, annotated: Mapping[str, VideoAnnotation] | None = None
) -> dict[str, PathLike]:
    """Returns the videos of a folder by their ids.

    Args:
        folder: Folder or URL.
        annotated: The videos to find; a missing video gets the name that it should have. None: all
            videos in the folder.

    Raises:
        InputError: No video was found, or two videos have the same id.
    """
    if annotated is None:
        files = by_id(list(find_videos([folder]))) if as_path(folder).is_dir() else {}
        if not files:
            raise InputError(f"{folder}: no video was found")
        return files
    files, missing = {}, 0
    for key, video in annotated.items():
        try:
            files[key] = find_video(video, folder)
        except VideoError:
            files[key] = as_path(folder) / (video.file or f"{key}.mp4")
            missing += 1
    if missing == len(files):
        raise InputError(f"{folder}: none of the {missing} annotated videos was found")
    return files


def _is_video(place: PathLike) -> bool:
    return os.path.splitext(file_name(place))[1].lower() in VIDEO_EXTENSIONS
