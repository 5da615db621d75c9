"""Data sets as their authors ship them: verified, and told in the project's own form.

`thumos14` and `mexaction2` say what should be there, `prepare` looks at it and
writes `annotations.json` and `report.json`. Files are known by their names, at any depth below
one folder, so that archives stay as they were unpacked, and no video is copied or renamed.
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
from scnn_tf.datasets.formats import VIDEO_EXTENSIONS, write_annotations
from scnn_tf.errors import InputError, VideoError
from scnn_tf.io.files import PathLike, write_text
from scnn_tf.io.video import probe

ANNOTATIONS = "annotations.json"
REPORT = "report.json"
UCF101_CLIP = re.compile(r"v_(\w+)_g\d+_c\d+")
"""Name of a clip of UCF101, without extension; the group is its class."""
_NAMED = 3  # names that a sentence lists; the report has all of them.


@dataclasses.dataclass(frozen=True)
class Count:
    """How many of something there should be, and are; None where nobody knows."""

    what: str
    expected: int | None
    found: int | None


@dataclasses.dataclass(frozen=True)
class Challenge:
    """What a data set consists of, matched with the files that are there.

    Attributes:
        video_dir: the folder that all files are relative to.
        files: paths of all video files below it.
        videos: video id → annotation; `file` is None where there is none, `duration` what the
            authors say.
        missing: what is not there besides videos of `videos`: text, or patterns of clips.
        counts: what can be told without opening a video.
        late: subset → how many intervals end after their video.
        odd: video id → what is odd about it.
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
    """What `prepare` found, as `report.json` has it.

    Attributes:
        video_dir: the folder that the files of the annotations are relative to, absolute.
        num_videos: those that are there.
        counts: of the challenge, and of late intervals.
        missing: names of videos and text, and patterns of clips, that are not there.
        broken: {"video", "cause"} of each that cannot be decoded.
        durations_off: {"video", "expected", "found"}, in seconds, of each that is off by more
            than the tolerance.
        odd: video id → what is odd about it.
        duplicates: paths of files that are not used, since another of that name is.
        unused: paths of files of which the annotations know nothing.
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
        """A line for each count, `≠` where it is not as expected, and for each finding."""
        width = max(len(count.what) for count in self.counts)
        lines = [f"{'':{width}}  expected     found"]
        for count in self.counts:
            expected, found = ("?" if n is None else n for n in (count.expected, count.found))
            mark = "" if "?" in (expected, found) or expected == found else " ≠"
            lines.append(f"{count.what:{width}}  {expected:>8}  {found:>8}{mark}")
        for what, names in (
            ("missing", self.missing),
            ("broken", [entry["video"] for entry in self.broken]),
            ("of another duration", [entry["video"] for entry in self.durations_off]),
            ("odd, and kept", list(self.odd)),
            ("passed over, another has the name", self.duplicates),
            ("passed over, not annotated", self.unused),
        ):
            if names:
                lines.append(f"{what}: {_first(names)}")
        return "\n".join(lines)

    def check(self) -> None:
        """Passes if nothing is missing.

        Raises:
            InputError: something is; the sentence names the first of it.
        """
        if self.missing:
            raise InputError(
                f"{self.video_dir}: missing are {_first(self.missing)} (all of them in {REPORT}); "
                "put them there, or do without them (--allow_missing)"
            )


def prepare(
    challenge: Challenge,
    output_dir: PathLike,
    probe_videos: bool = True,
    tolerance_s: float = 1.0,
    allow_missing: bool = False,
) -> Report:
    """Verifies a data set; writes `report.json` and, unless something is missing, annotations.

    Intervals that end after their video stay as they are: evaluation scores them so, and who
    builds a training set cuts them off. A broken video stays too, with the authors' duration:
    its instances count as not found.

    Args:
        challenge: what should be there.
        output_dir: folder for `annotations.json` and `report.json`.
        probe_videos: reads every video file once; its own duration goes into the annotations.
        tolerance_s: seconds that a duration may differ from the authors'.
        allow_missing: writes annotations of those videos that are there.

    Raises:
        InputError: no video is there, or the folder cannot be written to.
    """
    videos = {key: video for key, video in challenge.videos.items() if video.file is not None}
    absent = [f"{key}.mp4" for key in challenge.videos if key not in videos]
    if not videos:
        raise InputError(f"{challenge.video_dir}: none is there of {_first(absent)}")
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
    """Paths of all files below a folder, links followed, hidden files left out.

    Returns:
        relative to the folder, in alphabetical order.

    Raises:
        InputError: there is no such folder.
    """
    if not Path(folder).is_dir():
        raise InputError(f"{folder}: no such folder")
    return sorted(
        Path(parent, name).relative_to(folder).as_posix()
        for parent, _, names in os.walk(folder, followlinks=True)
        for name in names
        if not name.startswith(".")
    )


def list_videos(folder: PathLike) -> list[str]:
    """The video files among `list_files`, at least one.

    Raises:
        InputError: there is no such folder, or no video file in it.
    """
    files = [path for path in list_files(folder) if Path(path).suffix.lower() in VIDEO_EXTENSIONS]
    if not files:
        raise InputError(f"{folder}: there is no video file below it")
    return files


def folder_with(name: str, folder: PathLike) -> Path | None:
    """The one folder, at any depth, that has a file of that name; None if there is none.

    Raises:
        InputError: there are several.
    """
    found = [Path(folder, path).parent for path in list_files(folder) if Path(path).name == name]
    if len(found) > 1:
        raise InputError(
            f"{folder}: {name} is both in {found[0]} and in {found[1]}; name the folder of one"
        )
    return found[0] if found else None


def trimmed_clip(video_id: str, label: str, file: str) -> VideoAnnotation:
    """A clip of the training set that is one instance, of yet unknown duration."""
    whole = (Instance(label, 0.0, math.inf),)
    return VideoAnnotation(video_id, "train", None, None, whole, trimmed=True, file=file)


def ucf101_clips(files: Sequence[str], labels: Collection[str]) -> dict[str, VideoAnnotation]:
    """UCF101's clips of some classes among video files, by name; names tell the classes."""
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
    """The same videos with the file that is named after each one's id, the first if several."""
    by_stem: dict[str, str] = {}
    for path in files:
        by_stem.setdefault(Path(path).stem, path)
    return {key: dataclasses.replace(video, file=by_stem.get(key)) for key, video in videos.items()}


def on_disk(videos: Iterable[VideoAnnotation]) -> int:
    """How many of them have a file."""
    return sum(video.file is not None for video in videos)


def _probed(video_dir: Path, video: VideoAnnotation) -> VideoAnnotation:
    """The video with its own duration and frame rate."""
    info = probe(video_dir / video.file)
    if video.trimmed:
        video = video.clipped(info.duration)
    return dataclasses.replace(video, duration=info.duration, fps=info.average_rate)


def _late_counts(videos: Iterable[VideoAnnotation], expected: Mapping[str, int]) -> list[Count]:
    """Counts intervals that end after their video; unknown where no duration is known."""
    timed = [video for video in videos if video.duration is not None]
    counts = []
    for subset, number in expected.items():
        late = [i.end > v.duration for v in timed if v.subset == subset for i in v.instances]
        what = f"{subset} intervals that end after their video"
        counts.append(Count(what, number, sum(late) if late else None))
    return counts


def _first(names: Sequence[str]) -> str:
    """Such as `5: a, b, c, …`."""
    return f"{len(names)}: {', '.join(names[:_NAMED])}{', …' if len(names) > _NAMED else ''}"
