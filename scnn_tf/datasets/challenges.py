"""Verification of published datasets and conversion into the project's annotations.

`thumos14` and `mexaction2` say what a dataset should contain; `prepare` compares it with the files
and writes `annotations.json` and `report.json`. Files are found by name, at any depth below one
folder, so that archives stay as they were unpacked, and no video is copied or renamed.
"""

import dataclasses
import json
import math
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from scnn_tf.datasets.annotations import Instance, VideoAnnotation
from scnn_tf.datasets.formats import write_annotations
from scnn_tf.datasets.video_files import is_video_name
from scnn_tf.errors import InputError, VideoError
from scnn_tf.io.files import PathLike, write_text
from scnn_tf.io.video import probe

ANNOTATIONS = "annotations.json"
REPORT = "report.json"
UCF101_CLIP = re.compile(r"v_(\w+)_g\d+_c\d+")
"""Name of a clip of UCF101, without extension; the group is its class."""
_NAMED = 3  # names that a sentence lists; the report has all of them


@dataclasses.dataclass(frozen=True)
class Count:
    """An expected and a found number of something; None if unknown."""

    what: str
    expected: int | None
    found: int | None


@dataclasses.dataclass(frozen=True)
class Challenge:
    """The content of a dataset, matched with the files that were found.

    Attributes:
        video_dir: Folder that all files are relative to.
        files: Paths of all video files below `video_dir`.
        videos: Video id → annotation; `file` is None for a missing video, `duration` is the
            authors'.
        missing: What is missing in addition to videos: text, or patterns of clips.
        counts: Numbers that are known without opening a video.
        late: subset → number of intervals that end after their video.
        odd: Video id → what is unusual about the video.
    """

    video_dir: Path
    files: Sequence[str]
    videos: Mapping[str, VideoAnnotation]
    missing: Sequence[str]
    counts: Sequence[Count]
    late: Mapping[str, int]
    odd: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Report:
    """The findings of `prepare`: the content of `report.json`.

    Attributes:
        video_dir: Absolute path of the folder that the annotations' files are relative to.
        num_videos: Number of videos that were found.
        counts: Counts of the challenge, and of late intervals.
        missing: Names of missing videos and text, and patterns of missing clips.
        broken: {"video", "cause"} of each video that cannot be decoded.
        durations_off: {"video", "expected", "found"}, in seconds, of each video whose duration
            differs by more than the tolerance.
        odd: Video id → what is unusual about the video.
        duplicates: Paths of files that are not used because another file has the same name.
        unused: Paths of files that are not annotated.
    """

    video_dir: str
    num_videos: int
    counts: Sequence[Count]
    missing: Sequence[str]
    broken: Sequence[Mapping[str, str]]
    durations_off: Sequence[Mapping[str, str | float]]
    odd: Mapping[str, str]
    duplicates: Sequence[str]
    unused: Sequence[str]

    def table(self) -> str:
        """Formats a line for each count, marked `≠` if it differs, and for each kind of finding."""
        width = max(len(count.what) for count in self.counts)
        lines = [f"{'':{width}}  expected     found"]
        for count in self.counts:
            expected, found = ("?" if n is None else n for n in (count.expected, count.found))
            mark = "" if "?" in (expected, found) or expected == found else " ≠"
            lines.append(f"{count.what:{width}}  {expected:>8}  {found:>8}{mark}")
        for what, names in (
            ("missing", self.missing),
            ("broken", [entry["video"] for entry in self.broken]),
            ("different duration", [entry["video"] for entry in self.durations_off]),
            ("unusual, but kept", list(self.odd)),
            ("ignored, same name as another file", self.duplicates),
            ("ignored, not annotated", self.unused),
        ):
            if names:
                lines.append(f"{what}: {_first(names)}")
        return "\n".join(lines)

    def check(self) -> None:
        """Checks that nothing is missing.

        Raises:
            InputError: Something is missing; the sentence names the first names.
        """
        if self.missing:
            raise InputError(
                f"{self.video_dir}: missing are {_first(self.missing)} ({REPORT} lists all); add "
                "them, or continue without them (--allow_missing)"
            )


