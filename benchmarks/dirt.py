"""Odd files through probing, reading, building and localizing, their times checked by ffprobe.

Each file is read in a process of its own, which may crash or hang; then one data set is built of
all of them, and actions are localized in all of them, by the binaries.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scnn_tf.datasets.annotations import Instance, VideoAnnotation
from scnn_tf.datasets.formats import write_activitynet
from scnn_tf.errors import InputError, VideoError
from scnn_tf.io.files import write_text
from scnn_tf.io.video import probe, read_frames
from scnn_tf.jobs.jobs import Job, read_outcome
from scnn_tf.jobs.processes import Processes
from scnn_tf.localization.formats import read_segments
from scnn_tf.localization.run import NetworksAt
from scnn_tf.segments.windows import sliding_windows

FPS = 25.0
TIME_LIMIT = 120.0  # seconds for a file
TOLERANCE = 0.0015  # seconds: timestamps of some containers are rounded to milliseconds
_SIZE = 32  # pixels: height and width of pictures that are compared
_ALIKE = 0.2  # of 255, root mean square: how much two scalers may differ in a picture
_BLOCK = 256  # frames compared at a time
# Networks that say nothing, but take every segment.
_RECIPE = {"base": "small", "width": 1 / 32, "hidden": 8, "batch_size": 4, "steps": [1, 1, 1]}
_COLUMNS = (
    ("file", "file"),
    ("codec", "codec"),
    ("size", "pixels"),
    ("rate", "pictures/s"),
    ("seconds", "s"),
    ("frames", "frames at 25 Hz"),
    ("verdict", "times, by ffprobe"),
    ("deviation_ms", "off by (ms)"),
    ("told_apart", "told apart"),
    ("built", "built"),
    ("localized", "localized"),
)


class Reference(NamedTuple):
    """A video's pictures as FFmpeg's own programs have them.

    Attributes:
        times: float64 `[N]`, seconds after the first picture at which each comes on display.
        end: seconds after it at which the last one goes.
        counted: whether timestamps are unusable, so that `times` are number / average rate.
        pictures: uint8 `[N, 32, 32, 3]`, RGB.
    """

    times: np.ndarray
    end: float
    counted: bool
    pictures: np.ndarray


def survey(paths: Sequence[Path], model_dir: str | None = None) -> list[dict]:
    """What each file gives.

    Args:
        paths: any files.
        model_dir: trained stages to localize with; None: untrained ones.

    Returns:
        A row for each file: what `examine` found, or "verdict" with what else became of it; and
        how many segments of it were "built" and "localized" (None: it was refused). Of a file that
        gives frames, every window should be localized, and some built; where that is not so, the
        verdict says it.

    Raises:
        InputError: FFmpeg's programs are not installed, or there are no such stages.
        RuntimeError: a binary failed.
    """
    for program in ("ffprobe", "ffmpeg"):
        if shutil.which(program) is None:
            raise InputError(f"{program} is not installed; it is what times are checked against")
    if model_dir is not None:
        NetworksAt(model_dir).fingerprint()  # reads all of them, before hours of work
    with tempfile.TemporaryDirectory() as folder:
        jobs = [
            Job(examine, (path,), path.name, f"{folder}/examined/{index}.json")
            for index, path in enumerate(paths)
        ]
        Processes(timeout_s=TIME_LIMIT).run(jobs, "examining")
        outcomes = [read_outcome(job) for job in jobs]
        rows = [
            {"file": f"{path.parent.name}/{path.name}", "verdict": outcome.cause, "frames": 0}
            | (outcome.result or {})
            for path, outcome in zip(paths, outcomes, strict=True)
        ]
        built, localized = {}, {}
        if any(row["frames"] for row in rows):
            built, localized = _build_and_localize(paths, rows, model_dir, Path(folder))
    for index, row in enumerate(rows):
        row["built"], row["localized"] = built.get(index), localized.get(index)
        windows = len(sliding_windows(row["frames"])) or None
        if row["localized"] != windows or (row["built"] is None) != (windows is None):
            row["verdict"] += (
                f"; WRONG: of {windows} windows {row['built']} built, {row['localized']} localized"
            )
    return rows


def examine(path: Path) -> dict:
    """Probes and reads a file, and compares its times with those of ffprobe.

    Returns:
        "verdict": "right", "counted" (timestamps are unusable, and frames come where counting has
        them), the sentence with which it was refused, or what is WRONG; "frames" at 25 Hz; and of
        a file that was read its "codec", "size", "rate", "seconds", "deviation_ms" and
        "told_apart" (see `deviation`).
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
        worst, told_apart = deviation(frames, FPS, expected)
        # A video ends at the nearest frame, but never before its first.
        short = abs(len(frames) - max(1.0, expected.end * FPS)) / FPS
        row["verdict"] = "counted" if expected.counted else "right"
        if worst > TOLERANCE or short > 0.5 / FPS + TOLERANCE:
            row["verdict"] = f"WRONG: {worst:.3f} s off, and {short:.3f} s at the end"
        row |= {"deviation_ms": round(1000 * worst, 1), "told_apart": round(told_apart, 2)}
    return row


