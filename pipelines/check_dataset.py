r"""Checks annotations and videos before shards are built, and shards before training.

    python -m pipelines.check_dataset --annotations=annotations.json --video_dir=videos \
        --output_json=check.json
    python -m pipelines.check_dataset --data_dir=shards

With --annotations: reads annotations in any form that build_tfrecords accepts, and with
--video_dir every video file once, without decoding it. Prints the subsets, a histogram of the
instances' lengths against the windows, notes, and problems by kind:

  times        instances of zero or negative length
  missing      videos without a file
  unreadable   files that cannot be read as a video
  duration     annotated durations that differ from the file's
  outside      instances after the end of their video
  duplicate    the same instance twice
  overlap      two instances of a class at the same time
  unreachable  instances with which no window has tIoU .5: they are never trained on, and never
               found at .5
  rare         classes with few instances in a subset
  one_subset   classes without an instance in a subset
  source       people or places in more than one subset, by --source_pattern
  identical    videos that are the same, byte for byte

With --suggest, the detections of trained networks in videos of --video_dir without labels, it also
prints which of these videos to label next, and where to look: where a score is neither high nor
low, where two classes are found at one time, most where a class has few instances.

    python -m pipelines.check_dataset --annotations=annotations.json --video_dir=videos \
        --suggest=found/detections.json

With --data_dir: reads the folder that build_tfrecords wrote, `manifest.json`, `window_prior.csv`
and every record and picture of the shards. Prints `ok: N shards, M segments`, or one line for each
problem: which file, which record, counted from 0.

Exit code 1 if there is a problem, else 0. Kinds in --accept are printed but do not count.
"""

import json

from absl import flags, logging

from pipelines import _cli
from scnn_tf.datasets import check
from scnn_tf.datasets.formats import read_annotations
from scnn_tf.datasets.video_files import VideoFolder
from scnn_tf.errors import InputError, VideoError
from scnn_tf.io.files import write_text
from scnn_tf.io.video import probe
from scnn_tf.localization.formats import read_detections
from scnn_tf.localization.suggest import suggest
from scnn_tf.segments.windows import WINDOW_FRAMES

_SUGGESTIONS = 10  # videos that are printed
_REASONS = 3  # stretches of each

_ANNOTATIONS = flags.DEFINE_string(
    "annotations", None, "Annotations to check: a JSON file, or a folder of text."
)
_VIDEO_DIR = flags.DEFINE_string(
    "video_dir", None, "Folder of the annotated videos. Default: videos are not checked."
)
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of shards to check.")
_SUGGEST = flags.DEFINE_string(
    "suggest",
    None,
    "Detections in videos of --video_dir, to suggest which of those without labels to label next.",
)
_FRAME_RATE = flags.DEFINE_float(
    "frame_rate", 25.0, "Frame rate that all video is resampled to, in frames/s.", 1.0, 1000
)
_WINDOW_FRAMES = flags.DEFINE_list(
    "window_frames",
    [str(length) for length in WINDOW_FRAMES],
    "Lengths of the windows, in frames, separated by commas.",
)
_MIN_TRAIN = flags.DEFINE_integer(
    "min_train", 10, "Fewest instances of a class in the subset train that are no problem.", 0
)
_MIN_TEST = flags.DEFINE_integer(
    "min_test", 3, "Fewest instances of a class in any other subset that are no problem.", 0
)
_SOURCE_PATTERN = flags.DEFINE_string(
    "source_pattern",
    check.DEFAULT_SOURCE_PATTERN,
    "Regular expression that finds the person or place in a video's id, as its first group.",
)
_TOLERANCE_S = flags.DEFINE_float(
    "tolerance_s",
    0.5,
    "Largest difference, in seconds, between annotated and real duration that is no problem.",
    0.0,
)
_ACCEPT = flags.DEFINE_list(
    "accept", [], "Kinds of problems, separated by commas, that do not affect the exit code."
)
_OUTPUT_JSON = flags.DEFINE_string(
    "output_json", None, "File to write everything found with --annotations to, as JSON."
)


