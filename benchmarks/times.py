"""Checks the times of a video's frames against `ffprobe`."""

import json
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scnn_tf.errors import VideoError
from scnn_tf.io.video import probe, read_frames

FPS = 25.0
TOLERANCE = 0.0015  # seconds: timestamps of some containers are rounded to milliseconds
_SIZE = 32  # height and width, in pixels, of the compared pictures
_ALIKE = 0.2  # of 255, root mean square: difference that two scalers may make in a picture
_BLOCK = 256  # frames compared at a time


class Reference(NamedTuple):
    """The pictures of a video, read by FFmpeg's own programs.

    Attributes:
        times: float64 `[N]`, seconds from the container's zero to the display of each picture.
        end: Seconds from the container's zero to the end of the last one's display.
        counted: Whether timestamps are unusable, so that `times` are number / average rate.
        pictures: uint8 `[N, 32, 32, 3]`, RGB.
    """

    times: np.ndarray
    end: float
    counted: bool
    pictures: np.ndarray


def examine(path: Path) -> dict:
    """Probes and reads a file, and compares the times of its frames with ffprobe's.

    Returns:
        "verdict": "right", "counted" (timestamps are unusable, and frames are where counting puts
        them), the sentence with which the file was refused, or what is WRONG; "frames", number of
        frames at 25 Hz; and of a readable file "codec", "size", "rate", "seconds", "deviation_ms"
        and "distinct" (see `deviation`).
    """
    expected = reference(path)
    try:
        info = probe(path)
        frames = np.stack(list(read_frames(path, FPS, _SIZE, _SIZE)))
    except VideoError as error:
        verdict = str(error).removeprefix(str(path)).strip(" :.")
        if expected is not None:
            verdict += f"; WRONG: ffprobe gives {len(expected.times)} pictures"
        return {"verdict": verdict, "frames": 0}
    row = {
        "verdict": "WRONG: ffprobe gives no picture",
        "frames": len(frames),
        "codec": info.codec,
        "size": f"{info.width}×{info.height}",
        "rate": round(info.average_rate, 3),
        "seconds": round(info.duration, 3),
    }
    if expected is not None:
        # The frames of a video that begins within a frame are sampled later or earlier by the rest.
        start = expected.times[0]
        tolerance = TOLERANCE + abs(start - round(start * FPS) / FPS)
        expected.times[0] = 0.0  # Until it begins, its first picture is shown.
        worst, distinct = deviation(frames, FPS, expected)
        # A video ends at the nearest frame, but never before its first. The last packet of a file
        # with packed pictures may hold none.
        short = abs(len(frames) - max(1.0, expected.end * FPS)) / FPS
        least = 0.5 / FPS + TOLERANCE + (1 / info.average_rate if expected.counted else 0.0)
        row["verdict"] = "counted" if expected.counted else "right"
        if worst > tolerance or short > least:
            row["verdict"] = f"WRONG: {worst:.3f} s off, and {short:.3f} s at the end"
        row |= {"deviation_ms": round(1000 * worst, 1), "distinct": round(distinct, 2)}
    return row


def reference(path: Path) -> Reference | None:
    """Reads a video with `ffprobe` (times) and `ffmpeg` (pictures); None without pictures."""
    # "V": no cover pictures. Of several streams, players show the one with the largest pictures.
    streams = _ffprobe(path, "V", "stream=index,width,height,avg_frame_rate").get("streams", [])
    if not streams:
        return None
    stream = max(streams, key=lambda s: s.get("width", 0) * s.get("height", 0))
    entries = "frame=pts_time,duration_time,pkt_duration_time"
    frames = _ffprobe(path, str(stream["index"]), entries).get("frames", [])
    if not frames:
        return None
    scale = f"scale={_SIZE}:{_SIZE}:flags=bilinear"
    command = ["ffmpeg", "-v", "quiet", "-i", path, "-map", f"0:{stream['index']}", "-vf", scale]
    command += ["-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
    pictures = np.frombuffer(done.stdout, np.uint8).reshape(-1, _SIZE, _SIZE, 3)
    if len(pictures) != len(frames):
        raise RuntimeError(f"ffprobe gives {len(frames)} frames, ffmpeg {len(pictures)}: {path}")
    rate = float(Fraction(stream["avg_frame_rate"]))
    times = np.array([float(frame.get("pts_time", "nan")) for frame in frames])
    if np.isnan(times).any() or (np.diff(times) <= 0).any():
        return Reference(np.arange(len(frames)) / rate, len(frames) / rate, True, pictures)
    last = frames[-1].get("duration_time", frames[-1].get("pkt_duration_time", 1 / rate))
    times -= min(times[0], float(_ffprobe(path, "V", "format=start_time")["format"]["start_time"]))
    return Reference(times, times[-1] + float(last), False, pictures)


def deviation(frames: np.ndarray, fps: float, expected: Reference) -> tuple[float, float]:
    """Returns how far frames are from their times, judged by the pictures that they show.

    Args:
        frames: uint8 `[M, 32, 32, 3]`; frame i should be on display after i / fps seconds.
        fps: Frame rate in frames/s.
        expected: Reference of the same file.

    Returns:
        Largest distance, in seconds, between i / fps and the nearest instant at which a picture
        like frame i is on display; and the fraction of frames that are like one picture only.
    """
    ends = np.append(expected.times[1:], np.inf)
    pictures = expected.pictures.reshape(len(expected.pictures), -1).astype(float)
    worst, alone = 0.0, 0
    for begin in range(0, len(frames), _BLOCK):
        block = frames[begin : begin + _BLOCK].reshape(-1, pictures.shape[1]).astype(float)
        # |a - b|² = |a|² + |b|² - 2ab, exact since all are integers.
        squares = (block**2).sum(1)[:, None] + (pictures**2).sum(1) - 2 * block @ pictures.T
        unlike = np.sqrt(squares / pictures.shape[1])
        alike = unlike <= unlike.min(axis=1, keepdims=True) + _ALIKE
        times = (begin + np.arange(len(block)))[:, None] / fps
        away = np.maximum(0.0, np.maximum(expected.times - times, times - ends))
        worst = max(worst, np.where(alike, away, np.inf).min(axis=1).max())
        alone += (alike.sum(axis=1) == 1).sum()
    return float(worst), float(alone / len(frames))


def _ffprobe(path: Path, streams: str, entries: str) -> dict:
    """Returns what `ffprobe` prints about some streams; {} where it cannot read the file."""
    command = ["ffprobe", "-v", "quiet", "-select_streams", streams, "-show_entries", entries]
    done = subprocess.run([*command, "-of", "json", path], capture_output=True)
    return json.loads(done.stdout or b"{}")