def summary(rows: Sequence[dict]) -> str:
    """A Markdown table of what became of how many files."""
    groups: dict[tuple[str, str], list[dict]] = {}
    for row in rows:
        groups.setdefault((row["file"].split("/")[0], row["verdict"]), []).append(row)
    lines = ["| folder | files | times, or why refused | codecs | frames | built | localized |"]
    lines.append("|---|---|---|---|---|---|---|")
    for (folder, verdict), members in sorted(groups.items(), key=lambda g: (g[0][0], -len(g[1]))):
        codecs = Counter(row.get("codec", "–") for row in members).most_common()
        cells = [folder, len(members), verdict, ", ".join(f"{n} {codec}" for codec, n in codecs)]
        cells += [sum(row[key] or 0 for row in members) for key in ("frames", "built", "localized")]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def table(rows: Sequence[dict]) -> str:
    """A Markdown table with a row for each file."""
    lines = ["| " + " | ".join(title for _, title in _COLUMNS) + " |", "|---" * len(_COLUMNS) + "|"]
    for row in rows:
        cells = (row.get(key) for key, _ in _COLUMNS)
        lines.append("| " + " | ".join("" if c is None else str(c) for c in cells) + " |")
    return "\n".join(lines)


def reference(path: Path) -> Reference | None:
    """Reads a video by `ffprobe` (times) and `ffmpeg` (pictures); None if it has none."""
    # "V": no cover pictures. Of several streams, players show the one of the largest pictures.
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
    times -= times[0]
    return Reference(times, times[-1] + float(last), False, pictures)


def deviation(frames: np.ndarray, fps: float, expected: Reference) -> tuple[float, float]:
    """How far from its time a frame is at most, by which picture it shows.

    Args:
        frames: uint8 `[M, 32, 32, 3]`; what should be on display after
            i / fps seconds.
        fps: frames per second.
        expected: of the same file.

    Returns:
        Seconds between i / fps and the nearest instant at which a picture like frame i is on
        display, the largest of all frames; and the share of frames that are like one picture only.
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


def _build_and_localize(
    paths: Sequence[Path], rows: Sequence[dict], model_dir: str | None, folder: Path
) -> tuple[dict[int, int], dict[int, int]]:
    """Runs the binaries over all files.

    Returns:
        Segments of each file, by its index, in the data set and among the localized ones; a file
        that was refused is in neither.
    """
    videos, links = {}, []
    (folder / "videos").mkdir()
    for index, (path, row) in enumerate(zip(paths, rows, strict=True)):
        links.append(folder / "videos" / f"{index}{path.suffix}")
        links[-1].symlink_to(path.resolve())
        seconds = row.get("seconds", 1.0)
        # Of a video shorter than any window, all of it, this is the best segment: 75 %.
        action = Instance("action", 0.25 * seconds, seconds)
        videos[str(index)] = VideoAnnotation(
            str(index), "train", row.get("seconds"), None, (action,), file=links[-1].name
        )
    write_activitynet(folder / "annotations.json", videos)
    write_text(folder / "recipe.json", json.dumps(_RECIPE))
    _run(
        "build_tfrecords",
        f"--annotations={folder}/annotations.json",
        f"--video_dir={folder}/videos",
        f"--output_dir={folder}/shards",
        "--frame_height=48",
        "--frame_width=48",
        "--background_ratio=1000",
        "--max_failure_fraction=1",
    )
    if model_dir is None:
        model_dir = f"{folder}/models"
        for stage in ("proposal", "classification", "localization"):
            _run(
                "train",
                f"--stage={stage}",
                f"--data_dir={folder}/shards",
                f"--model_dir={model_dir}",
                f"--recipe={folder}/recipe.json",
            )
    _run(
        "localize",
        f"--model_dir={model_dir}",
        f"--output_dir={folder}/found",
        "--proposal_threshold=0",
        "--max_failure_fraction=1",
        *links,
    )
    import tensorflow as tf

    from scnn_tf.shards.records import decode

    shards = sorted(map(str, (folder / "shards").glob("*.tfrecord")))
    built = Counter(
        int(decode(record).video_id)
        for record in tf.data.TFRecordDataset(shards).as_numpy_iterator()
    )
    localized = Counter(map(int, read_segments(folder / "found" / "segments.csv").video))
    return built, localized


def _run(binary: str, *arguments: str | Path) -> None:
    """Runs a binary to its end.

    Raises:
        RuntimeError: it failed; with the end of what it said.
    """
    command = [sys.executable, "-m", f"pipelines.{binary}", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{binary} ended with {done.returncode}: {done.stderr[-2000:]}")


def _ffprobe(path: Path, streams: str, entries: str) -> dict:
    """What `ffprobe` says of some streams; nothing where it cannot read the file."""
    command = ["ffprobe", "-v", "quiet", "-select_streams", streams, "-show_entries", entries]
    done = subprocess.run([*command, "-of", "json", path], capture_output=True)
    return json.loads(done.stdout or b"{}")
