"""Which file a video of the annotations is."""

import os

from scnn_tf.annotations import VIDEO_EXTENSIONS, VideoAnnotation
from scnn_tf.errors import VideoError
from scnn_tf.files import AnyPath, as_path


def find_video(video: VideoAnnotation, video_dir: str | os.PathLike) -> AnyPath:
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
