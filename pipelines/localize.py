"""Finds actions in video files: class, start, end and score of each.

    python -m pipelines.localize --model_dir=M --output_dir=R my_video.mp4 other_video.avi

Reads the networks that `train` wrote and any video files. Writes `R/segments.csv`, one row for
each segment that the proposal network kept, and the detections, after the window-length prior and
non-maximum suppression: `R/detections.json` (ActivityNet's form), or text as THUMOS'14 has it with
--detections_file=detections.txt. `evaluate --segments=R/segments.csv` post-processes again without
a network. A video that cannot be used is listed at the end and in `R/failures.jsonl`.
"""

import json
from pathlib import Path

from absl import flags

from pipelines import cli
from scnn_tf.errors import InputError
from scnn_tf.files import write_text

_MODEL_DIR = flags.DEFINE_string(
    "model_dir", None, "Folder of the trained stages.", required=True
)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Folder to write to.", required=True)
_DETECTIONS_FILE = flags.DEFINE_string(
    "detections_file", "detections.json", "Name of the detections' file: .json, .csv or .txt."
)
_PROPOSAL_THRESHOLD = flags.DEFINE_float(
    "proposal_threshold",
    None,
    "Segments with less go no further (default: the recipe's).",
    0,
    1,
)
_NMS_THRESHOLD = flags.DEFINE_float(
    "nms_threshold", 0.4, "tIoU; take .1 less than the overlap that matters to you.", 0, 1
)
_SCORER = flags.DEFINE_string(
    "scorer", "localization", "Folder in M of the network that scores; for ablations."
)
_PROPOSAL = flags.DEFINE_bool("proposal", True, "Filter by the proposal network.")
_MAX_FAILURES = flags.DEFINE_integer(
    "max_failures", 0, "Exit code 1 if more videos than that could not be used.", 0
)


def main(argv: list[str]) -> int:
    """Localizes the videos of the command line and prints the best detections."""
    if len(argv) < 2:
        raise InputError("give one or more video files after the flags (see --help)")
    from scnn_tf.localization import load_networks, localize

    detections, failures = localize(
        argv[1:],
        load_networks(_MODEL_DIR.value, _SCORER.value, _PROPOSAL.value),
        _OUTPUT_DIR.value,
        _PROPOSAL_THRESHOLD.value,
        _NMS_THRESHOLD.value,
        _DETECTIONS_FILE.value,
    )
    for row in (-detections.score).argsort(kind="stable")[:20]:
        print(
            f"{detections.score[row]:.3f}  {detections.start[row]:8.2f} – "
            f"{detections.end[row]:8.2f} s  {detections.label[row]}  {detections.video[row]}"
        )
    done = len(argv) - 1 - len(failures)
    print(f"{len(detections)} detections in {done} videos → {_OUTPUT_DIR.value}")
    lines = "".join(json.dumps(failure) + "\n" for failure in failures)
    write_text(Path(_OUTPUT_DIR.value) / "failures.jsonl", lines)
    return cli.report_failures(failures, _MAX_FAILURES.value)


def run() -> None:
    """Entry point of the console script."""
    cli.run(main, positional=True)


if __name__ == "__main__":
    run()
