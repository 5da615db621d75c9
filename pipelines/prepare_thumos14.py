r"""Verifies a copy of THUMOS'14 and writes its annotations in the project's own form.

    python -m pipelines.prepare_thumos14 --video_dir=T --reference=thumos14.json --output_dir=O

    python -m pipelines.build_tfrecords --annotations=O/annotations.json --video_dir=T \
        --subset=train --output_dir=S
    python -m pipelines.evaluate --ground_truth=O/annotations.json --subset=test …

Reads, at any depth below T, UCF101's clips (`v_Diving_g01_c01.avi`), the validation and test
videos (`video_validation_0000161.mp4`, `video_test_0000004.mp4`) and the folders of text
(`Diving_val.txt`, `Diving_test.txt`): unpack the archives there, or link to them. The subset
"train" has the clips of the 20 classes and the 200 annotated validation videos, "test" the 213
annotated test videos. Writes `O/annotations.json`, with files relative to T, and `O/report.json`:
all that is missing, broken, odd, of another duration, or not used. Exit code 1 if videos are
missing; then there are no annotations, unless --allow_missing asks for those of the others.
"""

from absl import flags

from pipelines import _cli
from scnn_tf.datasets.challenges import ANNOTATIONS, prepare
from scnn_tf.datasets.thumos14 import thumos14

_VIDEO_DIR = flags.DEFINE_string("video_dir", None, "Folder above all videos.", required=True)
_ANNOTATIONS_DIR = flags.DEFINE_string(
    "annotations_dir", None, "Folder above the text (default: --video_dir)."
)
_REFERENCE = flags.DEFINE_string(
    "reference",
    None,
    "ActivityNet JSON to check durations against (default: the challenge's lists, if they are "
    "beside the text).",
)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Folder to write to.", required=True)
_PROBE = flags.DEFINE_bool("probe", True, "Reads every video for its duration.")
_TOLERANCE_S = flags.DEFINE_float(
    "tolerance_s", 1.0, "Seconds that a duration may be off without being told.", 0.0
)
_ALLOW_MISSING = flags.DEFINE_bool("allow_missing", False, "Goes on with what is there.")


def main(argv: list[str]) -> None:
    """Verifies, writes, and says what was found."""
    del argv
    challenge = thumos14(
        _VIDEO_DIR.value, _ANNOTATIONS_DIR.value or _VIDEO_DIR.value, _REFERENCE.value
    )
    report = prepare(
        challenge, _OUTPUT_DIR.value, _PROBE.value, _TOLERANCE_S.value, _ALLOW_MISSING.value
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
