"""On-disk state of a dataset build, from which an interrupted build resumes.

The folder of the dataset holds `plan.json`, which freezes what is built and how, and
`failures.jsonl`. The work folder holds the outcomes of jobs, and the segments that are not in a
shard yet. A power cut may leave any of these files empty, or older than the others: what a damaged
file described is done again.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from absl import logging

from scnn_tf.datasets.annotations import VideoAnnotation
from scnn_tf.errors import InputError
from scnn_tf.io.files import (
    PARTIAL,
    AnyPath,
    PathLike,
    as_path,
    is_local,
    read_json,
    remove_tree,
    signed,
    unsigned,
    write_text,
)
from scnn_tf.shards.files import MANIFEST, shard_name

PLAN = "plan.json"
FAILURES = "failures.jsonl"
_NAMED = 10  # names in a sentence


class BuildState:
    """The state of one build.

    Args:
        output_dir: Folder or URL of the dataset.
        work_dir: Folder or URL for unfinished work; None: `work` in `output_dir`. Several builds
            may share one.
        videos: Annotated videos, in the order that decides on their shards.
        settings: Fields of the build's `Settings`.

    Raises:
        InputError: `output_dir` holds another dataset.
    """

    def __init__(
        self,
        output_dir: PathLike,
        work_dir: PathLike | None,
        videos: Sequence[VideoAnnotation],
        settings: dict,
    ):
        self.output_dir = as_path(output_dir)
        self.work_dir = self.output_dir / "work"
        if work_dir is not None:
            output = os.fspath(output_dir)
            output = os.path.abspath(output) if is_local(output) else output
            self.work_dir = as_path(work_dir) / f"build-{_digest(output)}"
        self.videos = videos
        self.num_shards = settings["num_shards"]
        settings = json.loads(json.dumps(settings))  # as they are read back: tuples are lists
        self._plan = {
            "class_names": settings.pop("class_names"),
            "settings": {**settings.pop("recipe"), **settings},
            "videos": [
                {
                    "video": video.video_id,
                    "shard": self.shard_of(index),
                    "annotation": _digest(dataclasses.asdict(video)),
                    "content": None,
                }
                for index, video in enumerate(videos)
            ],
            "background_share": None,
        }
        self._claim()

    @property
    def background_share(self) -> float | None:
        """The fraction of the background that is stored; None until all videos are planned."""
        return self._plan["background_share"]

    def freeze(self, background_share: float | None) -> None:
        """Fixes the fraction of the background, whatever happens to a video later; None: frees."""
        self._plan["background_share"] = background_share
        self._write_plan()

    @property
    def contents(self) -> dict[int, dict]:
        """Place of a video → the content of its file, for each video of a finished dataset."""
        recorded = (video.get("content") for video in self._plan["videos"])
        return {i: content for i, content in enumerate(recorded) if content is not None}

    def record(self, contents: Mapping[int, dict]) -> None:
        """Records which files the dataset was built of, from place of a video → content."""
        for i, video in enumerate(self._plan["videos"]):
            video["content"] = contents.get(i)
        self._write_plan()

    @property
    def is_finished(self) -> bool:
        """Whether the dataset is complete."""
        return (self.output_dir / MANIFEST).is_file()

    def shard_of(self, video: int) -> int:
        """Returns the number of a video's shard, from its place in `videos`."""
        return video % self.num_shards

    def names(self, videos: Sequence[int]) -> str:
        """Returns the ids of some videos, or of the first ones, with the number of the others."""
        return _some([self.videos[i].video_id for i in videos])

    def shard(self, index: int) -> AnyPath:
        """Returns the file of a shard."""
        return self.output_dir / shard_name(index, self.num_shards)

    def piece(self, video: int) -> str:
        """Returns the file of a video's segments, before they are joined to their shard."""
        return os.fspath(self.work_dir / "cut" / f"{video:06d}.tfrecord")

    def outcome(self, phase: str, index: int) -> str:
        """Returns the file of the outcome of a video's or a shard's job."""
        return os.fspath(self.work_dir / phase / f"{index:06d}.json")

    def settle_failures(self, causes: Mapping[int, str], max_fraction: float) -> list[dict]:
        """Writes `failures.jsonl` and checks that not too many videos have failed.

        Args:
            causes: Place in `videos` → why that video cannot be used.
            max_fraction: Largest fraction of the videos that may fail.

        Returns:
            {"video", "file", "cause"} of each failed video, in the order of `videos`.

        Raises:
            InputError: More videos have failed.
        """
        failures = [
            {
                "video": self.videos[index].video_id,
                "file": self.videos[index].file,
                "cause": causes[index],
            }
            for index in sorted(causes)
        ]
        path = self.write_failures(failures)
        if len(failures) > max_fraction * len(self.videos):
            raise InputError(
                f"{len(failures)} of {len(self.videos)} videos could not be used, more than "
                f"--max_failure_fraction={max_fraction:g}; the first: {failures[0]['cause']}; "
                f"{path} lists all of them: fix them and use --retry_failed, or raise the fraction"
            )
        return failures

    def write_failures(self, failures: Sequence[dict]) -> AnyPath:
        """Writes `failures.jsonl`, which is missing if no video has failed; returns its path."""
        path = self.output_dir / FAILURES
        if failures:
            write_text(path, "".join(json.dumps(failure) + "\n" for failure in failures))
        else:
            path.unlink(missing_ok=True)
        return path

    def forget_cuts(self, videos: Iterable[int], cut: Collection[int]) -> None:
        """Removes the segments of videos, so that they are cut again.

        Where they may be in a shard already, this is removed, and the segments of all its videos.

        Args:
            videos: Places of the videos.
            cut: Places of all videos that have been cut.
        """
        videos = set(videos) & set(cut)
        for shard in {self.shard_of(i) for i in videos}:
            files = [self.shard(shard), as_path(self.outcome("shards", shard))]
            if any(path.is_file() for path in files):
                videos |= {i for i in cut if self.shard_of(i) == shard}
            for path in files:  # the shard first: without it, the outcomes are found to be wrong
                path.unlink(missing_ok=True)
        for i in videos:
            as_path(self.outcome("cut", i)).unlink(missing_ok=True)
            as_path(self.piece(i)).unlink(missing_ok=True)

    def reopen(self) -> None:
        """Marks a finished dataset as unfinished, so that videos can be added to it."""
        (self.output_dir / MANIFEST).unlink(missing_ok=True)

    def tidy(self) -> None:
        """Removes the work of a finished dataset; all of it, if no video may be retried."""
        if isinstance(self.output_dir, Path):  # unfinished files of a killed run
            for aside in self.output_dir.glob(f".*{PARTIAL}"):
                aside.unlink(missing_ok=True)
        if not (self.output_dir / FAILURES).is_file():
            remove_tree(self.work_dir)
            return
        for piece in (self.work_dir / "cut").glob("*.tfrecord*"):  # of failed videos, killed runs
            piece.unlink(missing_ok=True)

    def remove(self) -> None:
        """Removes all traces of the build."""
        remove_tree(self.work_dir)
        for name in (FAILURES, PLAN):
            (self.output_dir / name).unlink(missing_ok=True)

    def _claim(self) -> None:
        """Starts a build in the folder, or resumes the same one."""
        path = self.output_dir / PLAN
        plan = _read_plan(path)
        if plan is None:
            if self.is_finished:
                raise InputError(
                    f"{self.output_dir}: contains a dataset but no {PLAN} that can be read, so the "
                    "build cannot be resumed; choose another --output_dir, or remove this one"
                )
            remove_tree(self.work_dir)
            self._write_plan()
            return
        if not _is_plan(plan):
            raise InputError(
                f"{path}: not the plan of a build by this version; remove the folder, and build "
                "the dataset again"
            )
        changes = _changes(plan, self._plan)
        if changes:
            raise InputError(
                f"{self.output_dir}: holds another dataset ({'; '.join(changes)}); choose another "
                "--output_dir, or the settings that it was started with"
            )
        self._plan = plan

    def _write_plan(self) -> None:
        write_text(self.output_dir / PLAN, json.dumps(signed(self._plan), indent=1) + "\n")


