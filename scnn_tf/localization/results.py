"""A folder of results: which videos it has, which of them are finished, and what their ids are.

The folder holds `run.json`, the identity of the scorer, and two files for each video in `videos/`:
the outcome of its job, and its scored segments. A video is known by its path and by the identity of
its file. Its id is not written down: it follows from the paths of all videos in the folder.
"""

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from absl import logging

from scnn_tf.datasets.video_files import by_id, without_ending
from scnn_tf.errors import InputError
from scnn_tf.io.files import (
    PathLike,
    absolute,
    as_path,
    copy_file,
    file_name,
    is_local,
    read_json,
    sha256,
    signed,
    unsigned,
    write_text,
)
from scnn_tf.jobs.jobs import (
    Job,
    Outcome,
    finished,
    forget,
    source_of,
    unfinished,
    write_outcome,
)

RUN = "run.json"
VIDEOS = "videos"
_THREADS = 16  # that read the ends of files, and mostly wait for disks and servers
_NAME_CHARACTERS = 40  # of a video's name in the names of its files here


class Result(NamedTuple):
    """A finished video.

    Attributes:
        video_id: Its id; the path of a video that failed in an earlier call.
        path: Its absolute path or URL.
        outcome: The outcome of its job.
        table: File of its scored segments.
        given: Whether it is a video of this call.
    """

    video_id: str
    path: str
    outcome: Outcome
    table: str
    given: bool


class Results:
    """The results of the videos of this call, and of those of earlier calls.

    Args:
        folder: Folder or URL.
        videos: Files or URLs of this call.
        score: Function of the jobs. It takes the path and the name of a video and the file of its
            table; its result holds "sha256", the checksum of that file.

    Attributes:
        jobs: The jobs of this call.

    Raises:
        InputError: No video was given, or two videos have the same id.
    """

    def __init__(self, folder: PathLike, videos: Sequence[PathLike], score: Callable[..., dict]):
        if not videos:
            raise InputError("no video was given")
        self._folder = as_path(folder)
        self._earlier: list[Job] = []
        self.jobs: list[Job] = []
        for video in map(os.fspath, by_id(videos).values()):
            outcome = os.fspath(self._folder / VIDEOS / f"{_short_name(video)}.json")
            args = (video, without_ending(file_name(video)), _table_of(outcome))
            self.jobs.append(Job(score, args, video, outcome, source=video))

    def prepare(self, fingerprint: dict, retry_failed: bool) -> None:
        """Removes the outcomes of videos whose file was replaced, or whose results are damaged.

        Args:
            fingerprint: Identity of the scorer.
            retry_failed: Whether to remove those of the given videos that failed, too.

        Raises:
            InputError: The folder holds results of another scorer or version, a video of an earlier
                call has the id of a given one, or the folder cannot be written.
        """
        self._earlier = self._find_earlier()
        self._claim(fingerprint)
        self._forget(retry_failed)
        self._take_over_moved()
        self.videos()

    def videos(self) -> dict[str, str]:
        """Returns id → absolute path or URL, of the given videos and those localized earlier.

        Raises:
            InputError: Two videos have the same id.
        """
        earlier = [o.source["path"] for _, o in finished(self._earlier) if not o.failed]
        try:
            videos = by_id([*(absolute(job.source) for job in self.jobs), *earlier])
        except InputError as error:
            raise InputError(
                f"{self._folder}: contains results of earlier calls, and {error}, or choose "
                "another --output_dir"
            ) from error
        return dict(sorted(videos.items()))

    def finished(self) -> list[Result]:
        """Returns the finished videos of all calls, by id."""
        ids = {path: video_id for video_id, path in self.videos().items()}
        given = {job.outcome for job in self.jobs}
        results = []
        for job, outcome in finished([*self.jobs, *self._earlier]):
            path = outcome.source["path"]
            table, is_given = _table_of(job.outcome), job.outcome in given
            results.append(Result(ids.get(path, path), path, outcome, table, is_given))
        return sorted(results, key=lambda result: result.video_id)

    def _find_earlier(self) -> list[Job]:
        """Returns the finished jobs of other videos than the given ones, which cannot run again.

        Raises:
            InputError: A file was not written by this version.
        """
        if not (self._folder / VIDEOS).is_dir():
            return []
        given = {job.outcome for job in self.jobs}
        jobs = []
        for path in sorted(map(os.fspath, (self._folder / VIDEOS).iterdir())):
            name = os.path.basename(path)
            if path in given or name.startswith(".") or not name.endswith(".json"):
                continue
            if not re.search("-[0-9a-f]{16}[.]json$", name):
                raise InputError(
                    f"{path}: expected results of this version of scnn_tf; choose another "
                    f"--output_dir, or remove {self._folder} to localize again"
                )
            jobs.append(Job(dict, (), path, path))
        return jobs

    def _claim(self, fingerprint: dict) -> None:
        """Writes the identity of the scorer.

        Raises:
            InputError: The results are of another scorer, or of an unknown one.
        """
        run = self._folder / RUN
        if self._earlier or len(unfinished(self.jobs)) < len(self.jobs):
            try:
                old = read_json(run)
                if not isinstance(old, dict):
                    raise InputError(_shortened(old))
                old = unsigned(old)
            except ValueError as error:  # also an `InputError`
                raise InputError(
                    f"{run}: expected the identity of the networks that gave the results here. "
                    f"Found: {error}; remove {self._folder} to localize again"
                ) from error
            now = json.loads(json.dumps({**dict.fromkeys(old), **fingerprint}))
            changed = [
                f"{key} was {_shortened(old.get(key))}, is {_shortened(value)}"
                for key, value in now.items()
                if old.get(key) != value
            ]
            if changed:
                raise InputError(
                    f"{self._folder}: contains results of other networks ({'; '.join(changed)}); "
                    "choose another --output_dir, or remove the folder to localize again"
                )
        write_text(run, json.dumps(signed(fingerprint), indent=1) + "\n")

    def _forget(self, retry_failed: bool) -> None:
        """Removes the outcomes of videos that have to be localized again."""
        waiting = {job.outcome for job in unfinished(self.jobs)}
        now = _sources(job for job in self.jobs if job.outcome not in waiting)

        def again(job: Job, outcome: Outcome) -> bool:
            if not _is_sound(job, outcome):
                logging.warning("%s: damaged; its video has to be localized again", job.outcome)
                return True
            if job.outcome not in now:
                return False
            if changes := _changes(outcome.source, now[job.outcome]):
                logging.warning(
                    "%s was replaced since it was localized (%s); it is localized again",
                    outcome.source["path"],
                    changes,
                )
            return bool(changes) or (outcome.failed and retry_failed)

        forget([*self.jobs, *self._earlier], again)

    def _take_over_moved(self) -> None:
        """Gives new videos the results of the same files, localized under paths that are gone."""
        done = [(job, outcome) for job, outcome in finished(self._earlier) if not outcome.failed]
        new = unfinished(self.jobs)
        if not (done and new):
            return
        done = {_content(outcome.source): (job, outcome) for job, outcome in done}
        sources = _sources(new)
        for job in new:
            source = sources[job.outcome]
            old, outcome = done.get(_content(source), (None, None))
            if old is None or not _is_moved(outcome.source["path"], source):
                continue
            logging.info("%s was localized as %s", source["path"], outcome.source["path"])
            copy_file(_table_of(old.outcome), _table_of(job.outcome))
            as_path(old.outcome).unlink(missing_ok=True)
            write_outcome(job, dataclasses.replace(outcome, source=source))
            as_path(_table_of(old.outcome)).unlink(missing_ok=True)


