r"""Visualizes results: a page of detections, subtitles, and the paper's figures.

A page with a player and a timeline of each video, which opens from disk without a network:

    python -m pipelines.visualize --detections=detections.json --video_dir=videos \
        --output=page.html
    python -m pipelines.visualize --detections=detections.json --annotations=annotations.json \
        --subset=test --video_dir=videos --model_dir=model --output=page.html

With --annotations the page evaluates its own detections: it shows them next to the instances and
colours them by error type (true positive, double detection, wrong label, localization, confusion,
background, ignored), at any of --tiou, with charts of AP, mAP and precision against recall. Videos
stay where they are, and the page refers to them by their relative place, unless --embed_videos
embeds them; key frames replace videos that browsers cannot play. --evaluations adds evaluations of
other systems, --model_dir training curves, --ablation the results of an ablation.

Subtitles, `my_video.srt` for `my_video.mp4`, which players find next to the video:

    python -m pipelines.visualize --detections=detections.json --subtitles=videos \
        --score_threshold=.3

Figures of the paper, .png or .svg: `loss` (Figure 3), the overlap loss against the score; `ap`
(Figure 4), the AP of each class in --evaluations; `top_k` (Figure 7), mAP against κ of --ablation:

    python -m pipelines.visualize --figure=loss --alpha=.25 --output=loss.svg
    python -m pipelines.visualize --figure=ap --evaluations=ours.json,theirs.json --output=ap.svg
    python -m pipelines.visualize --figure=top_k --ablation=ablation.json --output=top_k.svg
"""

from pathlib import Path

from absl import flags

from pipelines import _cli
from scnn_tf.datasets.formats import read_annotations
from scnn_tf.datasets.video_files import videos_in
from scnn_tf.errors import InputError
from scnn_tf.evaluation.protocols import PROTOCOLS
from scnn_tf.localization.formats import find_class_list, read_detections
from scnn_tf.localization.tables import Detections
from scnn_tf.report import subtitles
from scnn_tf.training.curves import read_curves

_OUTPUT = flags.DEFINE_string(
    "output", None, "File to write: the page, .html, or with --figure an image, .png or .svg."
)
_FIGURE = flags.DEFINE_enum(
    "figure", None, ["loss", "ap", "top_k"], "Figure of the paper to draw instead of a page."
)
_SUBTITLES = flags.DEFINE_string("subtitles", None, "Folder to write subtitles to.")
_SUBTITLES_FORM = flags.DEFINE_enum(
    "subtitles_form", "srt", list(subtitles.FORMS), "Form of the subtitles: SubRip or WebVTT."
)
_DETECTIONS = flags.DEFINE_string("detections", None, _cli.DETECTIONS_HELP)
_CLASS_LIST = flags.DEFINE_string("class_list", None, _cli.CLASS_LIST_HELP)
_SCORE_THRESHOLD = flags.DEFINE_float(
    "score_threshold",
    None,
    "Lowest score in the subtitles, and the one that the page starts with. Default: all "
    "detections; with --annotations the page starts with the score of the highest F1.",
)
_ANNOTATIONS = flags.DEFINE_string(
    "annotations", None, "Ground truth: JSON of a data set, or a folder of text."
)
_SUBSET = flags.DEFINE_string(
    "subset",
    None,
    "Subset of --annotations to show. Default: all; instances of videos without detections count "
    "as missed.",
)
_VIDEO_DIR = flags.DEFINE_string("video_dir", None, "Folder of the videos.")
_EMBED_VIDEOS = flags.DEFINE_bool(
    "embed_videos", False, "Whether to embed the videos that browsers can play in the page."
)
_EVALUATIONS = flags.DEFINE_list(
    "evaluations", [], "Files that `evaluate --output_json` wrote, separated by commas."
)
_NAMES = flags.DEFINE_list(
    "names", [], "Names of --evaluations, separated by commas. Default: the files' names."
)
_MODEL_DIR = flags.DEFINE_string(
    "model_dir", None, "Folder of the trained networks, for training curves on the page."
)
_ABLATION = flags.DEFINE_string("ablation", None, "Results of an ablation, ablation.json.")
_TITLE = flags.DEFINE_string(
    "title", None, "Title of the page. Default: the name of the detections' file."
)
_TIOU = flags.DEFINE_list(
    "tiou",
    None,
    "tIoU thresholds, separated by commas. Default: .1 to .7 for the page; .5 for --figure=ap, "
    "which takes one.",
)
_PROTOCOL = flags.DEFINE_enum(
    "protocol", "thumos14", list(PROTOCOLS), "Protocol that decides which detections are true."
)
_ALPHA = flags.DEFINE_float("alpha", 0.25, "Exponent α of the overlap loss in --figure=loss.")
_OVERLAPS = flags.DEFINE_list(
    "overlaps",
    [".5", ".6", ".7", ".8", ".9", "1"],
    "Overlaps v with a curve each in --figure=loss, separated by commas.",
)


