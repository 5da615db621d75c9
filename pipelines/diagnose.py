r"""Tells what is wrong with detections: which errors, what they cost, where instances are missed.

After DETAD (Alwassel et al., ECCV 2018). Reads what `evaluate` reads, of any system: ground truth,
and detections in any of the forms. Prints tables; writes the same as JSON, and as a figure, if
asked to.

    python -m pipelines.diagnose --ground_truth=annotations.json --subset=test \
        --detections=detections.json --tiou=.5 --output_json=diagnosis.json --figure=diagnosis.svg

Kinds of detections, the first that fits: true positive; double detection (another one has its
instance); wrong label (right time, other class); localization (right class, tIoU from .1 to the
threshold); confusion (both wrong, tIoU .1 or more); background. Their shares are told for the best
G detections of every class, G being its number of instances, for the next G, and so on to 10G.

Gains in mAP: `removed` leaves the detections of a kind out. `fixed` puts them right, scores
unchanged: a wrong time or label becomes that of the instance, if nothing else has found it, and
missed instances do not count. mAP_N is mAP with precision as if each class had the mean number of
instances, so that buckets of different sizes can be compared. With several thresholds, gains and
buckets are means over them; the figure shows the profile of the first.
"""

import json

from absl import flags

from pipelines import _cli
from scnn_tf.datasets.formats import read_annotations
from scnn_tf.errors import InputError
from scnn_tf.evaluation import diagnosis, protocols
from scnn_tf.io.files import write_text
from scnn_tf.localization import formats

_GROUND_TRUTH = flags.DEFINE_string(
    "ground_truth", None, "ActivityNet JSON, or a folder of THUMOS'14 text.", required=True
)
_SUBSET = flags.DEFINE_string("subset", "test", "Videos to score; the case does not matter.")
_PROTOCOL = flags.DEFINE_enum(
    "protocol", "thumos14", protocols.PROTOCOLS, "Whose rules decide what is true."
)
_DETECTIONS = flags.DEFINE_string(
    "detections",
    None,
    "ActivityNet results (.json), .csv or THUMOS text (.txt); also .gz.",
    required=True,
)
_CLASS_LIST = flags.DEFINE_string(
    "class_list", None, "Lines of `id name`, for detections in THUMOS text; default as of evaluate."
)
_TIOU = flags.DEFINE_list("tiou", [".5"], "Thresholds of tIoU.")
_BUCKETS = flags.DEFINE_enum(
    "buckets",
    None,
    list(diagnosis.BUCKETS),
    "Bounds of XS to XL: DETAD's for THUMOS'14 or ActivityNet (default: the protocol's), or "
    "fifths of the instances at hand.",
)
_OUTPUT_JSON = flags.DEFINE_string("output_json", None, "Writes the figures there too.")
_FIGURE = flags.DEFINE_string("figure", None, "Draws them there, .png or .svg.")


def main(argv: list[str]) -> None:
    """Diagnoses and prints."""
    del argv
    try:
        thresholds = [float(value) for value in _TIOU.value]
    except ValueError:
        raise InputError(f"--tiou={','.join(_TIOU.value)}: expected numbers") from None
    ground_truth = read_annotations(_GROUND_TRUTH.value, _SUBSET.value)
    class_list = formats.find_class_list(_CLASS_LIST.value, _DETECTIONS.value, _GROUND_TRUTH.value)
    found = diagnosis.diagnose(
        ground_truth,
        formats.read_detections(_DETECTIONS.value, class_list),
        thresholds,
        _PROTOCOL.value,
        _BUCKETS.value,
    )
    print(found.table())
    if _OUTPUT_JSON.value:
        write_text(_OUTPUT_JSON.value, json.dumps(found.to_json(), indent=1) + "\n")
    if _FIGURE.value:
        from scnn_tf.report import diagnosis_figures, figures

        figures.save(diagnosis_figures.panels(found), _FIGURE.value)


def run() -> None:
    """Runs the binary."""
    _cli.run(main)


if __name__ == "__main__":
    run()
