r"""Surveys how the product handles odd video files, and damaged copies of them.

    python -m benchmarks.dirt --video_dir=codec --video_dir=ut_interaction --fuzz=3000 \
        --output_json=dirt.json --output_csv=robustness.csv

Reads all files of the folders. Each is probed and read in a process of its own, which may crash or
hang, and the times of its frames are compared with ffprobe's; then the binaries build one dataset
of all files and localize actions in them, with trained networks (--model_dir) or untrained ones.
With --fuzz, damaged copies of the readable files follow: each must give frames or be refused with
one sentence. Figures: "files", a row for each file, and "fuzz".
"""

import csv
import io
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from absl import flags, logging

from benchmarks import measure
from benchmarks.fuzz import fuzz
from benchmarks.times import examine
from scnn_tf.datasets.annotations import Instance, VideoAnnotation
from scnn_tf.datasets.formats import write_annotations
from scnn_tf.errors import InputError
from scnn_tf.io.files import PathLike, write_text
from scnn_tf.jobs.jobs import Job, Task, read_outcome
from scnn_tf.jobs.processes import Processes
from scnn_tf.localization.formats import read_segments
from scnn_tf.localization.run import ModelFolder
from scnn_tf.models.recipes import STAGES
from scnn_tf.segments.windows import sliding_windows

TIME_LIMIT = 120.0  # seconds for one file
# Networks that learn nothing, but can score every segment.
_RECIPE = {
    "base": "small_paper", "width": 1 / 32, "hidden": 8, "batch_size": 4,
    "shards": {"positive_tiou": 0.7, "background_ratio": 1000},
    **{stage: {"steps": 1} for stage in STAGES},
}  # fmt: skip
_COLUMNS = (
    ("file", "file"),
    ("codec", "codec"),
    ("size", "pixels"),
    ("rate", "pictures/s"),
    ("seconds", "s"),
    ("frames", "frames at 25 Hz"),
    ("verdict", "times, by ffprobe"),
    ("deviation_ms", "off by (ms)"),
    ("distinct", "distinct"),
    ("built", "built"),
    ("localized", "localized"),
)


def survey(paths: Sequence[Path], model_dir: str | None = None) -> list[dict]:
    """Examines files, builds shards of them and localizes actions in them.

    Args:
        paths: Files of any kind.
        model_dir: Folder of trained networks to localize with; None: untrained networks.

    Returns:
        A row for each file: the result of `times.examine`, or as "verdict" how its process ended;
        and the number of its segments "built" and "localized" (None: the file was refused). Of a
        file with frames, every window must be localized and some built; otherwise the verdict
        says WRONG.

    Raises:
        InputError: FFmpeg's programs are not installed, or there are no such networks.
        RuntimeError: A binary failed.
    """
    measure.require(programs=["ffprobe", "ffmpeg"])
    if model_dir is not None:
        ModelFolder(model_dir).describe()  # reads all files of the networks before long work
    with tempfile.TemporaryDirectory() as folder:
        jobs = [
            Job(examine, (path,), path.name, f"{folder}/examined/{index}.json")
            for index, path in enumerate(paths)
        ]
        Processes(timeout_s=TIME_LIMIT).run(jobs, Task("examining", "file"))
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


def summary(rows: Sequence[dict]) -> str:
    """Returns a Markdown table with the number of files for each folder and verdict."""
    groups: dict[tuple[str, str], list[dict]] = {}
    for row in rows:
        groups.setdefault((row["file"].split("/")[0], row["verdict"]), []).append(row)
    lines = ["| folder | files | times, or refusal | codecs | frames | built | localized |"]
    lines.append("|---|---|---|---|---|---|---|")
    for (folder, verdict), members in sorted(groups.items(), key=lambda g: (g[0][0], -len(g[1]))):
        codecs = Counter(row.get("codec", "–") for row in members).most_common()
        cells = [folder, len(members), verdict, ", ".join(f"{n} {codec}" for codec, n in codecs)]
        cells += [sum(row[key] or 0 for row in members) for key in ("frames", "built", "localized")]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def write_table(path: str, rows: Sequence[dict]) -> None:
    """Writes a CSV file with a row for each file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([title for _, title in _COLUMNS])
    writer.writerows([row.get(key) for key, _ in _COLUMNS] for row in rows)
    write_text(path, text.getvalue())


def _build_and_localize(
    paths: Sequence[Path], rows: Sequence[dict], model_dir: str | None, folder: Path
) -> tuple[dict[int, int], dict[int, int]]:
    """Runs the binaries on all files.

    Returns:
        File index → number of its segments in the dataset, and among the localized ones; a
        refused file is in neither.
    """
    videos, links = {}, []
    (folder / "videos").mkdir()
    for index, (path, row) in enumerate(zip(paths, rows, strict=True)):
        links.append(folder / "videos" / f"{index}{path.suffix}")
        links[-1].symlink_to(path.resolve())
        seconds = row.get("seconds", 1.0)
        # In a video shorter than any window, the one segment is the whole video: tIoU .75.
        action = Instance("action", 0.25 * seconds, seconds)
        videos[str(index)] = VideoAnnotation(
            str(index), "train", row.get("seconds"), None, (action,), file=links[-1].name
        )
    write_annotations(folder / "annotations.json", videos)
    write_text(folder / "recipe.json", json.dumps(_RECIPE))
    _run(
        "build_tfrecords",
        f"--annotations={folder}/annotations.json",
        f"--video_dir={folder}/videos",
        f"--output_dir={folder}/shards",
        f"--recipe={folder}/recipe.json",
        "--max_failure_fraction=1",
    )
    if model_dir is None:
        model_dir = f"{folder}/models"
        for stage in STAGES:
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


def _run(binary: str, *arguments: PathLike) -> None:
    """Runs a binary to its end.

    Raises:
        RuntimeError: The binary failed; the message has the end of its output.
    """
    command = [sys.executable, "-m", f"pipelines.{binary}", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{binary} exited with {done.returncode}: {done.stderr[-2000:]}")


def run() -> None:
    """Runs this benchmark as a program."""
    video_dir = flags.DEFINE_multi_string(
        "video_dir", None, "Folder of files of any kind; may be repeated.", required=True
    )
    model_dir = flags.DEFINE_string(
        "model_dir", None, "Folder of trained networks. Default: untrained networks."
    )
    copies = flags.DEFINE_integer(
        "fuzz", 0, "Number of damaged copies to read, over all readable files.", 0
    )
    output_csv = flags.DEFINE_string(
        "output_csv", None, "File to write a row for each file to. Default: no table."
    )

    def suite() -> dict:
        logging.set_verbosity(logging.ERROR)  # almost every file causes a warning
        folders = [Path(folder) for folder in video_dir.value]
        paths = [path for folder in folders for path in sorted(folder.iterdir()) if path.is_file()]
        if not paths:
            raise InputError(f"--video_dir={','.join(video_dir.value)}: no file was found there")
        figures: dict = {"files": survey(paths=paths, model_dir=model_dir.value)}
        print(summary(figures["files"]), file=sys.stderr)
        if output_csv.value:
            write_table(output_csv.value, figures["files"])
        if copies.value:
            rows = zip(paths, figures["files"], strict=True)
            figures["fuzz"] = fuzz([path for path, row in rows if row["frames"]], copies.value)
        return figures

    measure.run(suite)


if __name__ == "__main__":
    run()
