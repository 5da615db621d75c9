"""Prepares a video for a page: the file where browsers can play it, else a strip of key frames."""

import base64
import io
import math
import os
from collections.abc import Sequence

import numpy as np
from absl import logging
from matplotlib.image import imsave

from scnn_tf.errors import InputError, VideoError
from scnn_tf.io.files import PathLike, as_path, file_name, relative_url
from scnn_tf.io.video import VideoInfo, probe, read_frames

KEY_FRAMES = 12
_KEY_FRAME_HEIGHT = 90  # pixels
_KEY_FRAME_RATE = 25.0  # Hz
_JPEG_QUALITY = 75
# FFmpeg's name of a container → codecs in it that every current browser plays. Ten bits and 4:2:2
# play only in some.
_PLAYABLE = {
    "mov,mp4,m4a,3gp,3g2,mj2": {"h264", "vp9", "av1"},
    "matroska,webm": {"vp8", "vp9", "av1"},
}
_TYPES = {".mp4": "video/mp4", ".m4v": "video/mp4", ".webm": "video/webm"}
_PIXEL_FORMATS = ("yuv420p", "yuvj420p")


def plays_in_browsers(info: VideoInfo) -> bool:
    """Returns whether browsers play a file as it is: H.264, VP8, VP9 or AV1 in MP4 or WebM."""
    return (
        _ending(info.path) in _TYPES
        and info.codec in _PLAYABLE.get(info.container, ())
        and info.pixel_format in _PIXEL_FORMATS
    )


def shown_video(path: PathLike, page: PathLike, embed: bool = False) -> dict:
    """Returns the data of a video that a page needs to show it.

    Args:
        path: File or URL of the video.
        page: File or URL of the page; the address of a video that plays is relative to it.
        embed: Whether to embed the video's file in the page.

    Returns:
        "duration" in seconds, and "src", an address or `data:`, or "frames", (seconds, `data:`) of
        each key frame; or only "note", the reason why there is neither.

    Raises:
        InputError: The file cannot be read to be embedded.
    """
    path = os.fspath(path)
    try:
        info = probe(path)
        if plays_in_browsers(info) and (source := _source(path, os.fspath(page), embed)):
            return {"duration": info.duration, "src": source}
        step = info.duration / KEY_FRAMES
        times = [round((number + 0.5) * step, 3) for number in range(KEY_FRAMES)]
        frames = [_jpeg(picture) for picture in key_frames(path, times)]
    except VideoError as error:
        logging.warning("%s", error)
        return {"note": str(error)}
    return {"duration": info.duration, "frames": list(zip(times, frames, strict=True))}


def key_frames(path: PathLike, times: Sequence[float]) -> list[np.ndarray]:
    """Returns the picture on display at each time; after the end of the video, its last picture.

    Args:
        path: A video file.
        times: Times in seconds, ascending.

    Returns:
        uint8 [90, W, 3] for each time, RGB.

    Raises:
        VideoError: The file cannot be used.
    """
    info = probe(path)
    width = max(1, round(_KEY_FRAME_HEIGHT * info.width / info.height))
    frames = enumerate(read_frames(path, _KEY_FRAME_RATE, _KEY_FRAME_HEIGHT, width))
    number, picture = next(frames)
    pictures = []
    for time in times:
        while number < int(time * _KEY_FRAME_RATE):
            number, picture = next(frames, (math.inf, picture))
        pictures.append(picture)
    return pictures


def _source(path: str, page: str, embed: bool) -> str | None:
    """Returns the address of a video for a page, or None if the page cannot refer to it."""
    if embed:
        return _data(_TYPES[_ending(path)], _content(path))
    return relative_url(path, page)


def _content(path: str) -> bytes:
    try:
        return as_path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def _jpeg(picture: np.ndarray) -> str:
    """Returns a picture, uint8 [H, W, 3], as a `data:` address."""
    file = io.BytesIO()
    imsave(file, picture, format="jpeg", pil_kwargs={"quality": _JPEG_QUALITY})
    return _data("image/jpeg", file.getvalue())


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _ending(path: str) -> str:
    return os.path.splitext(file_name(path))[1].lower()
