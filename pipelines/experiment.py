r"""Runs ablations on any dataset, or an experiment of the paper with all its steps.

    python -m pipelines.experiment --datasets=O1,O2,O3 --seeds=0,1 --output_dir=A

Shows what each part of the method contributes: trains and tests variants of it on each dataset with
each seed. The methods are `S-CNN`, the paper's three networks; `shared`, one network whose windows
share convolutions; `boundaries`, one network of lone windows, which gives boundaries; and `both`.
Each also goes without proposal scores, without the weights that its recipe starts from ("both
without start"), without the overlap loss ("both without overlap"; with it, if the recipe has none),
without the training of classes that comes before it ("both without classification"), without what
is added to a window for its label ("both without margin"), and with other α; S-CNN also without
localization, and `both` without neighbors, with boundaries from a window's own features.

Reads folders with `annotations.json` (subsets train and test) and `videos/`, as
`examples/stitch_videos.py` writes them, such as the folds of one experiment. Writes
`A/ablation.json`; `A/ablation.md`, a table with 95 % confidence intervals by bootstrap over test
videos and seeds; `A/differences.png`, those of the differences; `A/top_k.png` (Figure 7); and, for
each dataset and seed, the shards, the networks and the scored segments. Several processes of the
same command, started at any time, share its work.

    python -m pipelines.experiment --experiment=thumos14 --video_dir=T --output_dir=O \
        --weights=conv3d_deepnetA_sport1m_iter_1900000 --mean=train01_16_128_171_mean.binaryproto

Reads a challenge's folders like `prepare_dataset`, and weights like `convert_weights`. Prints first
what the experiment will take on this machine. Writes `O/results.json`, `O/tables.md` (the paper's
tables next to the measured figures), `O/figure4.svg`, `O/figure7.svg`, and the intermediate
`O/dataset/`, `O/pretrained/` and `O/runs/`.

Interrupted, the same command resumes.
"""

from pathlib import Path

from absl import flags

from pipelines import _cli
from scnn_tf.errors import InputError
from scnn_tf.models.recipes import get_recipe

_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "Folder to write everything to.", required=True
)
_RECIPE = flags.DEFINE_list(
    "recipe",
    None,
    f"{_cli.RECIPE_HELP} With --datasets: a recipe of three networks, one of one network, or both, "
    "separated by a comma. Default: small_paper,small, or the recipe of --experiment.",
)
_WEIGHTS = flags.DEFINE_string(
    "weights",
    None,
    "File of the weights that training starts from, as for convert_weights. Default: random "
    "weights, which the paper's recipes cannot train from.",
)
_MEAN = flags.DEFINE_string(
    "mean",
    None,
    "File of the mean volume that belongs to --weights, .binaryproto. Default: one mean colour.",
)

_DATASETS = flags.DEFINE_list("datasets", None, "Folders of datasets, separated by commas.")
_VARIANTS = flags.DEFINE_list(
    "variants",
    [],
    "With --datasets: names of variants, separated by commas, such as 'both,both without overlap'. "
    "Default: all.",
)
_SEEDS = flags.DEFINE_list(
    "seeds", ["0"], "With --datasets: random seeds, one run each, separated by commas."
)
_ALPHAS = flags.DEFINE_list(
    "alphas",
    [],
    "With --datasets: values of α of further variants ('both with alpha 0.5'), such as .5,1. "
    "Default: only the recipe's.",
)
_TIOU = flags.DEFINE_list(
    "tiou", [".3", ".5", ".7"], "With --datasets: tIoU thresholds of the mAP, separated by commas."
)
_PROTOCOL = flags.DEFINE_enum(
    "protocol",
    "thumos14",
    ["thumos14", "activitynet"],
    "With --datasets: protocol of the evaluation.",
)

_EXPERIMENT = flags.DEFINE_enum(
    "experiment", None, ["thumos14", "mexaction2"], "Experiment of the paper, by its dataset."
)
_VIDEO_DIR = flags.DEFINE_string(
    "video_dir", None, "With --experiment: folder that contains all videos, at any depth."
)
_ANNOTATIONS_DIR = flags.DEFINE_string(
    "annotations_dir",
    None,
    "With --experiment: folder that contains the dataset's text. Default: --video_dir.",
)
_ALLOW_MISSING = flags.DEFINE_bool(
    "allow_missing",
    False,
    "With --experiment: runs with the videos that are present if others are missing.",
)
_ESTIMATE_ONLY = flags.DEFINE_bool(
    "estimate_only", False, "With --experiment: stops after the estimate of time and space."
)


def main(argv: list[str]) -> None:
    """Runs the ablation or the experiment and prints its tables."""
    del argv
    if (_DATASETS.value is None) == (_EXPERIMENT.value is None):
        received = "neither" if _DATASETS.value is None else "both"
        raise InputError(f"expected either --datasets or --experiment. Received: {received}")
    foreign, mode = (
        ((_VARIANTS, _SEEDS, _ALPHAS, _TIOU, _PROTOCOL), "--datasets")
        if _EXPERIMENT.value
        else ((_VIDEO_DIR, _ANNOTATIONS_DIR, _ALLOW_MISSING, _ESTIMATE_ONLY), "--experiment")
    )
    for flag in foreign:
        if flag.present:
            raise InputError(f"--{flag.name} requires {mode}")
    if _EXPERIMENT.value:
        _reproduce()
    else:
        _ablate()


def _ablate() -> None:
    from scnn_tf.experiments import ablation
    from scnn_tf.io.files import write_text
    from scnn_tf.report import figures
    from scnn_tf.training.pretrained import convert_weights

    output_dir = Path(_OUTPUT_DIR.value)
    recipes = [get_recipe(recipe) for recipe in _RECIPE.value or ("small_paper", "small")]
    arguments = {
        "seeds": _cli.numbers("seeds", _SEEDS.value, int),
        "alphas": _cli.numbers("alphas", _ALPHAS.value),
        "tiou_thresholds": _cli.numbers("tiou", _TIOU.value),
    }
    start_from = None
    if _WEIGHTS.value:
        start_from = output_dir / "pretrained"
        convert_weights(input_path=_WEIGHTS.value, output_dir=start_from, mean_path=_MEAN.value)
    summary = ablation.run(
        _DATASETS.value,
        output_dir=output_dir,
        recipes=recipes,
        names=_VARIANTS.value,
        protocol=_PROTOCOL.value,
        start_from=start_from,
        **arguments,
    )
    if summary["top_k"]:
        figures.save(figures.top_k_curves(summary), output_dir / "top_k.png")
    if summary["differences"]:
        figures.save(figures.differences(summary), output_dir / "differences.png")
    table = ablation.format_table(summary)
    write_text(output_dir / "ablation.md", table)
    print(table, end="")


def _reproduce() -> None:
    from scnn_tf.experiments import reproduction

    if not _VIDEO_DIR.value:
        raise InputError("--experiment requires --video_dir")
    results = reproduction.run(
        _EXPERIMENT.value,
        video_dir=_VIDEO_DIR.value,
        output_dir=_OUTPUT_DIR.value,
        recipe=get_recipe(",".join(_RECIPE.value or [_EXPERIMENT.value])),
        annotations_dir=_ANNOTATIONS_DIR.value,
        weights=_WEIGHTS.value,
        mean=_MEAN.value,
        allow_missing=_ALLOW_MISSING.value,
        estimate_only=_ESTIMATE_ONLY.value,
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
