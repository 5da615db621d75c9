"""Builds a data set: annotated videos in, TFRecord shards of sampled segments out.

    python -m pipelines.build_tfrecords --annotations=O/annotations.json --video_dir=O/videos \
        --subset=train --output_dir=T

Reads the project's JSON (ActivityNet's form), a folder of THUMOS'14 or MEXaction2 text, or a
folder of trimmed clips, and the videos. Writes shards, `manifest.json` and `window_prior.csv` to
the output folder. A video that cannot be used is left out, and listed in the manifest and at the
end.
"""

from absl import flags

from pipelines import cli
from scnn_tf.annotations import class_names, read_annotations

_ANNOTATIONS = flags.DEFINE_string("annotations", None, "JSON file or folder.", required=True)
_VIDEO_DIR = flags.DEFINE_string("video_dir", None, "Folder of the videos.", required=True)
_SUBSET = flags.DEFINE_string("subset", "train", "Which videos of the annotations.")
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Folder to write to.", required=True)
_FPS = flags.DEFINE_float("fps", 25.0, "Frame rate that all video is resampled to.", 1.0, 1000)
_HEIGHT = flags.DEFINE_integer("frame_height", 128, "Of the stored frames, pixels.", 16)
_WIDTH = flags.DEFINE_integer("frame_width", 171, "Of the stored frames, pixels.", 16)
_BACKGROUND_RATIO = flags.DEFINE_float(
    "background_ratio", 1.0, "Background segments kept for each segment of an action.", 0.0
)
_POSITIVE_TIOU = flags.DEFINE_float(
    "positive_tiou", 0.7, "Segments with more tIoU with an instance are positive.", 0.0, 1.0
)
_BACKGROUND_TIOU = flags.DEFINE_float(
    "background_tiou", 0.3, "Segments with less tIoU with every instance are background.", 0.0, 0.7
)
_NUM_SHARDS = flags.DEFINE_integer("num_shards", 4, "Files to spread the segments over.", 1)
_SEED = flags.DEFINE_integer("seed", 0, "Of the choice of background.", 0)
_NAME = flags.DEFINE_string("dataset_name", "", "Kept in every record.")
_MAX_FAILURES = flags.DEFINE_integer(
    "max_failures", 0, "Exit code 1 if more videos than that could not be used.", 0
)


def main(argv: list[str]) -> int:
    """Builds the data set and says what is in it."""
    from scnn_tf.dataset_builder import BuildRecipe, build

    videos = read_annotations(_ANNOTATIONS.value, _SUBSET.value)
    names = class_names(read_annotations(_ANNOTATIONS.value).values())
    manifest = build(
        videos,
        names,
        _VIDEO_DIR.value,
        _OUTPUT_DIR.value,
        BuildRecipe(
            frame_rate=_FPS.value,
            height=_HEIGHT.value,
            width=_WIDTH.value,
            background_ratio=_BACKGROUND_RATIO.value,
            positive_tiou=_POSITIVE_TIOU.value,
            background_tiou=_BACKGROUND_TIOU.value,
            num_shards=_NUM_SHARDS.value,
            seed=_SEED.value,
            dataset_name=_NAME.value,
        ),
    )
    for name, count in zip(("background", *names), manifest.label_counts, strict=True):
        print(f"{count:8d} {name}")
    print(
        f"{sum(manifest.label_counts)} segments of {len(videos) - len(manifest.failures)} videos "
        f"in {len(manifest.shards)} shards → {_OUTPUT_DIR.value}"
    )
    return cli.report_failures(manifest.failures, _MAX_FAILURES.value)


def run() -> None:
    """Entry point of the console script."""
    cli.run(main)


if __name__ == "__main__":
    run()
