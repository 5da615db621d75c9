r"""Turns the exports of labelling tools into the project's annotations (ActivityNet's JSON).

    python -m pipelines.import_annotations --output=annotations.json --video_dir=videos \
        --test_share=.3 labels.csv project.json export.xml

Reads files of these forms, recognized by extension and content; a video may be in several files:

- .csv or .tsv, a row for each action: columns video, label (class, action), start, end, and perhaps
  subset, in any order; seconds, MM:SS or HH:MM:SS. A video without any action has a row of its own
  with label, start and end empty.
- .json of the VGG Image Annotator, VIA 3: temporal segments; the class is their attribute.
- .json of Label Studio (not JSON-MIN): TimelineLabels on Video, in frames, and Labels with start
  and end, in seconds.
- .xml of CVAT: "CVAT for video 1.1", a track for each action, and "CVAT for images 1.1", tags of
  frames.

Frames become seconds by --frame_rate, or, for CVAT, by the file's own rate. Durations and rates
come from the files in --video_dir. Subsets are those of the CSV; otherwise --test names videos or
sources (people, places) to test on, or --test_share draws whole sources, and all other videos are
for training. If a labelled interval is no valid instance, the exit code is 1 and nothing is
written, unless --skip_unusable leaves such intervals out.
"""

import sys

from absl import flags

from pipelines import _cli
from scnn_tf.datasets import import_labels
from scnn_tf.datasets.annotations import class_names
from scnn_tf.datasets.formats import write_annotations
from scnn_tf.errors import InputError

_OUTPUT = flags.DEFINE_string(
    "output", None, "File of annotations (.json) to write.", required=True
)
_VIDEO_DIR = flags.DEFINE_string(
    "video_dir", None, "Folder of the videos, from which durations and frame rates are read."
)
_FRAME_RATE = flags.DEFINE_float(
    "frame_rate",
    None,
    "Rate at which the labelling tool counted frames, in Hz (default, CVAT only: the file's own).",
    0.1,
    1000,
)
_ATTRIBUTE = flags.DEFINE_string(
    "attribute", None, "VIA: name of the attribute whose values are the classes, if it has several."
)
_TEST = flags.DEFINE_list("test", [], "Ids of videos, or sources, to test on.")
_TEST_SHARE = flags.DEFINE_float(
    "test_share", 0.0, "Fraction of the videos to test on; whole sources are drawn.", 0.0, 0.99
)
_SOURCE_PATTERN = flags.DEFINE_string(
    "source_pattern",
    import_labels.DEFAULT_SOURCE_PATTERN,
    "Regular expression searched in a video's id; its first group is the source.",
)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the draw of --test_share.", 0)
_SKIP_UNUSABLE = flags.DEFINE_bool(
    "skip_unusable", False, "Whether to leave out labelled intervals that are no valid instances."
)


def main(argv: list[str]) -> int | None:
    """Imports the exports of the command line and prints a summary."""
    if len(argv) < 2:
        raise InputError("expected one or more files that the labelling tool has exported")
    if _TEST.value and _TEST_SHARE.value:
        raise InputError("give either --test or --test_share, not both")
    imported = import_labels.import_labels(
        argv[1:],
        video_dir=_VIDEO_DIR.value,
        frame_rate=_FRAME_RATE.value,
        attribute=_ATTRIBUTE.value,
    )
    videos = import_labels.assign_subsets(
        imported.videos,
        test=_TEST.value,
        test_share=_TEST_SHARE.value,
        source_pattern=_SOURCE_PATTERN.value,
        seed=_SEED.value,
    )
    for sentence in (*imported.not_found, *imported.unusable):
        print(f"not used: {sentence}", file=sys.stderr)
    if imported.unusable and not _SKIP_UNUSABLE.value:
        raise InputError(
            f"{len(imported.unusable)} labelled interval(s) are no valid instances: correct them, "
            "or leave them out with --skip_unusable"
        )
    write_annotations(_OUTPUT.value, videos)
    for subset in sorted({video.subset for video in videos.values()}):
        part = [video for video in videos.values() if video.subset == subset]
        print(
            f"{subset}: {len(part)} videos, {sum(len(v.actions) for v in part)} instances of "
            f"{len(class_names(part))} classes"
        )
    print(f"{len(videos)} videos → {_OUTPUT.value}")


def run() -> None:
    """Entry point of the console script."""
    _cli.run(main, positional=True)


if __name__ == "__main__":
    run()
