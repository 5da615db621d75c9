"""Where the files of videos are, and which videos they are of."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence

from scnn_tf.datasets.annotations import VideoAnnotation
from scnn_tf.datasets.formats import VIDEO_EXTENSIONS
from scnn_tf.errors import InputError, VideoError
from scnn_tf.io.files import AnyPath, PathLike, as_path, file_name


def find_video(video: VideoAnnotation, video_dir: PathLike) -> AnyPath:
    """The file of a video: the one its annotation names, or the one named after its id.

    Raises:
        VideoError: there is none.
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
    """Files as they are given, and the videos in folders and their folders, by name.

    Args:
        places: files, folders and URLs of either. What looks like a video is not looked for.
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
    """Files or URLs by video id, a file's name without extension.

    Raises:
        InputError: two have the same id.
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
    """The videos of a folder by their ids.

    Args:
        folder: folder or URL.
        annotated: the videos to find; a missing one gets the name that it should have. None: all
            that are there.

    Raises:
        InputError: none of them is there, or two have the same id.
    """
    if annotated is None:
        files = by_id(list(find_videos([folder]))) if as_path(folder).is_dir() else {}
        if not files:
            raise InputError(f"{folder}: there is no video in it")
        return files
    files, missing = {}, 0
    for key, video in annotated.items():
        try:
            files[key] = find_video(video, folder)
        except VideoError:
            files[key] = as_path(folder) / (video.file or f"{key}.mp4")
            missing += 1
    if missing == len(files):
        raise InputError(f"{folder}: none of the {missing} annotated videos is in it")
    return files


def _is_video(place: PathLike) -> bool:
    return os.path.splitext(file_name(place))[1].lower() in VIDEO_EXTENSIONS
