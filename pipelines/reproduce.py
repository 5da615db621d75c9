r"""Runs an experiment of the paper from the challenge's folders to its tables, with one command.

    python -m pipelines.reproduce --experiment=thumos14 --video_dir=T --output_dir=O \
        --weights=conv3d_deepnetA_sport1m_iter_1900000 --mean=train01_16_128_171_mean.binaryproto

Reads what `prepare_dataset` reads, and weights as `convert_weights` does.
Says first what it will take on this machine (--estimate_only: only that). Writes `O/results.json`,
`O/tables.md` (the paper's tables beside what was measured), `O/figure4.svg`, `O/figure7.svg`, and
what leads there: `O/dataset/`, `O/pretrained/`, `O/runs/`. Killed, the same command goes on where
it stopped.
"""

from absl import flags

from pipelines import _cli
from scnn_tf.models.recipes import get_recipe

_EXPERIMENT = flags.DEFINE_enum(
    "experiment", None, ["thumos14", "mexaction2"], "Which one.", required=True
)
_VIDEO_DIR = flags.DEFINE_string("video_dir", None, "Folder above all videos.", required=True)
_ANNOTATIONS_DIR = flags.DEFINE_string(
    "annotations_dir", None, "Folder above the text (default: --video_dir)."
)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Folder to write to.", required=True)
_WEIGHTS = flags.DEFINE_string(
    "weights", None, "Sports-1M weights (default: none; the paper's recipes need them)."
)
_MEAN = flags.DEFINE_string("mean", None, "The mean volume that belongs to the weights.")
_RECIPE = flags.DEFINE_string("recipe", None, "As of train (default: the experiment's).")
_ALLOW_MISSING = flags.DEFINE_bool("allow_missing", False, "Goes on with what is there.")
_ESTIMATE_ONLY = flags.DEFINE_bool("estimate_only", False, "Stops before the work begins.")


def main(argv: list[str]) -> None:
    """Runs the experiment and prints its tables."""
    del argv
    recipe = get_recipe(_RECIPE.value or _EXPERIMENT.value)
    from scnn_tf.experiments import reproduction

    results = reproduction.run(
        _EXPERIMENT.value,
        _VIDEO_DIR.value,
        _OUTPUT_DIR.value,
        recipe,
        _ANNOTATIONS_DIR.value,
        _WEIGHTS.value,
        _MEAN.value,
        _ALLOW_MISSING.value,
        _ESTIMATE_ONLY.value,
    )
    for name, value in results["estimate"].items():
        print(f"expected {name}: {value}")
    if not _ESTIMATE_ONLY.value:
        print()
        print(reproduction.tables(_EXPERIMENT.value, results))


def run() -> None:
    """Entry point of the console script."""
    _cli.run(main)


if __name__ == "__main__":
    run()
