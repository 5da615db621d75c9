r"""Evaluates detections: AP of each class and mAP, and a diagnosis of the errors.

    python -m pipelines.evaluate --annotations=annotations.json --subset=test \
        --detections=detections.json --tiou=.3,.5,.7 --output_json=results.json

Reads annotations and either detections of any system, or the raw segments that `localize` writes.
Raw segments are post-processed for each threshold, with NMS at that threshold minus .1, as in the
paper. Prints a table, and writes the same as JSON with --output_json. Published files are evaluated
as they are: a detection that ends before it starts, or has no score, is false; an instance without
a length counts, and cannot be found. The paper's Table 2, from the authors' raw scores:

    python -m pipelines.evaluate --annotations=temporal_annotations_test --subset=test \
        --segments=c3d_localization_raw_segments.csv.gz --window_prior=window_prior.csv

Points in time (a goal, a touch) are evaluated by tolerance instead of tIoU, with average-mAP, like
SoccerNet's spotting; the point of an instance, and of a detection, is the middle of its interval:

    python -m pipelines.evaluate --annotations=annotations.json --subset=test \
        --detections=detections.json --tolerance=1,2,5

At a tolerance of 2 s, a detection may be 1 s early or late, as in SoccerNet's own figures, whose
tolerances are --tolerance=tight and --tolerance=loose. AP is interpolated at 11 recalls.

Labels that overlap, like those of MultiTHUMOS or Charades, are evaluated frame by frame too: at so
many times a second, which classes are on, by the highest score that a detection gives a class:

    python -m pipelines.evaluate --annotations=annotations.json --subset=test \
        --detections=detections.json --per_frame=10

--diagnose adds what DETAD (Alwassel et al., ECCV 2018) asks: the types of errors, what they cost,
and which instances are missed. It is printed, added to the JSON, and drawn with --figure:

    python -m pipelines.evaluate --annotations=annotations.json --subset=test \
        --detections=detections.json --diagnose --tiou=.5 --figure=diagnosis.svg

A detection has the first type that fits: true positive; double detection (another detection has
found the instance); wrong label (right time, other class); localization (right class, tIoU from .1
to the threshold); confusion (other class, tIoU from .1 to the threshold); background. The profile
has their shares among the best G detections of every class, G being its number of instances, among
the next G, and so on to 10G.

The gain in mAP if errors of a type were `removed` leaves these detections out. For `fixed`, a
wrong time or label becomes that of the instance, if no other detection has found it, with the same
score; missed instances do not count. mAP_N is mAP with precision as if each class had the mean
number of instances, so that buckets of different sizes can be compared. With several thresholds,
gains and buckets are means over them; the figure shows the profile of the first.
"""

import json

from absl import flags

from pipelines import _cli
from scnn_tf.datasets.annotations import VideoAnnotation
from scnn_tf.datasets.formats import read_annotations
from scnn_tf.errors import InputError
from scnn_tf.evaluation.diagnosis import BUCKETS, Diagnosis, diagnose
from scnn_tf.evaluation.evaluate import Evaluation, evaluate, evaluate_segments
from scnn_tf.evaluation.per_frame import evaluate_frames
from scnn_tf.evaluation.protocols import PROTOCOLS
from scnn_tf.evaluation.spotting import TOLERANCES, SpotEvaluation, evaluate_spots
from scnn_tf.io.files import write_text
from scnn_tf.localization.formats import find_class_list, read_detections, read_segments
from scnn_tf.localization.tables import Detections
from scnn_tf.segments.prior import read_prior

_ANNOTATIONS = flags.DEFINE_string(
    "annotations", None, "Ground truth: JSON of a data set, or a folder of text.", required=True
)
_SUBSET = flags.DEFINE_string("subset", "test", "Subset to evaluate, in any case.")
_PROTOCOL = flags.DEFINE_enum(
    "protocol", "thumos14", list(PROTOCOLS), "Protocol that decides which detections are true."
)
_DETECTIONS = flags.DEFINE_string("detections", None, _cli.DETECTIONS_HELP)
_CLASS_LIST = flags.DEFINE_string("class_list", None, _cli.CLASS_LIST_HELP)
_SEGMENTS = flags.DEFINE_string(
    "segments", None, "Raw scored segments (.csv, .csv.gz), instead of detections."
)
_WINDOW_PRIOR = flags.DEFINE_string(
    "window_prior", None, "Window-length prior (.csv) to multiply the scores of segments with."
)
_TEXT_ROUNDING = flags.DEFINE_boolean(
    "text_rounding",
    True,
    "Whether to round segments like the challenge's text files, times to %.1f, scores to %.5g. "
    "The paper's figures need it; --notext_rounding keeps all digits.",
)
_TIOU = flags.DEFINE_list(
    "tiou",
    None,
    "tIoU thresholds, separated by commas. Default: .1,.2,.3,.4,.5; with --diagnose .5.",
)
_TOLERANCE = flags.DEFINE_list(
    "tolerance",
    None,
    "Tolerances in seconds, separated by commas, to evaluate points by, instead of intervals by "
    "tIoU; a point may be half of it early or late. tight: 1,2,3,4,5. loose: 5,10,…,60.",
)
_PER_FRAME = flags.DEFINE_float(
    "per_frame",
    None,
    "Times a second at which to evaluate which classes are on, instead of intervals by tIoU.",
)
_STRICT = flags.DEFINE_boolean(
    "strict",
    False,
    "Whether to refuse annotations and detections with rows that have no length, start before 0 or "
    "have no score. Default: such a detection is false, and such an instance counts; a warning "
    "gives their number.",
)
_DIAGNOSE = flags.DEFINE_boolean("diagnose", False, "Whether to diagnose the errors as well.")
_BUCKETS = flags.DEFINE_enum(
    "buckets",
    None,
    list(BUCKETS),
    "Bounds of the buckets XS to XL of a diagnosis: those for THUMOS'14 or ActivityNet, or fifths "
    "of the instances at hand. Default: the protocol's.",
)
_FIGURE = flags.DEFINE_string("figure", None, "Figure of the diagnosis to write, .png or .svg.")
_OUTPUT_JSON = flags.DEFINE_string("output_json", None, "File to write all figures to, as JSON.")