def main(argv: list[str]) -> int:
    """Checks what the flags name, prints the problems, and returns 1 if there are any."""
    del argv
    if not (_ANNOTATIONS.value or _DATA_DIR.value):
        raise InputError("expected --annotations or --data_dir. Received: neither")
    for flag in (_VIDEO_DIR, _OUTPUT_JSON, _SUGGEST):
        if flag.value and not _ANNOTATIONS.value:
            raise InputError(f"--{flag.name} requires --annotations")
    if _SUGGEST.value and not _VIDEO_DIR.value:
        raise InputError("--suggest requires --video_dir, the folder of the videos")
    sound = True
    if _ANNOTATIONS.value:
        sound = _check_annotations()
    if _SUGGEST.value:
        _print_suggestions()
    if _DATA_DIR.value:
        sound = _check_shards() and sound
    return int(not sound)


def _check_annotations() -> bool:
    """Prints the findings in annotations and videos; True if no problem counts."""
    if unknown := sorted(set(_ACCEPT.value) - set(check.PROBLEMS)):
        raise InputError(
            f"--accept: expected kinds among {', '.join(check.PROBLEMS)}. "
            f"Received: {', '.join(unknown)}"
        )
    window_frames = _cli.numbers("window_frames", _WINDOW_FRAMES.value, int)
    if not window_frames or min(window_frames) < 4:
        raise InputError(
            "--window_frames: expected lengths of 4 frames or more, separated by commas. "
            f"Received: {','.join(_WINDOW_FRAMES.value)}"
        )
    report = check.check(
        annotations=_ANNOTATIONS.value,
        video_dir=_VIDEO_DIR.value,
        window_frames=window_frames,
        fps=_FRAME_RATE.value,
        min_train=_MIN_TRAIN.value,
        min_test=_MIN_TEST.value,
        source_pattern=_SOURCE_PATTERN.value,
        tolerance_s=_TOLERANCE_S.value,
    )
    print(report.table())
    if _OUTPUT_JSON.value:
        write_text(_OUTPUT_JSON.value, json.dumps(report.to_json(), indent=1) + "\n")
    count = sum(len(s) for kind, s in report.problems.items() if kind not in _ACCEPT.value)
    accepted = sum(map(len, report.problems.values())) - count
    print(f"\n{count or 'no'} problem(s)" + (f", {accepted} accepted" if accepted else ""))
    return not count


def _print_suggestions() -> None:
    """Prints the videos to label next, with the stretches that are the reasons."""
    annotations = read_annotations(_ANNOTATIONS.value)
    detections = read_detections(_SUGGEST.value)
    places, durations = VideoFolder(_VIDEO_DIR.value), {}
    for video_id in dict.fromkeys(detections.video.tolist()):
        if video_id not in annotations:
            try:
                durations[video_id] = probe(places.find_elsewhere_named(video_id)).duration
            except VideoError as error:
                logging.warning("not suggested: %s", error)
    if not durations:
        raise InputError(
            f"{_SUGGEST.value}: expected detections in videos of {_VIDEO_DIR.value} that "
            f"{_ANNOTATIONS.value} lacks. Found: none; localize videos without labels"
        )
    instances = [action.label for video in annotations.values() for action in video.actions]
    found = suggest(detections, durations, instances)
    print(f"\nto label next, of {len(found)} without labels (worth a minute of video):")
    for video in found[:_SUGGESTIONS]:
        print(f"  {video.video_id} ({durations[video.video_id]:.0f} s): {video.worth:.2f}")
        for each in video.stretches[:_REASONS]:
            print(f"    {each.start:.1f} to {each.end:.1f} s: {each.reason}")


def _check_shards() -> bool:
    """Prints one line for each problem in the shards; True if there is none."""
    from scnn_tf.shards.files import problems, read_manifest

    sound = True
    for problem in problems(_DATA_DIR.value):
        print(problem)
        sound = False
    if sound:
        manifest = read_manifest(_DATA_DIR.value)
        print(f"ok: {len(manifest.shards)} shards, {sum(manifest.label_counts)} segments")
    return sound


def run() -> None:
    """Entry point of the console script."""
    _cli.run(main)


if __name__ == "__main__":
    run()
