import pytest

from scnn_tf.datasets.annotations import Instance, VideoAnnotation
from scnn_tf.evaluation.diagnosis import diagnose
from scnn_tf.evaluation.error_types import KINDS
from scnn_tf.localization.tables import Detections
from scnn_tf.report.diagnosis_figures import panels
from scnn_tf.report.figures import save

RUN = (Instance("run", 0, 10), Instance("run", 50, 54))
# By score: true, double, localization (4/10), background.
FOUND = Detections(
    ["v"] * 4, [0, 1, 51, 80], [10, 10, 61, 90], ["run"] * 4, [0.9, 0.8, 0.7, 0.6]
)  # fmt: skip


def figure_of(duration):
    video = VideoAnnotation("v", "test", duration, None, RUN)
    return panels(diagnose({"v": video}, FOUND, [0.5]))


def heights(axes):
    return {c.get_label(): [round(p.get_height(), 4) for p in c] for c in axes.containers}


def test_panels_show_what_was_found():
    profile, gains, length, coverage, instances = figure_of(100.0).axes
    # 2 instances: the best G are true and double, the next G the other two.
    shares = heights(profile)
    assert list(shares) == list(KINDS)
    assert shares["true positive"] == shares["double detection"] == [0.5] + [0] * 9
    assert shares["background"] == [0, 0.5] + [0] * 8
    # AP is 1/2 of 2 instances; without the double it stays. [51, 61) mended: (1 + 2/3) / 2.
    names = [label.get_text() for label in gains.get_yticklabels()]
    widths = {c.get_label(): [p.get_width() for p in c] for c in gains.containers}
    fixed = dict(zip(names, widths["fixed"], strict=True))
    assert fixed["localization"] == pytest.approx(1 / 3)
    assert fixed["double detection"] == pytest.approx(0)
    assert heights(length)["mAP_N"] == [0, 0, 1, 0, 0]  # 10 s, found; 4 s: not
    assert length.get_xticklabels()[1].get_text() == "S\n3 – 6\n1"
    assert length.get_ylim() == coverage.get_ylim() == (0, 1)
    assert instances.get_xticklabels()[1].get_text() == "S\n1 – 40\n2"


def test_without_durations_there_is_no_panel_of_coverage(tmp_path):
    figure = figure_of(None)
    assert len(figure.axes) == 4
    for name in ("a.svg", "b.svg"):
        save(figure_of(None), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