def _read_plan(path: AnyPath) -> object:
    """Returns the content of `plan.json`; None if it is missing, or damaged by a power cut."""
    if not path.is_file():
        return None
    try:
        plan = read_json(path)
        return unsigned(plan) if isinstance(plan, dict) else plan
    except ValueError as error:  # also an `InputError`
        if isinstance(error.__cause__, OSError):
            raise
        logging.warning("%s is damaged; the build starts from the beginning (%s)", path, error)
        return None


def _is_plan(plan: object) -> bool:
    """Returns whether a JSON file's content has the form of `plan.json`."""
    return (
        isinstance(plan, dict)
        and {"class_names", "settings", "videos", "background_share"} == set(plan)
        and isinstance(plan["settings"], dict)
        and isinstance(plan["class_names"], list)
        and all(isinstance(name, str) for name in plan["class_names"])
        and isinstance(plan["videos"], list)
        and all(isinstance(video, dict) for video in plan["videos"])
        and all(isinstance(v.get(k), str) for v in plan["videos"] for k in ("video", "annotation"))
        and isinstance(plan["background_share"], float | int | None)
    )


def _changes(old: dict, new: dict) -> list[str]:
    """Returns sentences about the differences between two plans."""
    changes = [
        f"{key} was {old['settings'].get(key)}, is {value}"
        for key, value in new["settings"].items()
        if old["settings"].get(key) != value
    ]
    before, now = (dict.fromkeys(plan["class_names"]) for plan in (old, new))
    changes += _differences("classes", before, now)
    before, now = (
        {video["video"]: video["annotation"] for video in plan["videos"]} for plan in (old, new)
    )
    return changes + _differences("videos", before, now)


def _differences(what: str, old: dict[str, object], new: dict[str, object]) -> list[str]:
    """Returns sentences about names that are new, missing, changed or in another order."""
    kinds = {
        "are new": [name for name in new if name not in old],
        "are missing": [name for name in old if name not in new],
        "have other annotations": [n for n in new if n in old and old[n] != new[n]],
    }
    found = [f"{what} {kind}: {_some(names)}" for kind, names in kinds.items() if names]
    if not found and list(old) != list(new):
        return [f"{what} are in another order"]
    return found


def _some(names: Sequence[str]) -> str:
    """Returns the first names, and how many there are besides."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _digest(content: object) -> str:
    """Returns a short checksum of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
