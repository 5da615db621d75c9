r"""Joins trimmed clips to untrimmed videos with ground truth, split by person.

    python examples/stitch_videos.py --clips_dir=weizmann \
        --targets=bend,jack,pjump,wave2,run,walk --test_people=ira,lena \
        --sequences_per_person=4 --seed=0 --output_dir=runs/weizmann

Reads clips in one folder for each class, `<clips_dir>/<class>/<person>_<text>.avi`. The target
classes are annotated; the other classes are background. Each video joins all clips of one person,
in random order and without a gap. Decoys, which are cuts within a clip, and cross-fades keep the
joints of the clips from showing where an action begins and ends; they are left out with
`--decoys=0 --nofades`. Writes `<output_dir>/videos/*.mp4` and `<output_dir>/annotations.json`
(ActivityNet form; subset "test" for the test people, "train" for everybody else).
"""

from absl import flags

from pipelines import _cli
from scnn_tf.datasets import stitching

_CLIPS_DIR = flags.DEFINE_string(
    "clips_dir", None, "Folder of trimmed clips, one folder for each class.", required=True
)
_TARGETS = flags.DEFINE_list(
    "targets", None, "Classes to annotate; all other classes are background.", required=True
)
_TEST_PEOPLE = flags.DEFINE_list(
    "test_people", [], "People whose videos form the test set; all others are for training."
)
_SEQUENCES = flags.DEFINE_integer(
    "sequences_per_person", 1, "Videos to make of each person, each in another random order."
)
_SEED = flags.DEFINE_integer(
    "seed", 0, "Random seed of the orders, decoys and cross-fades.", lower_bound=0
)
_FRAME_RATE = flags.DEFINE_float("frame_rate", 25.0, "Frame rate of the videos, in frames/s.")
_PERSON_PATTERN = flags.DEFINE_string(
    "person_pattern",
    stitching.DEFAULT_PERSON_PATTERN,
    "Regular expression that finds the person in a clip's file name, as its first group.",
)
_DECOYS = flags.DEFINE_float(
    "decoys",
    0.5,
    "Mean number of decoys per second: cuts within a clip, at which light, crop and mirror image "
    "change while the action continues. 0 shows the clips as they are.",
)
_FADES = flags.DEFINE_bool(
    "fades",
    True,
    "Whether half of all cuts, joints and decoys alike, are cross-fades of 2 to 12 frames.",
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "Folder to write annotations.json and videos/ to.", required=True
)


def main(argv: list[str]) -> None:
    """Stitches the videos and prints how many there are."""
    del argv
    made = stitching.stitch(
        clips_dir=_CLIPS_DIR.value,
        output_dir=_OUTPUT_DIR.value,
        targets=_TARGETS.value,
        test_people=_TEST_PEOPLE.value,
        sequences_per_person=_SEQUENCES.value,
        seed=_SEED.value,
        fps=_FRAME_RATE.value,
        person_pattern=_PERSON_PATTERN.value,
        decoys=_DECOYS.value,
        fades=_FADES.value,
    )
    videos = made.videos.values()
    print(
        f"{len(videos)} videos ({sum(v.subset == 'test' for v in videos)} for testing), "
        f"{sum(v.duration for v in videos):.0f} s, "
        f"{sum(len(v.instances) for v in videos)} instances of {len(_TARGETS.value)} classes, "
        f"{len(made.skipped)} broken clips left out → {_OUTPUT_DIR.value}/annotations.json"
    )


if __name__ == "__main__":
    _cli.run(main)
