r"""Scores detections against ground truth: AP of each class and mAP, under a named protocol.

Reads the ground truth and either detections, or the raw segments that `localize` writes; these
are post-processed for each threshold, with NMS at that threshold less .1 (the paper's way).
Prints a table; writes the same as JSON if asked to.

    python -m pipelines.evaluate --ground_truth=annotations.json --subset=test \
        --detections=detections.json --tiou=.3,.5,.7 --output_json=results.json

The paper's Table 2, from the authors' raw scores:

    python -m pipelines.evaluate --ground_truth=temporal_annotations_test --subset=test \
        --segments=c3d_localization_raw_segments.csv.gz --window_prior=window_prior.csv
"""

import json

from absl import flags

from pipelines import _cli
from scnn_tf.datasets.formats import read_annotations
from scnn_tf.errors import InputError
from scnn_tf.evaluation import protocols
from scnn_tf.evaluation.evaluate import evaluate, evaluate_segments
from scnn_tf.io.files import write_text
from scnn_tf.localization import formats
from scnn_tf.segments import prior

_GROUND_TRUTH = flags.DEFINE_string(
    "ground_truth", None, "ActivityNet JSON, or a folder of THUMOS'14 text.", required=True
)
_SUBSET = flags.DEFINE_string("subset", "test", "Videos to score; the case does not matter.")
_PROTOCOL = flags.DEFINE_enum(
    "protocol", "thumos14", protocols.PROTOCOLS, "Whose rules decide what is true."
)
_DETECTIONS = flags.DEFINE_string(
    "detections", None, "ActivityNet results (.json), .csv or THUMOS text (.txt); also .gz."
)
_CLASS_LIST = flags.DEFINE_string(
    "class_list",
    None,
    "Lines of `id name`, for detections in THUMOS text. Default: the detclasslist.txt beside "
    "the detections, in the folder of the ground truth, or in the one above.",
)
_SEGMENTS = flags.DEFINE_string(
    "segments", None, "Raw scored segments (.csv, .csv.gz), in place of detections."
)
_WINDOW_PRIOR = flags.DEFINE_string(
    "window_prior", None, "The window-length prior (.csv) to multiply segments' scores with."
)
_TEXT_ROUNDING = flags.DEFINE_boolean(
    "text_rounding",
    True,
    "With --segments: round as in the challenge's text files, times to %.1f, scores to %.5g. "
    "The paper's figures need it; --notext_rounding keeps all digits.",
)
_TIOU = flags.DEFINE_list("tiou", [".1", ".2", ".3", ".4", ".5"], "Thresholds of tIoU.")
_OUTPUT_JSON = flags.DEFINE_string("output_json", None, "Writes the figures there too.")


def main(argv: list[str]) -> int | None:
    """Evaluates and prints."""
    if (_DETECTIONS.value is None) == (_SEGMENTS.value is None):
        raise InputError("give either --detections or --segments")
    try:
        thresholds = [float(value) for value in _TIOU.value]
    except ValueError:
        raise InputError(f"--tiou={','.join(_TIOU.value)}: expected numbers") from None
    ground_truth = read_annotations(_GROUND_TRUTH.value, _SUBSET.value)
    if _SEGMENTS.value is not None:
        weights = prior.read_prior(_WINDOW_PRIOR.value) if _WINDOW_PRIOR.value else None
        outcome = evaluate_segments(
            ground_truth,
            formats.read_segments(_SEGMENTS.value),
            weights,
            thresholds,
            _PROTOCOL.value,
            _TEXT_ROUNDING.value,
        )
    else:
        if _WINDOW_PRIOR.value:
            raise InputError("--window_prior needs --segments: detections know no window")
        class_list = formats.find_class_list(
            _CLASS_LIST.value, _DETECTIONS.value, _GROUND_TRUTH.value
        )
        detections = formats.read_detections(_DETECTIONS.value, class_list)
        outcome = evaluate(ground_truth, detections, thresholds, _PROTOCOL.value)
    print(outcome.table())
    if _OUTPUT_JSON.value:
        write_text(_OUTPUT_JSON.value, json.dumps(outcome.to_json(), indent=1) + "\n")


def run() -> None:
    """Runs the binary."""
    _cli.run(main)


if __name__ == "__main__":
    run()
