r"""Verifies a copy of THUMOS'14 or MEXaction2 and writes its annotations as one file.

    python -m pipelines.prepare_dataset --dataset=thumos14 --video_dir=T --output_dir=O \
        --reference=thumos14.json

    python -m pipelines.build_tfrecords --annotations=O/annotations.json --video_dir=T \
        --subset=train --output_dir=S

Reads videos and text at any depth below --video_dir: unpack the archives there, or link to them.

  thumos14    UCF101's clips (`v_Diving_g01_c01.avi`), the validation and test videos
              (`video_validation_0000161.mp4`, `video_test_0000004.mp4`) and the folders of text
              (`Diving_val.txt`, `Diving_test.txt`). The subset "train" has the clips of the 20
              classes and the 200 annotated validation videos, "test" the 213 annotated test
              videos.
  mexaction2  INA's videos (`FMVDD081880-AFP_VIS_01.mp4`), YouTube's clips in folders
              `BullChargeCape` and `HorseRiding`, UCF101's `v_HorseRiding_g01_c01.avi`, and text
              with lines `video start end`, in seconds: `BullChargeCape_train.txt`, `…_val.txt`
              and `…_test.txt`, the same for HorseRiding. Only the text of the test set is known
              to exist in this form; other annotations have to be converted. A list
              `test_videos.txt` next to the text (`train_…`, `validation_…`), one name on each
              line, assigns videos without an instance to their subset.

Writes `O/annotations.json` (ActivityNet form; files relative to --video_dir) and `O/report.json`:
everything that is missing, broken, odd, of another duration, or unused. Exit code 1 if something
is missing; annotations are then written only with --allow_missing.
"""

from absl import flags

from pipelines import _cli
from scnn_tf.datasets.challenges import ANNOTATIONS, prepare
from scnn_tf.datasets.mexaction2 import mexaction2
from scnn_tf.datasets.thumos14 import thumos14
from scnn_tf.errors import InputError

_DATASET = flags.DEFINE_enum(
    "dataset", None, ["thumos14", "mexaction2"], "Name of the dataset.", required=True
)
_VIDEO_DIR = flags.DEFINE_string(
    "video_dir", None, "Folder that contains all videos, at any depth.", required=True
)
_ANNOTATIONS_DIR = flags.DEFINE_string(
    "annotations_dir",
    None,
    "Folder that contains the dataset's text, at any depth. Default: --video_dir.",
)
_REFERENCE = flags.DEFINE_string(
    "reference",
    None,
    "ActivityNet JSON of THUMOS'14 to check durations against. Default: the challenge's own "
    "lists, where they are next to the text.",
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "Folder to write annotations.json and report.json to.", required=True
)
_PROBE = flags.DEFINE_bool(
    "probe", True, "Reads every video for its duration; --noprobe takes the authors' durations."
)
_TOLERANCE_S = flags.DEFINE_float(
    "tolerance_s",
    1.0,
    "Largest difference, in seconds, between a video's duration and the authors' that is not "
    "reported.",
    0.0,
)
_ALLOW_MISSING = flags.DEFINE_bool(
    "allow_missing", False, "Writes annotations of the present videos even if others are missing."
)


def main(argv: list[str]) -> None:
    """Verifies the dataset, writes its annotations and prints the counts."""
    del argv
    folders = {
        "video_dir": _VIDEO_DIR.value,
        "annotations_dir": _ANNOTATIONS_DIR.value or _VIDEO_DIR.value,
    }
    if _DATASET.value == "thumos14":
        challenge = thumos14(**folders, reference=_REFERENCE.value)
    elif _REFERENCE.value:
        raise InputError("--reference requires --dataset=thumos14; leave it out for mexaction2")
    else:
        challenge = mexaction2(**folders)
    report = prepare(
        challenge=challenge,
        output_dir=_OUTPUT_DIR.value,
        probe_videos=_PROBE.value,
        tolerance_s=_TOLERANCE_S.value,
        allow_missing=_ALLOW_MISSING.value,
    )
    print(report.table())
    if not _ALLOW_MISSING.value:
        report.check()
    print(f"{report.num_videos} videos → {_OUTPUT_DIR.value}/{ANNOTATIONS}")


def run() -> None:
    """Entry point of the console script."""
    _cli.run(main)


if __name__ == "__main__":
    run()
