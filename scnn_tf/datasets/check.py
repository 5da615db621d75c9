"""A check of the annotations and videos of a dataset, before hours of training.

Problems can be fixed; notes are worth knowing. `PROBLEMS` and `NOTES` list the checks.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from scnn_tf.datasets.annotations import VideoAnnotation, canonical_subset, instance_spans
from scnn_tf.datasets.formats import read_annotations
from scnn_tf.datasets.subsets import DEFAULT_SOURCE_PATTERN, sources
from scnn_tf.datasets.video_files import VideoFolder
from scnn_tf.errors import VideoError
from scnn_tf.io.files import AnyPath, PathLike, as_path, sha256, size_of
from scnn_tf.io.video import probe
from scnn_tf.segments.labels import BEST_POSITIVE_TIOU
from scnn_tf.segments.scales import grid_tious, needed_scales
from scnn_tf.segments.windows import WINDOW_FRAMES

PROBLEMS = {
    "times": "instances without a length, or before the start",
    "missing": "videos that are missing",
    "unreadable": "videos that cannot be read",
    "duration": "annotated durations that differ from the file's",
    "outside": "instances that begin or end after their video",
    "duplicate": "instances that occur twice",
    "overlap": "instances of one class that overlap",
    "unreachable": "instances of which no window reaches tIoU .5",
    "rare": "classes with too few instances",
    "one_subset": "classes that a subset lacks",
    "source": "sources (people, places) in more than one subset",
    "identical": "videos that are the same, byte for byte",
}
NOTES = {
    "hard": "instances of which no window reaches tIoU .7, but one .5",
    "empty": "videos without an instance",
    "unused": "video files without annotations",
    "sources": "sources (people, places), and their videos",
}
# A YouTube id, perhaps as ActivityNet (v_…) or Kinetics (…_000010_000020) write it.
_YOUTUBE = re.compile(r"(?:v_)?[A-Za-z0-9_-]{11}(?:_\d{6}_\d{6})?")
BAR = 30  # characters of the longest bar of the histogram
SHOWN = 5  # findings of a kind that the text lists; JSON has all


@dataclass(frozen=True)
class Bin:
    """The instances whose lengths fit one window best.

    Attributes:
        window: Length in frames; None for instances too short or too long for all windows.
        above: Seconds, the lower bound, inclusive.
        below: Seconds, the upper bound, exclusive.
        instances: Number of instances.
        under_7: Instances of which no window of the video reaches tIoU .7.
        under_5: Instances of which no window of the video reaches tIoU .5.
    """

    window: int | None
    above: float
    below: float
    instances: int
    under_7: int
    under_5: int


@dataclass
class Report:
    """The findings of `check`.

    Attributes:
        subsets: subset → {"videos", "instances", "seconds"}; videos of unknown duration have 0
            seconds.
        problems: Kind in `PROBLEMS` → a sentence for each finding; only kinds with findings.
        notes: The same for `NOTES`.
        histogram: Lengths of all instances against the windows, short to long.
        needed: Window lengths that the instances need, in frames (`scales.needed_scales`).
        fps: Frame rate of the windows, in Hz.
    """

    subsets: dict[str, dict[str, float]] = field(default_factory=dict)
    problems: dict[str, list[str]] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)
    histogram: list[Bin] = field(default_factory=list)
    needed: tuple[int, ...] = ()
    fps: float = 25.0

    def add(self, kind: str, sentences: Iterable[str]) -> None:
        """Adds findings of a kind."""
        if sentences := list(sentences):
            where = self.problems if kind in PROBLEMS else self.notes
            where.setdefault(kind, []).extend(sentences)

    def to_json(self) -> dict:
        """Returns all findings in types that JSON has."""
        return {
            "subsets": self.subsets,
            "problems": self.problems,
            "notes": self.notes,
            "histogram": [
                {**vars(b), "below": b.below if math.isfinite(b.below) else None}
                for b in self.histogram
            ],
            "needed_window_frames": list(self.needed),
        }

    def table(self) -> str:
        """Formats subsets, lengths against windows, notes and problems as text."""
        lines = [f"{'subset':14}{'videos':>8}{'instances':>11}{'minutes':>9}"]
        for name, counts in self.subsets.items():
            minutes = counts["seconds"] / 60
            lines.append(f"{name:14}{counts['videos']:>8}{counts['instances']:>11}{minutes:>9.1f}")
        lines += ["", f"{'length, s':16}{'window':>8}{'instances':>11}{'< .7':>7}{'< .5':>7}"]
        most = max((b.instances for b in self.histogram), default=0) or 1
        for b in self.histogram:
            if not b.above:
                bounds = f"< {b.below:.2f}"
            elif math.isfinite(b.below):
                bounds = f"{b.above:.2f} – {b.below:.2f}"
            else:
                bounds = f"≥ {b.above:.2f}"
            counts = f"{b.instances:>11}{b.under_7:>7}{b.under_5:>7}"
            bar = "█" * math.ceil(BAR * b.instances / most)
            lines.append(f"{bounds:16}{b.window or '–':>8}{counts}  {bar}".rstrip())
        lines.append(
            f"window: frames at {self.fps:g} Hz; < .7, < .5: instances of which no window of the "
            "video has that tIoU"
        )
        lines.append(
            f"windows that the instances need: {', '.join(map(str, self.needed)) or 'none'}"
        )
        for title, names, found in (
            ("note", NOTES, self.notes),
            ("PROBLEM", PROBLEMS, self.problems),
        ):
            for kind, sentences in found.items():
                lines += ["", f"{title} {kind}: {len(sentences)} {names[kind]}"]
                lines += [f"  {sentence}" for sentence in sentences[:SHOWN]]
                if len(sentences) > SHOWN:
                    lines.append(f"  … and {len(sentences) - SHOWN} more")
        return "\n".join(lines)


def check(
    annotations: PathLike,
    video_dir: PathLike | None = None,
    window_frames: Sequence[int] = WINDOW_FRAMES,
    fps: float = 25.0,
    min_train: int = 10,
    min_test: int = 3,
    source_pattern: str = DEFAULT_SOURCE_PATTERN,
    tolerance_s: float = 0.5,
) -> Report:
    """Checks a dataset.

    Args:
        annotations: File or folder; see `read_annotations`.
        video_dir: Folder of the videos; None: only annotations are checked.
        window_frames: Lengths of the windows.
        fps: Frame rate of the windows, in Hz.
        min_train: Smallest number of instances of a class in the subset train.
        min_test: Smallest number of instances of a class in any other subset.
        source_pattern: See `subsets.sources`.
        tolerance_s: Seconds by which a duration may differ, and an instance end after its video.

    Raises:
        InputError: The annotations cannot be read or have no instance.
    """
    report = Report(fps=fps)
    videos = {}
    for key, video in read_annotations(annotations).items():
        usable = tuple(i for i in video.instances if i.is_usable(video.trimmed))
        others = [i for i in video.instances if i not in usable]
        report.add("times", (f"{key}: {i.label} {i.start:g} – {i.end:g} s" for i in others))
        videos[key] = replace(video, subset=canonical_subset(video.subset), instances=usable)
    if video_dir is not None:
        videos = _check_files(videos, video_dir, tolerance_s, report)
    _check_instances(videos, tolerance_s, report)
    _check_lengths(videos, window_frames, fps, report)
    _check_subsets(videos, min_train, min_test, source_pattern, report)
    for subset in sorted({video.subset for video in videos.values()}):
        part = [video for video in videos.values() if video.subset == subset]
        report.subsets[subset] = {
            "videos": len(part),
            "instances": sum(len(video.actions) for video in part),
            "seconds": sum(video.duration or 0.0 for video in part),
        }
    return report


def _check_files(
    videos: Mapping[str, VideoAnnotation],
    video_dir: PathLike,
    tolerance_s: float,
    report: Report,
) -> dict[str, VideoAnnotation]:
    """Checks the video files; returns the videos with the durations of their files."""
    folder = VideoFolder(video_dir)
    paths: dict[str, AnyPath] = {}
    real = {}
    for key, video in tqdm(videos.items(), desc="reading", unit="video"):
        real[key] = video
        try:
            paths[key] = folder.find(video)
        except VideoError as error:
            report.add("missing", [str(error)])
            continue
        try:
            duration = probe(paths[key]).duration
        except VideoError as error:
            report.add("unreadable", [str(error)])
            continue
        if video.duration is not None and abs(video.duration - duration) > tolerance_s:
            said = f"annotated {video.duration:.2f} s, the file has {duration:.2f} s"
            report.add("duration", [f"{key}: {said}"])
        real[key] = replace(video, duration=duration)
    for group in _identical(paths):
        subsets = {videos[key].subset for key in group}
        across = f", in {' and '.join(sorted(subsets))}" if len(subsets) > 1 else ""
        report.add("identical", [f"{', '.join(group)}{across}"])
    if isinstance(as_path(video_dir), Path):
        used = {path.resolve() for path in paths.values()}
        report.add(
            "unused",
            (
                path.relative_to(video_dir).as_posix()
                for path in folder.files
                if path.resolve() not in used
            ),
        )
    return real


def _identical(paths: Mapping[str, AnyPath]) -> list[list[str]]:
    """Returns groups of ids of identical videos; only files of equal size are read."""
    by_size = defaultdict(list)
    for key, path in paths.items():
        by_size[size_of(path)].append(key)
    by_content = defaultdict(list)
    for size, keys in by_size.items():
        for key in keys if len(keys) > 1 else ():
            by_content[size, sha256(paths[key])].append(key)
    return [keys for keys in by_content.values() if len(keys) > 1]


def _check_instances(
    videos: Mapping[str, VideoAnnotation], tolerance_s: float, report: Report
) -> None:
    """Checks instances against their video and each other."""
    for key, video in videos.items():
        if not video.actions:
            report.add("empty", [key])
        counts = Counter(video.instances)
        for i, count in counts.items():
            what = f"{key}: {i.label} {i.start:g} – {i.end:g} s"
            if count > 1:
                report.add("duplicate", [f"{what} occurs {count} times"])
            late = 0.0 if video.duration is None or i.end == math.inf else i.end - video.duration
            if late > tolerance_s:
                report.add("outside", [f"{what}, the video lasts {video.duration:.2f} s"])
        by_start = sorted(counts, key=lambda i: (i.label, i.start, i.end))
        longest = None  # the instance of the class that ends last so far
        for i in by_start:
            if longest is not None and longest.label == i.label and i.start < longest.end:
                report.add(
                    "overlap",
                    [
                        f"{key}: {i.label} {longest.start:g} – {longest.end:g} s and "
                        f"{i.start:g} – {i.end:g} s"
                    ],
                )
            if longest is None or longest.label != i.label or i.end > longest.end:
                longest = i


def _check_lengths(
    videos: Mapping[str, VideoAnnotation],
    window_frames: Sequence[int],
    fps: float,
    report: Report,
) -> None:
    """Checks the lengths of instances, cut off at the end as in training, against the windows."""
    found = [
        (v, replace(i, end=min(i.end, v.duration or math.inf)))
        for v in videos.values()
        for i in v.actions
        if not v.trimmed and i.start < (v.duration or math.inf)
    ]
    spans = fps * instance_spans(i for _, i in found)
    frames = np.array(
        [math.inf if v.duration is None else round(fps * v.duration) for v, _ in found]
    )
    best = grid_tious(spans, frames, window_frames).max(axis=1)
    report.needed = needed_scales(spans, frames, window_frames, BEST_POSITIVE_TIOU).needed
    for (video, i), overlap in zip(found, best, strict=True):
        if overlap <= 0.7:
            report.add(
                "hard" if overlap > 0.5 else "unreachable",
                [
                    f"{video.video_id}: {i.label} {i.start:g} – {i.end:g} s "
                    f"({i.end - i.start:.2f} s): {overlap:.2f}"
                ],
            )
    lengths = (spans[:, 1] - spans[:, 0]) / fps
    windows = sorted(window_frames)
    # Geometric means of neighbouring windows, and factors of √2 beyond the outermost ones.
    inner = [math.sqrt(a * b) / fps for a, b in zip(windows, windows[1:], strict=False)]
    shortest, longest = windows[0] / math.sqrt(2) / fps, windows[-1] * math.sqrt(2) / fps
    edges = [0.0, shortest, *inner, longest, math.inf]
    for window, above, below in zip([None, *windows, None], edges, edges[1:], strict=False):
        inside = (lengths >= above) & (lengths < below)
        report.histogram.append(
            Bin(
                window,
                above,
                below,
                int(inside.sum()),
                int((inside & (best <= 0.7)).sum()),
                int((inside & (best <= 0.5)).sum()),
            )
        )


def _check_subsets(
    videos: Mapping[str, VideoAnnotation],
    min_train: int,
    min_test: int,
    source_pattern: str,
    report: Report,
) -> None:
    """Checks the classes and sources of the subsets."""
    subsets = sorted({video.subset for video in videos.values()})
    counts = Counter((i.label, v.subset) for v in videos.values() for i in v.actions)
    for label in sorted({label for label, _ in counts}):
        for subset in subsets:
            count = counts[label, subset]
            least = min_train if subset == "train" else min_test
            if not count:
                report.add("one_subset", [f"{label}: no instance in {subset}"])
            elif count < least:
                report.add(
                    "rare", [f"{label}: {count} instance(s) in {subset}, fewer than {least}"]
                )
    if source_pattern == DEFAULT_SOURCE_PATTERN and not _begin_with_sources(videos):
        return
    where = defaultdict(lambda: defaultdict(list))
    for key, source in sources(videos, source_pattern).items():
        where[source][videos[key].subset].append(key)
    if len(where) < len(videos):
        report.add(
            "sources",
            (
                f"{source}: " + ", ".join(f"{len(ids)} in {s}" for s, ids in sorted(parts.items()))
                for source, parts in sorted(where.items())
            ),
        )
        report.add(
            "source",
            (
                f"{source}: " + ", ".join(f"{keys[0]} in {s}" for s, keys in sorted(parts.items()))
                for source, parts in where.items()
                if len(parts) > 1
            ),
        )


def _begin_with_sources(video_ids: Collection[str]) -> bool:
    """Returns whether ids seem to begin with a person or place and an underscore.

    YouTube's ids do not, though one in six has an underscore by chance.
    """
    youtube = [key for key in video_ids if _YOUTUBE.fullmatch(key) and key != key.lower()]
    named = [key for key in video_ids if re.search(DEFAULT_SOURCE_PATTERN, key)]
    return 2 * len(named) >= len(video_ids) > 2 * len(youtube)
