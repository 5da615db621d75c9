"""Decoded pictures: the stream that they are taken from, their sampling at a rate, their size.

Files (`video`) and live sources (`live`) share it, so that they give the same frames.
"""

from collections.abc import Callable, Iterable, Iterator

import av
import numpy as np
from av.stream import Disposition

from scnn_tf.errors import VideoError
from scnn_tf.io.clock import LONGEST_HOLD

# Matroska, WebM and FLV round timestamps to milliseconds, so that a frame may seem to begin up
# to a millisecond after the instant at which it is sampled.
_ROUNDING = 0.0015
# 8K (the largest picture of level 6 of H.264 and HEVC): a decoder holds some twenty of them.
_MOST_PIXELS = 8192 * 4352


def video_stream(container, path: str):
    """Returns the video stream of a container that FFmpeg would show, ready to decode.

    Raises:
        VideoError: There is none, or its pictures are too large.
    """
    # FFmpeg "plays" text files too, as scrolling pictures of their letters.
    if not container.streams.video or container.format.name == "tty":
        raise VideoError(f"{path} has no video in it.")
    stream = max(videos(container), key=_preference, default=None)
    if stream is None:
        raise VideoError(f"{path} has no video in it, only a picture, such as a cover.")
    if stream.codec_context is None:
        raise VideoError(f"{path} is in a codec for which there is no decoder.")
    if stream.width * stream.height > _MOST_PIXELS:
        raise VideoError(
            f"{path}: its pictures are {stream.width} × {stream.height} pixels, too large "
            "to be decoded here (8192 × 4352 at most); scale it down."
        )
    # Sizes may change in the middle; FFmpeg skips what is larger then.
    stream.codec_context.options = {"max_pixels": str(_MOST_PIXELS)}
    return stream


def videos(container) -> list:
    """Returns the video streams of a file, without covers and other attached pictures."""
    return [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]


def _preference(stream) -> tuple[bool, int]:
    """Returns how FFmpeg ranks the video streams of a file: a default one, then the largest."""
    size = stream.width * stream.height if stream.codec_context else 0  # None: of no known codec
    return bool(stream.disposition & Disposition.default), size


def at_rate(
    pictures: Iterable[tuple[av.VideoFrame, float]],
    fps: float,
    start: float,
    end: Callable[[], float],
) -> Iterator[av.VideoFrame]:
    """Yields the picture on display at each frame of a fixed rate, each as soon as it is known.

    The first picture is shown from zero on. If it appears within a frame, the frames are sampled
    later by that much, half a frame at most.

    Args:
        pictures: The pictures and the times at which they appear, in seconds, never decreasing.
        fps: Frames a second.
        start: Time at which the first picture appears.
        end: Returns the time at which the last picture disappears; called after the last one.
    """
    delay = start - round(start * fps) / fps + _ROUNDING
    index, shown = 0, None
    # The frame before `index`, where it is not known yet whether half of it is within the video.
    waiting = None
    for picture, time in pictures:
        if waiting is not None and (index - 0.5) / fps < time:
            yield waiting
            waiting = None
        while shown is not None and index / fps + delay < time:
            index += 1
            if (index - 0.5) / fps < time:
                yield shown
            else:
                waiting = shown
        shown = picture
    if shown is not None:
        total = max(1, round(round(end() * fps, 6)))
        if waiting is not None and index <= total:
            yield waiting
        for _ in range(index, total):
            yield shown


class Resizer:
    """Turns decoded frames into RGB arrays of one size, upright.

    libswscale resizes in the same step as it converts from YUV. Successive calls with the same
    frame do the work once.

    Args:
        height: Height in pixels; None takes that of the first frame.
        width: Width in pixels; None takes that of the first frame.
    """

    def __init__(self, height: int | None, width: int | None):
        self.height = height
        self.width = width
        self._scaler = av.video.reformatter.VideoReformatter()
        self._frame = None
        self._image = None

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        """Converts a frame to `[height, width, 3]` uint8."""
        if frame is self._frame:
            return self._image
        turns = quarter_turns(frame)
        size = (frame.height, frame.width)[:: -1 if turns % 2 else 1]
        self.height = self.height or size[0]
        self.width = self.width or size[1]
        height, width = (self.height, self.width)[:: -1 if turns % 2 else 1]
        rgb = self._scaler.reformat(frame, width=width, height=height, format="rgb24")
        self._frame = frame
        self._image = np.ascontiguousarray(np.rot90(rgb.to_ndarray(), turns))
        return self._image


def quarter_turns(frame: av.VideoFrame) -> int:
    """Returns how many quarter turns counter-clockwise bring a decoded frame upright, 0–3."""
    return round(frame.rotation / 90) % 4


def rate_of(stream) -> float:
    """Returns the average frame rate; 25 where the header's rate is missing or absurd."""
    rate = float(stream.average_rate or stream.guessed_rate or 0)
    return rate if 1 / LONGEST_HOLD <= rate <= 1000 else 25.0


def reason(error: Exception) -> str:
    """Returns the words of the system or of FFmpeg for an error, without number and path."""
    return getattr(error, "strerror", None) or str(error)
