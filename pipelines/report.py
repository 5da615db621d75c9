r"""Shows detections: one HTML page that opens from disk, and subtitles.

    python -m pipelines.report --detections=detections.json --videos=videos --output=report.html
    python -m pipelines.report --detections=detections.json --ground_truth=annotations.json \
        --subset=test --videos=videos --evaluations=map.json --model_dir=model --output=report.html
    python -m pipelines.report --detections=detections.json --subtitles=found --score_threshold=.3

The page has for each video a player (where browsers play the file; else key frames) above a
timeline of what was found and, with --ground_truth, of what happens: there each detection is right,
a duplicate, of poor overlap, of a wrong class or background, at any of --tiou. It needs no network;
videos stay where they are, and the page refers to them by their place beside it, unless
--embed_videos puts them into it. Below are AP of each class, mAP and precision against recall (what
`evaluate --output_json` wrote, or the page's own detections evaluated), training curves
(--model_dir, as `train` writes it) and the top-κ curves (--ablation, what `ablate` wrote).

--subtitles names a folder, which gets a file for each video: `my_video.srt` beside `my_video.mp4`
is what players look for.
"""

from pathlib import Path

from absl import flags

from pipelines import _cli
from scnn_tf.errors import InputError
from scnn_tf.evaluation import protocols

_DETECTIONS = flags.DEFINE_string(
    "detections", None, "As of evaluate: .json, .csv or .txt; also .gz.", required=True
)
_CLASS_LIST = flags.DEFINE_string("class_list", None, "As of evaluate, for THUMOS text.")
_OUTPUT = flags.DEFINE_string("output", None, "The page to write, .html.")
_SUBTITLES = flags.DEFINE_string("subtitles", None, "Folder to write subtitles to.")
_SUBTITLES_FORM = flags.DEFINE_enum(
    "subtitles_form", "srt", ["srt", "vtt", "csv"], "SubRip, WebVTT, or a table of each video."
)
_SCORE_THRESHOLD = flags.DEFINE_float(
    "score_threshold",
    None,
    "Subtitles have no detection with less; the page begins there, and shows others if asked to "
    "(default: all; with ground truth the page begins where F1 is highest).",
)
_GROUND_TRUTH = flags.DEFINE_string("ground_truth", None, "As of evaluate.")
_SUBSET = flags.DEFINE_string(
    "subset", None, "Only these of its videos (default: all; what was not searched is missed)."
)
_VIDEOS = flags.DEFINE_string("videos", None, "Folder of the videos.")
_EMBED_VIDEOS = flags.DEFINE_bool("embed_videos", False, "Put the videos into the page.")
_EVALUATIONS = flags.DEFINE_list("evaluations", [], "What evaluate --output_json wrote.")
_NAMES = flags.DEFINE_list(
    "names", [], "What to call these files. Default: their names without extension."
)
_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Folder of the trained stages.")
_ABLATION = flags.DEFINE_string("ablation", None, "What ablate wrote.")
_TITLE = flags.DEFINE_string("title", None, "Of the page. Default: the detections' file.")
_TIOU = flags.DEFINE_list(
    "tiou", [f"{n / 10:g}" for n in range(1, 8)], "Thresholds of tIoU to choose from."
)
_PROTOCOL = flags.DEFINE_enum(
    "protocol", "thumos14", protocols.PROTOCOLS, "Whose rules decide what is right."
)


def main(argv: list[str]) -> None:
    """Writes the page or the subtitles and says where."""
    from scnn_tf.localization.formats import read_class_list, read_detections
    from scnn_tf.report.subtitles import write_subtitles

    if not _OUTPUT.value and not _SUBTITLES.value:
        raise InputError("give --output, a page to write, or --subtitles, a folder for them")
    class_list = read_class_list(_CLASS_LIST.value) if _CLASS_LIST.value else None
    detections = read_detections(_DETECTIONS.value, class_list)
    if _SUBTITLES.value:
        threshold = float("-inf") if _SCORE_THRESHOLD.value is None else _SCORE_THRESHOLD.value
        paths = write_subtitles(_SUBTITLES.value, detections, _SUBTITLES_FORM.value, threshold)
        print(f"subtitles of {len(paths)} videos → {_SUBTITLES.value}")
    if _OUTPUT.value:
        _write_page(detections)
        print(f"report → {_OUTPUT.value}")


def _write_page(detections) -> None:
    from scnn_tf.datasets.formats import read_annotations
    from scnn_tf.datasets.video_files import videos_in
    from scnn_tf.report import figures
    from scnn_tf.report.page import write_report
    from scnn_tf.training.curves import read_curves

    try:
        thresholds = [float(value) for value in _TIOU.value]
    except ValueError:
        raise InputError(f"--tiou={','.join(_TIOU.value)}: expected numbers") from None
    names = _NAMES.value or [Path(path).stem for path in _EVALUATIONS.value]
    if len(set(names)) != len(_EVALUATIONS.value):
        raise InputError(
            "give as many different --names as --evaluations, or files of different names. "
            f"Received: {len(_EVALUATIONS.value)} files, names {', '.join(names) or 'none'}"
        )
    ground_truth = None
    if _GROUND_TRUTH.value:
        ground_truth = read_annotations(_GROUND_TRUTH.value, _SUBSET.value)
    write_report(
        _OUTPUT.value,
        detections,
        ground_truth,
        videos_in(_VIDEOS.value, ground_truth) if _VIDEOS.value else None,
        dict(zip(names, map(figures.read_evaluation, _EVALUATIONS.value), strict=True)),
        read_curves(_MODEL_DIR.value) if _MODEL_DIR.value else None,
        figures.read_ablation(_ABLATION.value) if _ABLATION.value else None,
        title=_TITLE.value or Path(_DETECTIONS.value).name,
        tiou_thresholds=thresholds,
        protocol=_PROTOCOL.value,
        score_threshold=_SCORE_THRESHOLD.value,
        embed_videos=_EMBED_VIDEOS.value,
    )


def run() -> None:
    """Entry point of the console script."""
    _cli.run(main)


if __name__ == "__main__":
    run()
