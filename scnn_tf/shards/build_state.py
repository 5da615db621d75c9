"""What a build has done so far: files only, so that it may end at any moment and be gone on with.

In the folder of the data set: `plan.json`, which freezes what is built and how, and
`failures.jsonl`. In the work folder: outcomes of jobs, and segments that are in no shard yet.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from scnn_tf.datasets.annotations import VideoAnnotation
from scnn_tf.errors import InputError
from scnn_tf.io.files import AnyPath, as_path, is_local, read_text, remove_tree, write_text
from scnn_tf.shards.files import MANIFEST, shard_name

PLAN = "plan.json"
FAILURES = "failures.jsonl"


class BuildState:
    """The state of one build.

    Args:
        output_dir: folder or URL of the data set.
        work_dir: folder or URL for what is not finished yet; None: `work` in `output_dir`. Several
            builds may share one.
        videos: in the order that decides on their shards.
        class_names: all classes.
        recipe: a `BuildRecipe`'s fields.

    Raises:
        InputError: `output_dir` holds a data set that is not this one.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike,
        work_dir: str | os.PathLike | None,
        videos: Sequence[VideoAnnotation],
        class_names: Sequence[str],
        recipe: dict,
    ):
        self.output_dir = as_path(output_dir)
        self.work_dir = self.output_dir / "work"
        if work_dir is not None:
            output = os.fspath(output_dir)
            output = os.path.abspath(output) if is_local(output) else output
            self.work_dir = as_path(work_dir) / f"build-{_digest(output)}"
        self.videos = videos
        self.num_shards = recipe["num_shards"]
        self._plan = {
            "recipe": json.loads(json.dumps(recipe)),  # as it is read back: tuples are lists
            "class_names": list(class_names),
            "videos": [
                {
                    "video": video.video_id,
                    "shard": self.shard_of(index),
                    "annotation": _digest(dataclasses.asdict(video)),
                }
                for index, video in enumerate(videos)
            ],
            "background_share": None,
        }
        self._claim()

    @property
    def background_share(self) -> float | None:
        """The share of all background that is kept; None as long as it is not known."""
        return self._plan["background_share"]

    def freeze(self, background_share: float) -> None:
        """Settles the share of background, whatever becomes of a video later."""
        self._plan["background_share"] = background_share
        self._write_plan()

    @property
    def is_finished(self) -> bool:
        """Whether the data set is whole."""
        return (self.output_dir / MANIFEST).is_file()

    def shard_of(self, video: int) -> int:
        """The shard of a video, by its place in `videos`."""
        return video % self.num_shards

    def shard(self, index: int) -> AnyPath:
        """The file of a shard."""
        return self.output_dir / shard_name(index, self.num_shards)

    def piece(self, video: int) -> str:
        """The file of a video's segments, before they are in their shard."""
        return os.fspath(self.work_dir / "cut" / f"{video:06d}.tfrecord")

    def outcome(self, phase: str, index: int) -> str:
        """Where the outcome of a video's or a shard's job is."""
        return os.fspath(self.work_dir / phase / f"{index:06d}.json")

    def settle_failures(self, causes: Mapping[int, str], max_fraction: float) -> list[dict]:
        """Writes `failures.jsonl`.

        Args:
            causes: place in `videos` → why that video could not be used.
            max_fraction: of the videos, that may fail.

        Returns:
            {"video", "file", "cause"} each, in the order of `videos`.

        Raises:
            InputError: more have failed.
        """
        failures = [
            {
                "video": self.videos[index].video_id,
                "file": self.videos[index].file,
                "cause": causes[index],
            }
            for index in sorted(causes)
        ]
        path = self.output_dir / FAILURES
        if failures:
            write_text(path, "".join(json.dumps(failure) + "\n" for failure in failures))
        else:
            path.unlink(missing_ok=True)
        if len(failures) > max_fraction * len(self.videos):
            raise InputError(
                f"{len(failures)} of {len(self.videos)} videos could not be used, more than the "
                f"fraction of {max_fraction:g} that may fail; the first: {failures[0]['cause']}; "
                f"{path} lists all: mend them and go on with --retry_failed, or allow more with "
                "--max_failure_fraction"
            )
        return failures

    def reopen(self) -> None:
        """Makes a finished data set one that is not, so that videos can be added to it."""
        (self.output_dir / MANIFEST).unlink(missing_ok=True)

    def tidy(self) -> None:
        """Removes what a finished data set needs no more: all work, if no video may be retried."""
        if isinstance(self.output_dir, Path):  # what a killed run had begun to write
            for aside in self.output_dir.glob(".segments-*"):
                aside.unlink(missing_ok=True)
        whole = not (self.output_dir / FAILURES).is_file()
        remove_tree(self.work_dir if whole else self.work_dir / "cut")

    def remove(self) -> None:
        """Leaves the folder as it was before there was a build."""
        remove_tree(self.work_dir)
        for name in (FAILURES, PLAN):
            (self.output_dir / name).unlink(missing_ok=True)

    def _claim(self) -> None:
        """Begins a build in the folder, or goes on with the same one."""
        path = self.output_dir / PLAN
        if not path.is_file():
            if self.is_finished:
                raise InputError(
                    f"{self.output_dir}: holds a data set that nobody knows the plan of ({PLAN} is "
                    "missing); give another folder, or remove this one"
                )
            remove_tree(self.work_dir)
            self._write_plan()
            return
        try:
            plan = json.loads(read_text(path))
            changes = _changes(plan, self._plan)
            plan["background_share"]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path}: not the plan of a build ({error}); remove the folder, and build again"
            ) from error
        if changes:
            raise InputError(
                f"{self.output_dir}: holds another data set ({'; '.join(changes)}); give another "
                "folder, or what it was begun with"
            )
        self._plan = plan

    def _write_plan(self) -> None:
        write_text(self.output_dir / PLAN, json.dumps(self._plan, indent=1) + "\n")


def _changes(old: dict, new: dict) -> list[str]:
    """What is different in another plan, in words."""
    changes = [
        f"{key} was {old['recipe'].get(key)}, is {value}"
        for key, value in new["recipe"].items()
        if old["recipe"].get(key) != value
    ]
    before, now = (dict.fromkeys(plan["class_names"]) for plan in (old, new))
    changes += _differences("classes", before, now)
    before, now = (
        {video["video"]: video["annotation"] for video in plan["videos"]} for plan in (old, new)
    )
    return changes + _differences("videos", before, now)


def _differences(what: str, old: dict[str, object], new: dict[str, object]) -> list[str]:
    """What is new, gone, changed or in another order, in words."""
    kinds = {
        "are new": [name for name in new if name not in old],
        "are gone": [name for name in old if name not in new],
        "have other annotations": [n for n in new if n in old and old[n] != new[n]],
    }
    found = [f"{what} {kind}: {_some(names)}" for kind, names in kinds.items() if names]
    if not found and list(old) != list(new):
        return [f"{what} are in another order"]
    return found


def _some(names: Sequence[str]) -> str:
    """The first of many names."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _digest(content: object) -> str:
    """A short name of what JSON can hold."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
