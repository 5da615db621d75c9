"""Makes synthetic untrimmed videos with ground truth, for trying everything out.

Six actions that only motion tells apart (left, right, up, down, rise, fall) of a bright shape
among moving distractors, in H.264 files of mixed frame rates, and trimmed clips of each. Reads
nothing; writes `<output_dir>/videos/*.mp4` and `<output_dir>/annotations.json` (ActivityNet
style; subsets "train" and "test"). Left and right are each other's mirror image: train on this
set without mirroring.

    python -m pipelines.make_synthetic --num_train=40 --num_test=12 \
        --num_trimmed_per_class=10 --seed=0 --output_dir=runs/synthetic
"""

from absl import flags

from pipelines import _cli
from scnn_tf.datasets import synthetic

_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "Where annotations.json and videos/ go.", required=True
)
_NUM_TRAIN = flags.DEFINE_integer("num_train", 40, "Untrimmed training videos.", lower_bound=0)
_NUM_TEST = flags.DEFINE_integer("num_test", 12, "Untrimmed test videos.", lower_bound=0)
_NUM_TRIMMED = flags.DEFINE_integer(
    "num_trimmed_per_class", 10, "Trimmed training clips of each action.", lower_bound=0
)
_SEED = flags.DEFINE_integer("seed", 0, "Decides everything.", lower_bound=0)


def main(argv: list[str]) -> None:
    """Makes the set and says what came out."""
    del argv
    videos = synthetic.make_dataset(
        output_dir=_OUTPUT_DIR.value,
        num_train=_NUM_TRAIN.value,
        num_test=_NUM_TEST.value,
        num_trimmed_per_class=_NUM_TRIMMED.value,
        seed=_SEED.value,
    ).values()
    print(
        f"{len(videos)} videos ({sum(v.subset == 'test' for v in videos)} for testing, "
        f"{sum(v.trimmed for v in videos)} trimmed), {sum(v.duration for v in videos):.0f} s, "
        f"{sum(len(v.instances) for v in videos)} instances of {len(synthetic.ACTIONS)} "
        f"classes → {_OUTPUT_DIR.value}/annotations.json"
    )


def run() -> None:
    """Entry point."""
    _cli.run(main)


if __name__ == "__main__":
    run()
