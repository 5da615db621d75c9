r"""Makes synthetic untrimmed videos with ground truth, to try the whole road without any data.

    python examples/make_synthetic.py --num_train=40 --num_test=12 \
        --num_trimmed_per_class=10 --seed=0 --output_dir=runs/synthetic

Each video shows a bright shape among moving distractors. The shape performs six actions that only
its motion distinguishes: left, right, up, down, rise and fall. Left and right are each other's
mirror image: train on this dataset without mirroring. The videos are H.264 files of different
frame rates, along with trimmed clips of each action.

With `--motions=rich`, jointed figures walk, run, skip, jump, side, pjump, jack, wave1, wave2, bend,
turn, kick, squat and box, and blobs expand, shrink, rotate, sway, bob and deform: 20 actions,
before many backgrounds and cameras, in videos of 80 × 64 pixels. They are for training a network
that then goes on with videos of real people.

Reads nothing. Writes `<output_dir>/videos/*.mp4` and `<output_dir>/annotations.json` (ActivityNet
form; subsets "train" and "test").
"""

from absl import flags

from pipelines import _cli
from scnn_tf.datasets.synthetic.dataset import MOTIONS, make_dataset

_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "Folder to write annotations.json and videos/ to.", required=True
)
_NUM_TRAIN = flags.DEFINE_integer(
    "num_train", 40, "Number of untrimmed training videos.", lower_bound=0
)
_NUM_TEST = flags.DEFINE_integer("num_test", 12, "Number of untrimmed test videos.", lower_bound=0)
_NUM_TRIMMED = flags.DEFINE_integer(
    "num_trimmed_per_class",
    10,
    "Number of trimmed training clips of each action.",
    lower_bound=0,
)
_SEED = flags.DEFINE_integer(
    "seed", 0, "Random seed; the same seed makes the same videos.", lower_bound=0
)
_MOTIONS = flags.DEFINE_enum(
    "motions",
    "shapes",
    list(MOTIONS),
    "Kind of the videos: shapes that move in six directions, or 20 actions of figures and blobs.",
)


def main(argv: list[str]) -> None:
    """Makes the dataset and prints its size."""
    del argv
    made = make_dataset(
        output_dir=_OUTPUT_DIR.value,
        num_train=_NUM_TRAIN.value,
        num_test=_NUM_TEST.value,
        num_trimmed_per_class=_NUM_TRIMMED.value,
        seed=_SEED.value,
        motions=_MOTIONS.value,
    )
    videos = made.values()
    print(
        f"{len(videos)} videos ({sum(v.subset == 'test' for v in videos)} for testing, "
        f"{sum(v.trimmed for v in videos)} trimmed), {sum(v.duration for v in videos):.0f} s, "
        f"{sum(len(v.instances) for v in videos)} instances of "
        f"{len(MOTIONS[_MOTIONS.value].actions)} classes → "
        f"{_OUTPUT_DIR.value}/annotations.json"
    )


if __name__ == "__main__":
    _cli.run(main)
