r"""Draws the paper's figures from result files.

    python -m pipelines.plot --figure=3 --alpha=.25 --output=loss.svg
    python -m pipelines.plot --figure=4 --input=ours.json,theirs.json --tiou=.5 --output=ap.svg
    python -m pipelines.plot --figure=5 --input=detections.json --ground_truth=annotations.json \
        --video_id=kitchen_01 --video=kitchen_01.mp4 --output=timeline.png
    python -m pipelines.plot --figure=7 --input=ablation.json --output=top_k.svg

3: the overlap loss against the score; reads nothing. 4: AP of each class; reads what
`evaluate --output_json` wrote, files side by side. 5: the detections of a video, right and wrong,
against its instances; reads detections and annotations and, for key frames, the video. 6: the same
around one instance (`--instance=2`). 7: mAP against κ; reads what `ablate` wrote. Writes PNG or
SVG.
"""

from pathlib import Path

from absl import flags

from pipelines import _cli
from scnn_tf.errors import InputError

_FIGURE = flags.DEFINE_enum(
    "figure", None, ["3", "4", "5", "6", "7"], "Its number in the paper.", required=True
)
_OUTPUT = flags.DEFINE_string("output", None, "File to write, .png or .svg.", required=True)
_INPUT = flags.DEFINE_list("input", [], "4, 5, 6, 7: the result file; 4: or several.")
_NAMES = flags.DEFINE_list(
    "names", [], "4: what to call the files. Default: their names without extension."
)
_TIOU = flags.DEFINE_float("tiou", 0.5, "4, 5, 6: the threshold of tIoU.")
_ALPHA = flags.DEFINE_float("alpha", 0.25, "3: α.")
_OVERLAPS = flags.DEFINE_list("overlaps", ".5,.6,.7,.8,.9,1", "3: v, a curve each.")
_GROUND_TRUTH = flags.DEFINE_string("ground_truth", None, "5, 6: as of evaluate.")
_VIDEO_ID = flags.DEFINE_string("video_id", None, "5, 6: which video of the ground truth.")
_VIDEO = flags.DEFINE_string("video", None, "5, 6: the video's file, for key frames.")
_INSTANCE = flags.DEFINE_integer("instance", 1, "6: which of the video's, counted from 1.")


def main(argv: list[str]) -> None:
    """Draws the figure."""
    from scnn_tf.report import figures

    number = _FIGURE.value
    if number == "3":
        try:
            overlaps = [float(value) for value in _OVERLAPS.value]
        except ValueError:
            raise InputError(
                f"--overlaps takes numbers. Received: {','.join(_OVERLAPS.value)}"
            ) from None
        figure = figures.loss_curves(overlaps, _ALPHA.value)
    elif number == "4":
        names = _NAMES.value or [Path(path).stem for path in _INPUT.value]
        if not names or len(set(names)) != len(_INPUT.value):
            raise InputError(
                "give --input=FILE,… and as many different --names, or files of different names. "
                f"Received: {len(_INPUT.value)} files, names {', '.join(names) or 'none'}"
            )
        evaluations = map(figures.read_evaluation, _INPUT.value)
        figure = figures.ap_bars(dict(zip(names, evaluations, strict=True)), _TIOU.value)
    elif number == "7":
        figure = figures.top_k_curves(figures.read_ablation(_only_input()))
    else:
        figure = _timeline(_INSTANCE.value if number == "6" else None)
    figures.save(figure, _OUTPUT.value)


def _timeline(instance: int | None):
    from scnn_tf.datasets.formats import read_annotations
    from scnn_tf.localization.formats import read_detections
    from scnn_tf.report import figures

    if not _GROUND_TRUTH.value or not _VIDEO_ID.value:
        raise InputError("figures 5 and 6 need --ground_truth and --video_id")
    detections = read_detections(_only_input())
    videos = read_annotations(_GROUND_TRUTH.value)
    if _VIDEO_ID.value not in videos:
        raise InputError(
            f"{_GROUND_TRUTH.value} has no video {_VIDEO_ID.value!r}, but {next(iter(videos))!r} "
            f"and {len(videos) - 1} more"
        )
    return figures.timeline(
        videos[_VIDEO_ID.value],
        detections,
        _TIOU.value,
        instance=instance,
        video_file=_VIDEO.value,
    )


def _only_input() -> str:
    if len(_INPUT.value) != 1:
        raise InputError(f"give one file as --input. Received: {len(_INPUT.value)}")
    return _INPUT.value[0]


def run() -> None:
    """Entry point of the console script."""
    _cli.run(main)


if __name__ == "__main__":
    run()
