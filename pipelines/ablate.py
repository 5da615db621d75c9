"""Shows what each network is good for: trains S-CNN and three cut-down variants, side by side.

    python -m pipelines.ablate --datasets=O1,O2 --recipe=small --seeds=0,1 --output_dir=A

Reads folders with `annotations.json` (subsets train and test) and `videos/`, as
`examples/stitch_videos.py` writes them; several are the folds of one experiment. Writes
`A/ablation.json`, `A/top_k.png` (Figure 7) and, for each data set and seed, the shards,
the networks and the raw segments. Killed, the same command goes on where it stopped.
"""

from pathlib import Path

from absl import flags

from pipelines import _cli
from scnn_tf.errors import InputError
from scnn_tf.models.recipes import get_recipe

_DATASETS = flags.DEFINE_list("datasets", None, "Folders, one a fold.", required=True)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Folder to write to.", required=True)
_RECIPE = flags.DEFINE_string("recipe", "small", "As of train.")
_SEEDS = flags.DEFINE_list("seeds", "0", "One run each.")
_ALPHAS = flags.DEFINE_list("alphas", "", "α of further localization networks, such as .5,1.")
_TIOU = flags.DEFINE_list("tiou", ".3,.5,.7", "Thresholds of the mAP.")
_PROTOCOL = flags.DEFINE_enum("protocol", "thumos14", ["thumos14", "activitynet"], "Of the mAP.")


def main(argv: list[str]) -> None:
    """Runs the ablation and prints its table."""
    from scnn_tf.experiments import ablation
    from scnn_tf.report import figures

    recipe = get_recipe(_RECIPE.value)
    summary = ablation.run(
        _DATASETS.value,
        _OUTPUT_DIR.value,
        recipe,
        _numbers("seeds", _SEEDS.value, int),
        _numbers("alphas", _ALPHAS.value, float),
        _numbers("tiou", _TIOU.value, float),
        _PROTOCOL.value,
    )
    figures.save(figures.top_k_curves(summary), Path(_OUTPUT_DIR.value) / "top_k.png")
    print(ablation.format_table(summary))


def _numbers(flag: str, values: list[str], kind: type) -> list:
    try:
        return [kind(value) for value in values]
    except ValueError as error:
        raise InputError(f"--{flag} takes numbers. Received: {','.join(values)}") from error


def run() -> None:
    """Entry point of the console script."""
    _cli.run(main)


if __name__ == "__main__":
    run()
