"""How a page shows a video: plays the file where browsers can, else a strip of its key frames."""

import base64
import io
import os
import posixpath
from pathlib import Path
from urllib.parse import quote, urlsplit

from absl import logging
from matplotlib.image import imsave

from scnn_tf.errors import InputError, VideoError
from scnn_tf.io.files import as_path
from scnn_tf.io.video import VideoInfo, probe
from scnn_tf.report.figures import key_frames

KEY_FRAMES = 12
_JPEG_QUALITY = 75
# FFmpeg's name of a container → codecs in it that every browser of today shows. Ten bits and 4:2:2
# play in some only.
_PLAYABLE = {
    "mov,mp4,m4a,3gp,3g2,mj2": {"h264", "vp9", "av1"},
    "matroska,webm": {"vp8", "vp9", "av1"},
}
_TYPES = {".mp4": "video/mp4", ".m4v": "video/mp4", ".webm": "video/webm"}
_PIXEL_FORMATS = ("yuv420p", "yuvj420p")


def plays_in_browsers(info: VideoInfo) -> bool:
    """Whether browsers show a file as it is: H.264, VP8, VP9 or AV1 in MP4 or WebM."""
    return (
        _ending(info.path) in _TYPES
        and info.codec in _PLAYABLE.get(info.container, ())
        and info.pixel_format in _PIXEL_FORMATS
    )


def shown_video(path: str | os.PathLike, page: str | os.PathLike, embed: bool = False) -> dict:
    """What a page holds of a video.

    Args:
        path: the video, a file or URL.
        page: where the page will be, a file or URL; a video that plays is named as seen from it.
        embed: puts the file itself into the page.

    Returns:
        "duration" in seconds, and "src", an address or `data:`, or "frames", (seconds, `data:`) of
        each key frame; or only "note", why there is neither.

    Raises:
        InputError: the file cannot be read to be embedded.
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


def _source(path: str, page: str, embed: bool) -> str | None:
    """The address of a video for a page, or None where it has none."""
    if embed:
        return _data(_TYPES[_ending(path)], _content(path))
    if path.lower().startswith(("http://", "https://")):
        return path
    ours, theirs = urlsplit(page), urlsplit(path)
    if "://" in path or "://" in page:
        if (ours.scheme, ours.netloc) != (theirs.scheme, theirs.netloc):
            return None
        relative = posixpath.relpath(theirs.path, posixpath.dirname(ours.path))
    else:
        folder = Path(page).absolute().parent
        relative = Path(os.path.relpath(Path(path).absolute(), folder)).as_posix()
    return "./" + quote(relative)  # with ./ no name can be taken for a scheme


def _content(path: str) -> bytes:
    try:
        return as_path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def _jpeg(picture) -> str:
    """A picture, uint8 `[H, W, 3]`, as a `data:` address."""
    file = io.BytesIO()
    imsave(file, picture, format="jpeg", pil_kwargs={"quality": _JPEG_QUALITY})
    return _data("image/jpeg", file.getvalue())


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _ending(path: str) -> str:
    return os.path.splitext(urlsplit(path).path if "://" in path else path)[1].lower()
