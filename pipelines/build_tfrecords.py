"""Builds a data set: annotated videos in, TFRecord shards of sampled segments out.

    python -m pipelines.build_tfrecords --annotations=O/annotations.json --video_dir=O/videos \
        --subset=train --output_dir=T

Reads the project's JSON (ActivityNet's form), a folder of THUMOS'14 or MEXaction2 text, or a
folder of trimmed clips, and the videos. Writes shards, `manifest.json` and `window_prior.csv` to
the output folder. Killed, the same command goes on where it stopped, and ends with the same bytes.
A video that cannot be used, or on which a decoder crashes or hangs, is left out; `failures.jsonl`
and the end of the output say why.
"""

from absl import flags

from pipelines import _cli
from scnn_tf.datasets.annotations import class_names
from scnn_tf.datasets.formats import read_annotations

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
_RUNNER = _cli.RunnerFlags(0, "Processes of this machine; 0: one for each core.")
_VIDEO_TIMEOUT = flags.DEFINE_float(
    "video_timeout_s", 3600.0, "Seconds that one video may take; 0: any time.", 0.0
)
_RETRY_FAILED = flags.DEFINE_bool(
    "retry_failed", False, "Try videos again that could not be used before."
)
_MAX_FAILURE_FRACTION = flags.DEFINE_float(
    "max_failure_fraction", 0.1, "Of the videos, that may be left out.", 0.0, 1.0
)
_WORK_DIR = flags.DEFINE_string(
    "work_dir",
    None,
    "Folder for what is in no shard yet, as large as the data set; by default in output_dir. Where "
    "that is a URL, one of this machine saves sending everything twice.",
)


def main(argv: list[str]) -> None:
    """Builds the data set and says what is in it."""
    from scnn_tf.shards.build import BuildRecipe, build

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
        _RUNNER.runner(_VIDEO_TIMEOUT.value),
        _WORK_DIR.value,
        _RETRY_FAILED.value,
        _MAX_FAILURE_FRACTION.value,
    )
    for name, count in zip(("background", *names), manifest.label_counts, strict=True):
        print(f"{count:8d} {name}")
    print(
        f"{sum(manifest.label_counts)} segments of {len(videos) - len(manifest.failures)} videos "
        f"in {len(manifest.shards)} shards → {_OUTPUT_DIR.value}"
    )
    _cli.report_failures(manifest.failures)


def run() -> None:
    """Entry point of the console script."""
    _cli.run(main)


if __name__ == "__main__":
    run()
