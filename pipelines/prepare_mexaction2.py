r"""Verifies a copy of MEXaction2 and writes its annotations in the project's own form.

    python -m pipelines.prepare_mexaction2 --video_dir=M --output_dir=O

    python -m pipelines.build_tfrecords --annotations=O/annotations.json --video_dir=M \
        --subset=train --output_dir=S

Reads, at any depth below M: INA's videos (`FMVDD081880-AFP_VIS_01.mp4`); clips of YouTube, in
folders `BullChargeCape` and `HorseRiding`; UCF101's `v_HorseRiding_g01_c01.avi`; and text with
lines `video start end`, in seconds, `BullChargeCape_train.txt` and `…_val.txt`, `…_test.txt`, the
same of HorseRiding. Only that of the test set is known to exist in this form; other annotations
have to be converted. A list `test_videos.txt` beside the text (`train_…`, `validation_…`), a name a
line, tells which videos without an instance belong to the subset. Writes `O/annotations.json`,
with subsets "train", "validation" and "test" and files relative to M, and `O/report.json`: all
that is missing, broken or not used. Exit code 1 if something is missing; then there are no
annotations, unless --allow_missing asks for those of the others.
"""

from absl import flags

from pipelines import _cli
from scnn_tf.datasets.challenges import ANNOTATIONS, prepare
from scnn_tf.datasets.mexaction2 import mexaction2

_VIDEO_DIR = flags.DEFINE_string("video_dir", None, "Folder above all videos.", required=True)
_ANNOTATIONS_DIR = flags.DEFINE_string(
    "annotations_dir", None, "Folder above the text (default: --video_dir)."
)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Folder to write to.", required=True)
_PROBE = flags.DEFINE_bool("probe", True, "Reads every video for its duration.")
_ALLOW_MISSING = flags.DEFINE_bool("allow_missing", False, "Goes on with what is there.")


def main(argv: list[str]) -> None:
    """Verifies, writes, and says what was found."""
    del argv
    challenge = mexaction2(_VIDEO_DIR.value, _ANNOTATIONS_DIR.value or _VIDEO_DIR.value)
    report = prepare(challenge, _OUTPUT_DIR.value, _PROBE.value, allow_missing=_ALLOW_MISSING.value)
    print(report.table())
    if not _ALLOW_MISSING.value:
        report.check()
    print(f"{report.num_videos} videos → {_OUTPUT_DIR.value}/{ANNOTATIONS}")


def run() -> None:
    """Entry point of the console script."""
    _cli.run(main)


if __name__ == "__main__":
    run()
