"""Builds untrimmed videos with ground truth out of trimmed clips, split by person.

Reads clips in one folder a class, `<clips_dir>/<class>/<person>_<text>.avi`. The target classes
are annotated, the others are background. Each video joins all clips of one person in a random
order, without a gap. Writes `<output_dir>/videos/*.mp4` and `<output_dir>/annotations.json`
(ActivityNet style; subset "test" for the test people, "train" for everybody else).

    python -m pipelines.stitch_videos --clips_dir=weizmann \
        --targets=bend,jack,pjump,wave2,run,walk --test_people=ira,lena \
        --sequences_per_person=4 --seed=0 --output_dir=runs/weizmann
"""

from absl import flags

from pipelines import _cli
from scnn_tf.datasets import stitching

_CLIPS_DIR = flags.DEFINE_string(
    "clips_dir", None, "Folder of trimmed clips, one folder a class.", required=True
)
_TARGETS = flags.DEFINE_list(
    "targets", None, "Classes to annotate; the others are background.", required=True
)
_TEST_PEOPLE = flags.DEFINE_list("test_people", [], "Who is in the test set only.")
_SEQUENCES = flags.DEFINE_integer(
    "sequences_per_person", 1, "Videos of each person, each in an order of its own."
)
_SEED = flags.DEFINE_integer("seed", 0, "Decides the orders.", lower_bound=0)
_FPS = flags.DEFINE_float("fps", 25.0, "Frames per second of the videos.")
_PERSON_PATTERN = flags.DEFINE_string(
    "person_pattern",
    stitching.DEFAULT_PERSON_PATTERN,
    "Regular expression searched in a clip's file name; its first group is the person.",
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "Where annotations.json and videos/ go.", required=True
)


def main(argv: list[str]) -> None:
    """Stitches and says what came out."""
    del argv
    made = stitching.stitch(
        clips_dir=_CLIPS_DIR.value,
        output_dir=_OUTPUT_DIR.value,
        targets=_TARGETS.value,
        test_people=_TEST_PEOPLE.value,
        sequences_per_person=_SEQUENCES.value,
        seed=_SEED.value,
        fps=_FPS.value,
        person_pattern=_PERSON_PATTERN.value,
    )
    videos = made.videos.values()
    print(
        f"{len(videos)} videos ({sum(v.subset == 'test' for v in videos)} for testing), "
        f"{sum(v.duration for v in videos):.0f} s, "
        f"{sum(len(v.instances) for v in videos)} instances of {len(_TARGETS.value)} classes, "
        f"{len(made.skipped)} broken clips left out → {_OUTPUT_DIR.value}/annotations.json"
    )


def run() -> None:
    """Entry point."""
    _cli.run(main)


if __name__ == "__main__":
    run()