def prepare(
    challenge: Challenge,
    output_dir: PathLike,
    probe_videos: bool = True,
    tolerance_s: float = 1.0,
    allow_missing: bool = False,
) -> Report:
    """Verifies a dataset; writes `report.json` and, unless something is missing, annotations.

    Intervals that end after their video are kept: evaluation scores them as they are, and building
    a training set cuts them off. A broken video is kept with the authors' duration: its instances
    count as not found.

    Args:
        challenge: The expected content.
        output_dir: Folder for `annotations.json` and `report.json`.
        probe_videos: Whether to read every video file once and annotate its own duration.
        tolerance_s: Seconds by which a duration may differ from the authors'.
        allow_missing: Whether to write annotations if something is missing, of the present videos.

    Raises:
        InputError: No video was found, or the folder cannot be written.
    """
    videos = {key: video for key, video in challenge.videos.items() if video.file is not None}
    absent = [f"{key}.mp4" for key in challenge.videos if key not in videos]
    if not videos:
        raise InputError(
            f"{challenge.video_dir}: none of the expected videos was found ({_first(absent)})"
        )
    broken, off = [], []
    if probe_videos:
        for key, video in tqdm(list(videos.items()), desc="reading", unit="video"):
            try:
                videos[key] = _probed(challenge.video_dir, video)
            except VideoError as error:
                broken.append({"video": key, "cause": str(error)})
                continue
            known, own = video.duration, videos[key].duration
            if known is not None and abs(own - known) > tolerance_s:
                off.append({"video": key, "expected": known, "found": own})
    used = {video.file for video in videos.values()}
    names = {Path(path).stem for path in used}
    left = [path for path in challenge.files if path not in used]
    report = Report(
        video_dir=os.path.abspath(challenge.video_dir),
        num_videos=len(videos),
        counts=[*challenge.counts, *_late_counts(videos.values(), challenge.late)],
        missing=[*challenge.missing, *absent],
        broken=broken,
        durations_off=off,
        odd={key: why for key, why in challenge.odd.items() if key in videos},
        duplicates=[path for path in left if Path(path).stem in names],
        unused=[path for path in left if Path(path).stem not in names],
    )
    content = json.dumps(dataclasses.asdict(report), indent=1, ensure_ascii=False)
    write_text(Path(output_dir) / REPORT, content + "\n")
    if allow_missing or not report.missing:
        write_annotations(Path(output_dir) / ANNOTATIONS, videos)
    return report


def list_files(folder: PathLike) -> list[str]:
    """Returns the paths of all files below a folder, with links followed, without hidden files.

    Returns:
        Paths relative to the folder, in alphabetical order.

    Raises:
        InputError: The folder does not exist.
    """
    if not Path(folder).is_dir():
        raise InputError(f"{folder}: no such folder")
    seen, files = {os.path.realpath(folder)}, []
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders.sort(key=lambda name: os.path.islink(os.path.join(parent, name)))
        real = {name: os.path.realpath(os.path.join(parent, name)) for name in folders}
        # Links can lead in a circle.
        folders[:] = [name for name in folders if real[name] not in seen]
        seen.update(real.values())
        files += [Path(parent, name) for name in names if not name.startswith(".")]
    return sorted(path.relative_to(folder).as_posix() for path in files)


def list_videos(folder: PathLike) -> list[str]:
    """Returns the video files among `list_files`, at least one.

    Raises:
        InputError: The folder does not exist or has no video file.
    """
    files = [path for path in list_files(folder) if is_video_name(Path(path).name)]
    if not files:
        raise InputError(f"{folder}: no video file was found below it")
    return files


def folder_with(name: str, folder: PathLike) -> Path | None:
    """Returns the only folder, at any depth, that has a file of this name; None without any.

    Raises:
        InputError: Several folders have one.
    """
    found = [Path(folder, path).parent for path in list_files(folder) if Path(path).name == name]
    if len(found) > 1:
        raise InputError(
            f"{folder}: {name} is both in {found[0]} and in {found[1]}; give one of these folders"
        )
    return found[0] if found else None


def trimmed_clip(video_id: str, label: str, file: str) -> VideoAnnotation:
    """Returns a clip of the training set that is one instance, of unknown duration."""
    whole = (Instance(label, 0.0, math.inf),)
    return VideoAnnotation(video_id, "train", None, None, whole, trimmed=True, file=file)


def ucf101_clips(files: Sequence[str], labels: Collection[str]) -> dict[str, VideoAnnotation]:
    """Returns the clips of UCF101 among video files, by name, if their class is in `labels`."""
    clips = {}
    for path in files:
        stem = Path(path).stem
        match = UCF101_CLIP.fullmatch(stem)
        if match and match[1] in labels:
            clips.setdefault(stem, trimmed_clip(stem, match[1], path))
    return clips


def with_files(
    videos: Mapping[str, VideoAnnotation], files: Sequence[str]
) -> dict[str, VideoAnnotation]:
    """Returns the videos with the file named after their ids, the first one if several."""
    by_stem: dict[str, str] = {}
    for path in files:
        by_stem.setdefault(Path(path).stem, path)
    return {key: dataclasses.replace(video, file=by_stem.get(key)) for key, video in videos.items()}


def on_disk(videos: Iterable[VideoAnnotation]) -> int:
    """Returns the number of videos that have a file."""
    return sum(video.file is not None for video in videos)


def _probed(video_dir: Path, video: VideoAnnotation) -> VideoAnnotation:
    """Returns the video with the duration and frame rate of its file."""
    info = probe(video_dir / video.file)
    if video.trimmed:
        video = video.clipped(info.duration)
    return dataclasses.replace(video, duration=info.duration, fps=info.average_rate)


def _late_counts(videos: Iterable[VideoAnnotation], expected: Mapping[str, int]) -> list[Count]:
    """Counts intervals that end after their video; None if no duration is known."""
    timed = [video for video in videos if video.duration is not None]
    counts = []
    for subset, number in expected.items():
        late = [i.end > v.duration for v in timed if v.subset == subset for i in v.instances]
        what = f"{subset} intervals that end after their video"
        counts.append(Count(what, number, sum(late) if late else None))
    return counts


def _first(names: Sequence[str]) -> str:
    """Returns the number and the first names: `5: a, b, c, …`."""
    return f"{len(names)}: {', '.join(names[:_NAMED])}{', …' if len(names) > _NAMED else ''}"
