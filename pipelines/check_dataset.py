r"""Tells what is wrong with annotations and videos, before anything is built or trained.

    python -m pipelines.check_dataset --annotations=annotations.json --video_dir=videos \
        --output_json=check.json

Reads annotations in any form that build_tfrecords reads, and every video file once, without
decoding it. Prints the subsets, a histogram of the instances' lengths against the windows, notes,
and problems by kind:

  times        zero or negative length
  missing      unreadable    duration: annotated durations that are not the file's
  outside      after the end of the video
  duplicate    overlap: two instances of a class at the same time
  unreachable  no window has tIoU .5 with it: never trained on, and never found at .5
  rare         one_subset: classes with few instances, or none, in a subset
  source       people or places in more than one subset, by --source_pattern
  identical    videos that are the same, byte for byte

Exit code 0 if there is none, else 1; kinds in --accept are told, but do not count.
"""

import json

from absl import flags

from pipelines import _cli
from scnn_tf.datasets import check
from scnn_tf.errors import InputError
from scnn_tf.io.files import write_text
from scnn_tf.segments.windows import WINDOW_FRAMES

_ANNOTATIONS = flags.DEFINE_string("annotations", None, "JSON file or folder.", required=True)
_VIDEO_DIR = flags.DEFINE_string(
    "video_dir", None, "Folder of the videos. Default: they are not looked at."
)
_FPS = flags.DEFINE_float("fps", 25.0, "Frame rate that all video is resampled to.", 1.0, 1000)
_WINDOW_FRAMES = flags.DEFINE_list(
    "window_frames", [str(length) for length in WINDOW_FRAMES], "Lengths of the windows."
)
_MIN_TRAIN = flags.DEFINE_integer("min_train", 10, "Instances that a class must have in train.", 0)
_MIN_TEST = flags.DEFINE_integer("min_test", 3, "… and in any other subset.", 0)
_SOURCE_PATTERN = flags.DEFINE_string(
    "source_pattern",
    check.DEFAULT_SOURCE_PATTERN,
    "Regular expression searched in a video's id; its first group is the person or place.",
)
_TOLERANCE_S = flags.DEFINE_float(
    "tolerance_s", 0.5, "Seconds that a duration may be off without being told.", 0.0
)
_ACCEPT = flags.DEFINE_list("accept", [], "Kinds of problems that are known and accepted.")
_OUTPUT_JSON = flags.DEFINE_string("output_json", None, "Writes all findings there.")


def main(argv: list[str]) -> int:
    """Checks, prints, and returns 1 for problems."""
    del argv
    if unknown := sorted(set(_ACCEPT.value) - set(check.PROBLEMS)):
        raise InputError(f"--accept={','.join(unknown)}: kinds are {', '.join(check.PROBLEMS)}")
    if not _WINDOW_FRAMES.value or not all(
        length.isdecimal() and int(length) >= 4 for length in _WINDOW_FRAMES.value
    ):
        raise InputError(
            f"--window_frames={','.join(_WINDOW_FRAMES.value)}: expected frames, 4 or more each"
        )
    report = check.check(
        _ANNOTATIONS.value,
        _VIDEO_DIR.value,
        [int(length) for length in _WINDOW_FRAMES.value],
        _FPS.value,
        _MIN_TRAIN.value,
        _MIN_TEST.value,
        _SOURCE_PATTERN.value,
        _TOLERANCE_S.value,
    )
    print(report.table())
    if _OUTPUT_JSON.value:
        write_text(_OUTPUT_JSON.value, json.dumps(report.to_json(), indent=1) + "\n")
    count = sum(len(s) for kind, s in report.problems.items() if kind not in _ACCEPT.value)
    accepted = sum(map(len, report.problems.values())) - count
    print(f"\n{count or 'no'} problem(s)" + (f", {accepted} accepted" if accepted else ""))
    return int(count > 0)


def run() -> None:
    """Entry point of the console script."""
    _cli.run(main)


if __name__ == "__main__":
    run()