def main(argv: list[str]) -> None:
    """Writes the page, the subtitles or the figure, and prints where."""
    del argv
    if _FIGURE.value:
        if not _OUTPUT.value:
            raise InputError("--figure needs --output, a .png or .svg file")
        from scnn_tf.report import figures  # Loads matplotlib.

        figures.save(_figure(), _OUTPUT.value)
        print(f"figure → {_OUTPUT.value}")
        return
    if not _OUTPUT.value and not _SUBTITLES.value:
        raise InputError(
            "expected --output, the page to write, --subtitles, a folder for them, or --figure"
        )
    if not _DETECTIONS.value:
        raise InputError("a page and subtitles need --detections")
    class_list = find_class_list(_CLASS_LIST.value, _DETECTIONS.value, _ANNOTATIONS.value)
    detections = read_detections(_DETECTIONS.value, class_list)
    if _SUBTITLES.value:
        threshold = float("-inf") if _SCORE_THRESHOLD.value is None else _SCORE_THRESHOLD.value
        paths = subtitles.write_subtitles(
            _SUBTITLES.value,
            detections,
            form=_SUBTITLES_FORM.value,
            score_threshold=threshold,
        )
        print(f"subtitles of {len(paths)} videos → {_SUBTITLES.value}")
    if _OUTPUT.value:
        _write_page(detections)
        print(f"page → {_OUTPUT.value}")


def _figure():
    """Returns the figure that --figure names."""
    from scnn_tf.report import figures

    if _FIGURE.value == "loss":
        return figures.loss_curves(_cli.numbers("overlaps", _OVERLAPS.value), _ALPHA.value)
    if _FIGURE.value == "top_k":
        if not _ABLATION.value:
            raise InputError("--figure=top_k needs --ablation")
        return figures.top_k_curves(figures.read_ablation(_ABLATION.value))
    thresholds = _cli.numbers("tiou", _TIOU.value or [".5"])
    if len(thresholds) > 1:
        raise InputError(f"--figure=ap: expected one --tiou. Received: {len(thresholds)}")
    if not _EVALUATIONS.value:
        raise InputError("--figure=ap needs --evaluations")
    return figures.ap_bars(_evaluations(), thresholds[0])


def _write_page(detections: Detections) -> None:
    from scnn_tf.report import figures, page

    ground_truth = None
    if _ANNOTATIONS.value:
        ground_truth = read_annotations(_ANNOTATIONS.value, _SUBSET.value)
    page.write_report(
        _OUTPUT.value,
        detections,
        ground_truth=ground_truth,
        videos=videos_in(_VIDEO_DIR.value, ground_truth) if _VIDEO_DIR.value else None,
        evaluations=_evaluations(),
        training=read_curves(_MODEL_DIR.value) if _MODEL_DIR.value else None,
        ablation=figures.read_ablation(_ABLATION.value) if _ABLATION.value else None,
        title=_TITLE.value or Path(_DETECTIONS.value).name,
        tiou_thresholds=page.TIOU if _TIOU.value is None else _cli.numbers("tiou", _TIOU.value),
        protocol=_PROTOCOL.value,
        score_threshold=_SCORE_THRESHOLD.value,
        embed_videos=_EMBED_VIDEOS.value,
    )


def _evaluations() -> dict[str, dict]:
    """Returns --evaluations by their --names."""
    from scnn_tf.report import figures

    names = _NAMES.value or [Path(path).stem for path in _EVALUATIONS.value]
    if len(set(names)) != len(_EVALUATIONS.value):
        raise InputError(
            "expected a different name for each of --evaluations; give --names. Received: "
            f"{len(_EVALUATIONS.value)} files, names {', '.join(names) or 'none'}"
        )
    return dict(zip(names, map(figures.read_evaluation, _EVALUATIONS.value), strict=True))


def run() -> None:
    """Entry point of the console script."""
    _cli.run(main)


if __name__ == "__main__":
    run()
