r"""Visualizes results: a page of detections, first drafts of labels, and the paper's figures.

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

With --labels the detections become a first draft of labels, for people to correct in a labelling
tool, next to the ground truth of --annotations. `label_studio`, `via`, `boris`, `activitynet` and
`epic` (CSV) are one file; `elan`, `cvat`, `srt` and `vtt` are a folder with a file for each video.
Detections with a score below --score_threshold are left out; its default is the score of the
highest F.5 (precision counts twice as much as recall) at tIoU .5 on the annotated videos:

    python -m pipelines.visualize --labels=label_studio --detections=found/detections.json \
        --annotations=annotations.json --video_dir=videos --output=drafts.json
    python -m pipelines.visualize --labels=srt --detections=detections.json \
        --score_threshold=.3 --output=videos

Figures of the paper, .png or .svg: `loss` (Figure 3), the overlap loss against the score; `ap`
(Figure 4), the AP of each class in --evaluations; `top_k` (Figure 7), mAP against κ of --ablation:

    python -m pipelines.visualize --figure=loss --alpha=.25 --output=loss.svg
    python -m pipelines.visualize --figure=ap --evaluations=ours.json,theirs.json --output=ap.svg
    python -m pipelines.visualize --figure=top_k --ablation=ablation.json --output=top_k.svg
"""

from collections.abc import Mapping
from pathlib import Path

from absl import flags

from pipelines import _cli
from scnn_tf.datasets.annotations import VideoAnnotation
from scnn_tf.datasets.formats import read_annotations
from scnn_tf.datasets.video_files import videos_in
from scnn_tf.errors import InputError
from scnn_tf.evaluation.protocols import PROTOCOLS
from scnn_tf.localization.formats import find_class_list, read_detections
from scnn_tf.localization.tables import Detections
from scnn_tf.report.labels.drafts import draft_threshold, drafts_of
from scnn_tf.report.labels.write import FORMS, write_labels
from scnn_tf.training.curves import read_curves

_OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "File to write: the page, .html, with --figure an image, .png or .svg, with --labels the file "
    "or the folder of labels.",
)
_FIGURE = flags.DEFINE_enum(
    "figure", None, ["loss", "ap", "top_k"], "Figure of the paper to draw instead of a page."
)
_LABELS = flags.DEFINE_enum(
    "labels", None, list(FORMS), "Form of the labels to write instead of a page."
)
_VIDEO_URL = flags.DEFINE_string(
    "video_url",
    "",
    "Address under which Label Studio or VIA finds the files of --video_dir, such as "
    "/data/local-files/?d=videos/; paths of files are appended. Default: none.",
)
_DETECTIONS = flags.DEFINE_string("detections", None, _cli.DETECTIONS_HELP)
_CLASS_LIST = flags.DEFINE_string("class_list", None, _cli.CLASS_LIST_HELP)
_SCORE_THRESHOLD = flags.DEFINE_float(
    "score_threshold",
    None,
    "Lowest score in labels, and the one that the page starts with. Default: with --annotations, "
    "the score of the highest F.5 in labels, of the highest F1 on a page; without them, a page "
    "starts with all detections, and labels need it.",
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
    "title",
    None,
    "Title of the page (default: the name of the detections' file), or name of the model in labels "
    "(default: scnn_tf).",
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
    """Writes the page, the labels or the figure, and prints where."""
    del argv
    if not _OUTPUT.value:
        raise InputError(
            "expected --output: the page to write, with --figure an image, with --labels a file or "
            "a folder"
        )
    if _FIGURE.value:
        from scnn_tf.report import figures  # Loads matplotlib.

        figures.save(_figure(), _OUTPUT.value)
        print(f"figure → {_OUTPUT.value}")
        return
    if not _DETECTIONS.value:
        raise InputError("a page and labels need --detections")
    class_list = find_class_list(_CLASS_LIST.value, _DETECTIONS.value, _ANNOTATIONS.value)
    detections = read_detections(_DETECTIONS.value, class_list)
    ground_truth = None
    if _ANNOTATIONS.value:
        ground_truth = read_annotations(_ANNOTATIONS.value, _SUBSET.value)
    if _LABELS.value:
        _write_labels(detections, ground_truth)
    else:
        _write_page(detections, ground_truth)
        print(f"page → {_OUTPUT.value}")


def _write_labels(
    detections: Detections, ground_truth: Mapping[str, VideoAnnotation] | None
) -> None:
    threshold = _SCORE_THRESHOLD.value
    if threshold is None:
        threshold = draft_threshold(detections, ground_truth)
    drafts = drafts_of(
        detections,
        threshold,
        ground_truth=ground_truth,
        video_dir=_VIDEO_DIR.value,
        video_url=_VIDEO_URL.value,
        model=_TITLE.value or "scnn_tf",
    )
    write_labels(_OUTPUT.value, _LABELS.value, drafts)
    kept = sum(len(draft.found) for draft in drafts)
    print(
        f"{kept} of {len(detections)} detections, with a score of {threshold:.3g} or more, in "
        f"{len(drafts)} videos → {_OUTPUT.value}"
    )


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


def _write_page(detections: Detections, ground_truth: Mapping[str, VideoAnnotation] | None) -> None:
    from scnn_tf.report import figures, page

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