def _short_name(video: str) -> str:
    """Returns a name for files about a video, which any file system takes, whatever the video's.

    A readable part is followed by a checksum of the path: names of different videos differ, in more
    than upper and lower case.
    """
    name = re.sub("[^0-9A-Za-z]+", "_", without_ending(file_name(video)))[:_NAME_CHARACTERS]
    path = absolute(video).encode("utf-8", "surrogateescape")
    return f"{name}-{hashlib.sha256(path).hexdigest()[:16]}"


def _table_of(outcome: str) -> str:
    """Returns the file of the scored segments that belong to the file of an outcome."""
    return f"{outcome.removesuffix('.json')}.csv"


def _shortened(value: object) -> str:
    text = str(value)
    return text if len(text) < 20 else f"{text[:12]}…"


def _sources(jobs: Iterable[Job]) -> dict[str, dict]:
    """Returns the present identity of the file of each job, by the job's outcome."""
    jobs = list(jobs)
    with ThreadPoolExecutor(_THREADS) as pool:
        return dict(zip((job.outcome for job in jobs), pool.map(source_of, jobs), strict=True))


def _is_sound(job: Job, outcome: Outcome) -> bool:
    """Returns whether an outcome and its table are as a run has written them."""
    if outcome.source is None or not isinstance(outcome.source.get("path"), str):
        return False
    table = as_path(_table_of(job.outcome))
    return outcome.failed or (table.is_file() and sha256(table) == outcome.result.get("sha256"))


def _changes(before: dict, now: dict) -> str:
    """Describes how a file differs from the one of its path before; "" if it does not, or is gone.

    Args:
        before: See `jobs.source_of`.
        now: Likewise.
    """
    if "size" not in now:
        return ""
    if "size" not in before:
        return "it could not be read before"
    words = {
        "size": f"{before['size']} bytes before, {now['size']} now",
        "mtime": "changed at another time",
        "ends": "other content",
    }
    return ", ".join(text for key, text in words.items() if before.get(key) != now[key])


def _content(source: dict) -> tuple:
    return source.get("size"), source.get("mtime"), source.get("ends")


def _is_moved(before: str, source: dict) -> bool:
    """Returns whether a local file has left its former path, or has another name now as well."""
    if "size" not in source or not (is_local(before) and is_local(source["path"])):
        return False
    return not os.path.exists(before) or os.path.samefile(before, source["path"])
