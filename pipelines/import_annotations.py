r"""Turns labels, such as exports of labelling tools, into the project's annotations (JSON).

    python -m pipelines.import_annotations --output=annotations.json --video_dir=videos \
        --test_share=.3 labels.csv project.json export.xml

Reads files of these forms, recognized by content; a video may be in several files:

- a table, CSV or TSV, a row for each action: columns video, label (class, action), start, end, and
  perhaps subset, in any order; seconds, MM:SS or HH:MM:SS. A video without any action has a row of
  its own with label, start and end empty.
- projects of the VGG Image Annotator, VIA 3, and both of its CSV exports: temporal segments; the
  class is their attribute.
- JSON of Label Studio (not JSON-MIN): TimelineLabels on Video, in frames, and Labels with start
  and end, in seconds.
- XML of CVAT: "CVAT for video 1.1", a track for each action, and "CVAT for images 1.1", tags of
  frames.
- .eaf of ELAN: the annotations of one tier; the class is their value, or the tier's name.
- .boris projects of BORIS, and its tables of events and of aggregated events, CSV or TSV: the class
  is the behaviour.
- JSON of Create ML's action classifier: video, label, start, end.
- Labels-v2.json of SoccerNet, and OSL JSON: points.
- subtitles, WebVTT or SRT, named after their video: the class is the text of a cue.
- files of data sets: EPIC-Kitchens-100's table of actions (--attribute=verb, noun, or verb,noun),
  and its table of videos for their durations; tables of Charades and Kinetics; JSON of MultiTHUMOS,
  Charades, ActivityNet, HACS and Kinetics. --class_list names classes that are numbers.

Labels in seconds are kept. CVAT counts the pictures of the file: their times, and all durations,
come from the files in --video_dir. Label Studio counts at a rate of its own, which is --frame_rate
unless a task has it in its data (fps). Videos of one name in different folders get their folders
into their ids.

Points have no length: --point_width makes short instances of them.

Subsets are those of the table, of the data set (EPIC-Kitchens and Charades have them in the names
of their files, such as EPIC_100_train.csv) or of OSL JSON; otherwise --test names videos or sources
(people, places) to test on, or --test_share draws whole sources, and all other videos are for
training.

Videos that nobody has labelled are left out and counted. So are labelled intervals that are no
valid instances; each is printed with its file, its place and the reason. With --strict, the exit
code is then 1 and nothing is written.
"""

import sys

from absl import flags

from pipelines import _cli
from scnn_tf.datasets import import_labels, subsets
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
    "Rate at which Label Studio counted frames, in Hz, the frameRate of its <Video> tag; also that "
    "of CVAT's videos that are not in --video_dir.",
    0.1,
    1000,
)
_ATTRIBUTE = flags.DEFINE_string(
    "attribute",
    None,
    "Name of what has the classes, if there are several: the attribute of VIA, the tier of ELAN "
    "or a type of its tiers (TIER_ID: the tiers' names are the classes), the head of OSL JSON, or "
    "the columns of EPIC-Kitchens, such as verb,noun.",
)
_CLASS_LIST = flags.DEFINE_string(
    "class_list",
    None,
    "File of the names of classes that are given by ids, such as those of MultiTHUMOS: lines of "
    "`id name`, or a table with columns id and key. Default: ids are the names.",
)
_POINT_WIDTH = flags.DEFINE_float(
    "point_width",
    None,
    "Length of the instance around a label that is a point, in seconds; without it, points are "
    "left out and counted.",
    0.001,
    3600,
)
_TEST = flags.DEFINE_list("test", [], "Ids of videos, or sources, to test on.")
_TEST_SHARE = flags.DEFINE_float(
    "test_share", 0.0, "Fraction of the videos to test on; whole sources are drawn.", 0.0, 0.99
)
_SOURCE_PATTERN = flags.DEFINE_string(
    "source_pattern",
    subsets.DEFAULT_SOURCE_PATTERN,
    "Regular expression searched in a video's id; its first group is the source.",
)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the draw of --test_share.", 0)
_STRICT = flags.DEFINE_bool(
    "strict", False, "Whether to write nothing if a labelled interval is no valid instance."
)
_SHOWN = 5  # names of videos that a line lists


def main(argv: list[str]) -> int | None:
    """Imports the exports of the command line and prints a summary."""
    if len(argv) < 2:
        raise InputError("expected one or more files of labels")
    if _TEST.value and _TEST_SHARE.value:
        raise InputError("give either --test or --test_share, not both")
    imported = import_labels.import_labels(
        argv[1:],
        video_dir=_VIDEO_DIR.value,
        frame_rate=_FRAME_RATE.value,
        attribute=_ATTRIBUTE.value,
        point_width=_POINT_WIDTH.value,
        class_list=_CLASS_LIST.value,
    )
    videos = subsets.assign_subsets(
        imported.videos,
        test=_TEST.value,
        test_share=_TEST_SHARE.value,
        source_pattern=_SOURCE_PATTERN.value,
        seed=_SEED.value,
    )
    for sentence in imported.not_found:
        print(f"written without a duration: {sentence}", file=sys.stderr)
    for sentence in imported.unusable:
        print(f"not used: {sentence}", file=sys.stderr)
    if imported.unusable and _STRICT.value:
        raise InputError(
            f"{len(imported.unusable)} label(s) cannot be used, as listed; correct them, or leave "
            "them out without --strict"
        )
    write_annotations(_OUTPUT.value, videos)
    for subset in sorted({video.subset for video in videos.values()}):
        part = [video for video in videos.values() if video.subset == subset]
        print(
            f"{subset}: {len(part)} videos, {sum(len(v.actions) for v in part)} instances of "
            f"{len(class_names(part))} classes"
        )
    for reason, names in (
        ("not labelled, left out", imported.not_labelled),
        ("without a valid label, left out", imported.left_out),
    ):
        if names:
            shown = ", ".join([*names[:_SHOWN], "…"] if len(names) > _SHOWN else names)
            print(f"{reason}: {len(names)} videos ({shown})")
    if imported.unusable:
        print(f"not used: {len(imported.unusable)} label(s), as listed")
    if imported.not_found:
        count = len(imported.not_found)
        print(f"not found or unreadable, written without a duration: {count} videos")
    print(f"{len(videos)} videos → {_OUTPUT.value}")


def run() -> None:
    """Entry point of the console script."""
    _cli.run(main, positional=True)


if __name__ == "__main__":
    run()