def main(argv: list[str]) -> None:
    """Evaluates, prints the tables, and writes what was asked for."""
    del argv
    if (_DETECTIONS.value is None) == (_SEGMENTS.value is None):
        raise InputError("expected either --detections or --segments")
    if not _DIAGNOSE.value and (_FIGURE.value or _BUCKETS.value):
        raise InputError("--figure and --buckets belong to a diagnosis; add --diagnose")
    default = [".5"] if _DIAGNOSE.value else [".1", ".2", ".3", ".4", ".5"]
    thresholds = _cli.numbers("tiou", default if _TIOU.value is None else _TIOU.value)
    if _TOLERANCE.value is not None:
        outcome = _of_points()
    elif _PER_FRAME.value is not None:
        _check_alone(_PER_FRAME, "times")
        outcome = evaluate_frames(_ground_truth(), _detections(), rate=_PER_FRAME.value)
    elif _SEGMENTS.value is not None:
        outcome = _of_segments(thresholds)
    else:
        outcome = _of_detections(thresholds)
    if isinstance(outcome, Diagnosis):
        print(outcome.evaluation.table(), end="\n\n")
    print(outcome.table())
    if _OUTPUT_JSON.value:
        write_text(_OUTPUT_JSON.value, json.dumps(outcome.to_json(), indent=1) + "\n")
    if _FIGURE.value:
        from scnn_tf.report import figures  # Loads matplotlib.

        figures.save(figures.diagnosis_panels(outcome), _FIGURE.value)


def _ground_truth() -> dict[str, VideoAnnotation]:
    return read_annotations(_ANNOTATIONS.value, _SUBSET.value, strict=_STRICT.value)


def _detections() -> Detections:
    class_list = find_class_list(_CLASS_LIST.value, _DETECTIONS.value, _ANNOTATIONS.value)
    return read_detections(_DETECTIONS.value, class_list, strict=_STRICT.value)


def _of_points() -> SpotEvaluation:
    _check_alone(_TOLERANCE, "points")
    named = TOLERANCES.get(",".join(_TOLERANCE.value))
    tolerances = named or _cli.numbers("tolerance", _TOLERANCE.value)
    return evaluate_spots(_ground_truth(), _detections(), tolerances=tolerances)


def _check_alone(flag: flags.FlagHolder, what: str) -> None:
    """Raises an `InputError` if a flag is given with one that does not belong to it."""
    others = (_TIOU, _TOLERANCE, _PER_FRAME, _PROTOCOL, _SEGMENTS, _WINDOW_PRIOR, _DIAGNOSE)
    if given := [f"--{each.name}" for each in others if each.present and each is not flag]:
        raise InputError(
            f"--{flag.name} evaluates the {what} of --detections by rules of its own. "
            f"Received: {', '.join(given)} as well; leave out one or the other"
        )


def _of_detections(thresholds: list[float]) -> Evaluation | Diagnosis:
    if _WINDOW_PRIOR.value:
        raise InputError("--window_prior needs --segments, since detections have no window length")
    ground_truth, detections = _ground_truth(), _detections()
    options = {"tiou_thresholds": thresholds, "protocol": _PROTOCOL.value}
    if _DIAGNOSE.value:
        return diagnose(ground_truth, detections, buckets=_BUCKETS.value, **options)
    return evaluate(ground_truth, detections, **options)


def _of_segments(thresholds: list[float]) -> Evaluation:
    if _DIAGNOSE.value:
        raise InputError("--diagnose needs --detections, since NMS of segments depends on --tiou")
    return evaluate_segments(
        _ground_truth(),
        read_segments(_SEGMENTS.value),
        prior=read_prior(_WINDOW_PRIOR.value) if _WINDOW_PRIOR.value else None,
        tiou_thresholds=thresholds,
        protocol=_PROTOCOL.value,
        text_rounding=_TEXT_ROUNDING.value,
    )


def run() -> None:
    """Entry point of the console script."""
    _cli.run(main)


if __name__ == "__main__":
    run()
