r"""Builds a dataset: annotated videos in, TFRecord shards of sampled segments or stretches out.

    python -m pipelines.build_tfrecords --annotations=annotations.json --video_dir=videos \
        --subset=train --recipe=small --output_dir=shards

Reads the project's JSON (ActivityNet's form), a folder of THUMOS'14 or MEXaction2 text, or a
folder of trimmed clips, and the videos. Writes shards, `manifest.json` and `window_prior.csv` to
the output folder. The recipe holds the frame size and what counts as positive and as background;
`train` takes the same recipe. Interrupted, the same command resumes, and ends with the same bytes;
a video whose file has changed since is cut again. One process at a time works in a folder. A video
that cannot be used, or on which a decoder crashes or hangs, is left out; `failures.jsonl` and the
end of the output say why.
"""

from absl import flags

from pipelines import _cli
from scnn_tf.datasets.annotations import in_subset
from scnn_tf.datasets.formats import read_annotations
from scnn_tf.datasets.subsets import DEFAULT_SOURCE_PATTERN
from scnn_tf.errors import InputError
from scnn_tf.models.recipes import get_recipe

_ANNOTATIONS = flags.DEFINE_string(
    "annotations", None, "JSON file or folder of annotations.", required=True
)
_VIDEO_DIR = flags.DEFINE_string("video_dir", None, "Folder of the videos.")
_FEATURE_DIR = flags.DEFINE_string(
    "feature_dir",
    None,
    "Folder of features of the videos, instead of --video_dir: <video id>.npy, .npz or .h5, an "
    "array (time, size) each; with --recipe=features.",
)
_FEATURE_SECONDS = flags.DEFINE_float(
    "feature_seconds",
    None,
    "Time from a feature vector to the next, in seconds: stride / frame rate of the features.",
    1e-3,
    3600,
)
_SUBSET = flags.DEFINE_string("subset", "train", "Subset of the annotations to build.")
_VALIDATION_SHARE = flags.DEFINE_float(
    "validation_share",
    0.0,
    "Fraction of the videos that is left out, for train to validate on: whole people, places or "
    "other sources, drawn by --seed. Default: none.",
    0.0,
    0.9,
)
_SOURCE_PATTERN = flags.DEFINE_string(
    "source_pattern",
    DEFAULT_SOURCE_PATTERN,
    "Regular expression that finds the person or place in a video's id, as its first group; for "
    "--validation_share.",
)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Folder of the dataset.", required=True)
_RECIPE = flags.DEFINE_string("recipe", "small", _cli.RECIPE_HELP)
_FRAME_RATE = flags.DEFINE_float(
    "frame_rate", 25.0, "Rate to which all video is resampled, in frames per second.", 1.0, 1000
)
_NUM_SHARDS = flags.DEFINE_integer(
    "num_shards", 4, "Number of files that the segments are spread over.", 1, 99_999
)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the choice of background segments.", 0, 2**31)
_NAME = flags.DEFINE_string("dataset_name", "", "Free text that every record holds.")
_RUNNER = _cli.RunnerFlags(0, "Number of worker processes on this machine; 0: one for each core.")
_VIDEO_TIMEOUT = flags.DEFINE_float(
    "video_timeout_s", 3600.0, "Seconds that one video may take; 0: no limit.", 0.0
)
_RETRY_FAILED = flags.DEFINE_bool(
    "retry_failed", False, "Whether to try videos again that could not be used before."
)
_MAX_FAILURE_FRACTION = flags.DEFINE_float(
    "max_failure_fraction", 0.1, "Largest fraction of the videos that may be left out.", 0.0, 1.0
)
_WORK_DIR = flags.DEFINE_string(
    "work_dir",
    None,
    "Folder for unfinished work, as large as the dataset; default: in --output_dir. Where that is "
    "a URL, a folder of this machine saves sending everything twice.",
)


def main(argv: list[str]) -> None:
    """Builds the dataset and prints what is in it."""
    from scnn_tf.shards.build import build_shards

    if (_VIDEO_DIR.value is None) == (_FEATURE_DIR.value is None):
        raise InputError("give either --video_dir, to cut videos, or --feature_dir")
    recipe = get_recipe(_RECIPE.value)
    if recipe.takes_features != (_FEATURE_DIR.value is not None):
        needed = "--feature_dir" if recipe.takes_features else "--video_dir"
        raise InputError(f"--recipe={_RECIPE.value} requires {needed}")
    annotations = read_annotations(_ANNOTATIONS.value)
    try:
        in_subset(annotations, _SUBSET.value)
    except InputError as error:
        raise InputError(f"{_ANNOTATIONS.value}: {error}") from error
    manifest = build_shards(
        annotations,
        video_dir=_VIDEO_DIR.value or _FEATURE_DIR.value,
        output_dir=_OUTPUT_DIR.value,
        recipe=recipe,
        subset=_SUBSET.value,
        validation_share=_VALIDATION_SHARE.value,
        source_pattern=_SOURCE_PATTERN.value,
        frame_rate=_FRAME_RATE.value,
        feature_seconds=_FEATURE_SECONDS.value,
        num_shards=_NUM_SHARDS.value,
        seed=_SEED.value,
        dataset_name=_NAME.value,
        runner=_RUNNER.runner(_VIDEO_TIMEOUT.value),
        work_dir=_WORK_DIR.value,
        retry_failed=_RETRY_FAILED.value,
        max_failure_fraction=_MAX_FAILURE_FRACTION.value,
    )
    for name, count in zip(
        ("background", *manifest.class_names), manifest.label_counts, strict=True
    ):
        print(f"{count:8d} {name}")
    kind = "segments" if manifest.recipe.stretch_windows == 1 else "stretches"
    print(
        f"{sum(manifest.label_counts)} {kind} of {manifest.num_videos} videos in "
        f"{len(manifest.shards)} shards → {_OUTPUT_DIR.value}"
    )
    if manifest.held_out:
        print(f"left out for validation: {', '.join(manifest.held_out)}")
    _cli.report_failures(manifest.failures)


def run() -> None:
    """Entry point of the console script."""
    _cli.run(main)


if __name__ == "__main__":
    run()
