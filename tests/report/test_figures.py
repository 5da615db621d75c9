import json

import keras
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from scnn_tf.datasets.annotations import Instance, VideoAnnotation
from scnn_tf.errors import InputError
from scnn_tf.evaluation.diagnosis import diagnose
from scnn_tf.evaluation.error_types import COUNTED
from scnn_tf.localization.tables import Detections
from scnn_tf.models.losses import SegmentLoss
from scnn_tf.report import figures

CLASSES = [f"ClassNumber{n}" for n in range(20)]


def evaluation(**ap) -> dict:
    """AP at tIoU .5, as `evaluate --output_json` writes it; at .3 it is 1."""
    return {
        "protocol": "thumos14", "videos": 3, "instances": 7,
        "map": {"0.3": 1.0, "0.5": sum(ap.values()) / len(ap)},
        "ap": {name: {"0.3": 1.0, "0.5": value} for name, value in ap.items()},
    }  # fmt: skip


def texts(figure):
    """Every text that a figure shows."""
    legends = [*figure.legends, *(legend for part in figure.subfigs for legend in part.legends)]
    for axes in figure.axes:
        yield from (axes.title, axes.xaxis.label, axes.yaxis.label)
        legends += [axes.get_legend()] if axes.get_legend() else []
        for axis in (axes.xaxis, axes.yaxis) if axes.axison else ():
            low, high = sorted(axis.get_view_interval())
            for tick in axis.get_major_ticks():
                if low <= tick.get_loc() <= high and tick.label1.get_visible():
                    yield tick.label1
    for legend in legends:
        yield from legend.get_texts()


def unreadable(figure) -> list[str]:
    """The texts of a figure that cover another text or are cut off."""
    FigureCanvasAgg(figure).draw()
    boxes = []
    for text in texts(figure):
        if text.get_text():
            box = text.get_window_extent()
            if text.get_rotation() not in (0, 90):
                # Parallel lines of text: they are apart if their ends are.
                box = type(box).from_extents(box.x1 - text.get_fontsize(), box.y0, box.x1, box.y1)
            boxes.append((text.get_text(), box))
    whole = figure.bbox.padded(1)
    bad = [t for t, b in boxes if not all(whole.contains(*corner) for corner in b.corners())]
    for number, (text, box) in enumerate(boxes):
        bad += [f"{text} on {other}" for other, b in boxes[:number] if box.overlaps(b)]
    return bad


def test_loss_curves_agree_with_the_loss():
    figure = figures.loss_curves((0.7, 1.0), alpha=0.5)
    term, total = figure.axes
    points = total.lines[1::2]
    for v, line, both, least in zip((0.7, 1.0), term.lines, total.lines[::2], points, strict=True):
        score, expected = line.get_data()
        targets = np.tile(np.array([1, v], np.float32), [len(score), 1])
        logits = np.stack([np.log(1.0001 - score), np.log(score)], axis=1).astype(np.float32)
        softmax, summed = (
            keras.ops.convert_to_numpy(SegmentLoss(weight, 0.5, reduction="none")(targets, logits))
            for weight in (0.0, 1.0)
        )
        np.testing.assert_allclose(expected, summed - softmax, atol=2e-3)
        np.testing.assert_allclose(both.get_ydata(), summed, atol=2e-3)
        # The minimum is at √(v^α).
        (x,), (y,) = least.get_data()
        assert x == pytest.approx(v**0.25)
        assert y == pytest.approx(0.5 * (x**2 / v**0.5 - 1) - np.log(x))
        assert y <= both.get_ydata().min() + 1e-9
    assert [t.get_text() for t in term.get_legend().get_texts()] == ["v = 0.7", "v = 1"]
    assert not unreadable(figure)


def test_ap_bars_by_hand():
    one, two = evaluation(run=0.25, jump=0.75), evaluation(jump=0.5, run=1.0)
    figure = figures.ap_bars({"ours": one, "theirs": two}, 0.5)
    (axes,) = figure.axes
    assert [t.get_text() for t in axes.get_xticklabels()] == ["run", "jump", "mean"]
    heights = [[bar.get_height() for bar in group] for group in axes.containers]
    assert heights == [[0.25, 0.75, 0.5], [1.0, 0.5, 0.75]]
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["ours", "theirs"]
    # Each bar is at its own tick, next to the bar of the other evaluation.
    ticks = axes.get_xticks()
    for tick, left, right in zip(ticks, *axes.containers, strict=True):
        assert tick - 0.5 < left.get_x() and right.get_x() + right.get_width() < tick + 0.5
        assert left.get_x() + left.get_width() <= right.get_x()
    assert "thumos14" in axes.get_title() and "0.5" in axes.get_ylabel()
    heights = [bar.get_height() for bar in figures.ap_bars({"a": one}, 0.3).axes[0].patches]
    assert heights == [1, 1, 1]


def test_differences_by_hand():
    def difference(mean, low, high, exceeds_noise):
        return {"mean": mean, "interval": [low, high], "exceeds_noise": exceeds_noise}

    rows = {
        "shared": {
            "reference": "both",
            "map": {
                "0.5": difference(-0.1, -0.2, -0.05, True),
                "0.7": difference(0.0, -0.1, 0.1, False),
            },
        },
        "both without $": {
            "reference": "both",
            "map": {
                "0.5": difference(0.1, -0.1, 0.2, False),
                "0.7": difference(0.2, 0.1, 0.3, True),
            },
        },
    }
    figure = figures.differences({"differences": rows})
    half, rest = figure.axes
    assert [half.get_title(), rest.get_title()] == ["tIoU 0.5", "tIoU 0.7"]
    names = [label.get_text() for label in half.get_yticklabels()]
    assert names == ["shared − both", r"both without \$ − both"]
    places = half.get_yticks()
    assert places[0] > places[1]  # The first row is on top.
    zero, *lines = half.lines
    assert set(zero.get_xdata()) == {0}
    for line, point, place, row in zip(lines[::2], lines[1::2], places, rows.values(), strict=True):
        each = row["map"]["0.5"]
        assert list(line.get_xdata()) == each["interval"] and set(line.get_ydata()) == {place}
        assert list(point.get_xydata()[0]) == [each["mean"], place]
        assert (point.get_markerfacecolor() != "none") == each["exceeds_noise"]
    assert not unreadable(figure)
    with pytest.raises(InputError, match="expected a variant and the one"):
        figures.differences({"differences": {}})


@pytest.mark.parametrize("files", [1, 3])
@pytest.mark.parametrize("classes", [2, 20])
def test_names_of_classes_do_not_cover_each_other(classes, files):
    ap = evaluation(**dict.fromkeys(CLASSES[:classes], 0.5))
    assert not unreadable(figures.ap_bars({f"results{n}": ap for n in range(files)}))


def test_a_dollar_in_a_name_does_not_begin_a_formula(tmp_path):
    name = r"$\frac{$"
    figures.save(figures.ap_bars({name: evaluation(**{name: 0.5}), "b": evaluation(**{name: 1.0})}),
                 tmp_path / "a.svg")  # fmt: skip
    summary = {"depths": [1, 2], "top_k": {name: [[0.5, 0.6]]}}
    figures.save(figures.top_k_curves(summary), tmp_path / "b.svg")


def test_evaluations_that_cannot_be_compared_are_refused():
    one = evaluation(run=0.5)
    with pytest.raises(InputError, match="an evaluation at tIoU 0.4. Received: at 0.3, 0.5"):
        figures.ap_bars({"a": one}, 0.4)
    for other in (evaluation(jump=0.5), {**one, "protocol": "activitynet"}):
        with pytest.raises(InputError, match="b: expected the same protocol and classes as a"):
            figures.ap_bars({"a": one, "b": other})


def test_top_k_curves_by_hand():
    summary = {
        "depths": [0.25, 1.0, 8.0],
        "top_k": {"S-CNN": [[0.1, 0.3, 0.5], [0.3, 0.5, 0.5]], "single": [[0.1, 0.2, 0.3]]},
    }
    figure = figures.top_k_curves(summary)
    (axes,) = figure.axes
    mean, single = axes.lines
    np.testing.assert_allclose(mean.get_data(), [[0.25, 1, 8], [0.2, 0.4, 0.5]])
    np.testing.assert_allclose(single.get_data(), [[0.25, 1, 8], [0.1, 0.2, 0.3]])
    # SD of .1 and .3: √(.1² + .1²) = .141. A single run has no band.
    (band,) = axes.collections
    low, high = (pick(band.get_paths()[0].vertices[:, 1]) for pick in (min, max))
    assert (low, high) == pytest.approx((0.2 - 0.02**0.5, 0.4 + 0.02**0.5))
    assert [t.get_text() for t in axes.get_xticklabels()] == ["0.25", "1", "8"]
    assert not unreadable(figure)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "results.json"
    good = evaluation(run=0.5)
    for content in (
        [], {}, {**good, "ap": {}}, {**good, "ap": []}, {**good, "map": {"0.5": 0.5}},
        {**good, "map": {"0.3": 2, "0.5": 1}}, {"depths": [1], "top_k": {"S-CNN": [[0.5]]}},
    ):  # fmt: skip
        path.write_text(json.dumps(content))
        with pytest.raises(InputError, match="results.json: expected a file that `evaluate"):
            figures.read_evaluation(path)
    path.write_text(json.dumps(good))
    assert figures.read_evaluation(path) == good
    for content in (
        good, [], {"depths": [1], "top_k": {}}, {"depths": [1, 2], "top_k": {"a": [[0.5]]}},
        {"depths": [0], "top_k": {"a": [[0.5]]}}, {"depths": [1], "top_k": {"a": []}},
        {"depths": [1], "top_k": {"a": [["x"]]}},
    ):  # fmt: skip
        path.write_text(json.dumps(content))
        with pytest.raises(InputError, match="results.json: expected the results of an ablation"):
            figures.read_ablation(path)
    path.write_text("{")
    with pytest.raises(InputError, match="results.json: no valid JSON, line 1"):
        figures.read_ablation(path)


def test_a_figure_is_saved_as_a_whole_or_not_at_all(tmp_path):
    for name in ("new/a.svg", "b.svg", "c.PNG"):
        figures.save(figures.loss_curves(), tmp_path / name)
    assert (tmp_path / "new" / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "c.PNG").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match="d.pdf: expected a .png or .svg file"):
        figures.save(figures.loss_curves(), tmp_path / "d.pdf")
    with pytest.raises(InputError, match="cannot be written"):
        figures.save(figures.loss_curves(), tmp_path / "b.svg" / "e.svg")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.svg", "c.PNG", "new"]


@pytest.mark.parametrize(
    ("overlaps", "alpha"), [((), 0.25), ((0.0,), 0.25), ((1.1,), 0.25), ((0.5,), -1.0)]
)
def test_overlaps_and_alphas_out_of_range_are_refused(overlaps, alpha):
    with pytest.raises(InputError, match=r"expected overlaps in \(0, 1\] and α in \[0, 1\]"):
        figures.loss_curves(overlaps, alpha)


RUN = (Instance("run", 0, 10), Instance("run", 50, 54))
# By score: true, double, localization (4/10), background.
FOUND = Detections(
    ["v"] * 4, [0, 1, 51, 80], [10, 10, 61, 90], ["run"] * 4, [0.9, 0.8, 0.7, 0.6]
)  # fmt: skip


def diagnosis_figure(duration):
    video = VideoAnnotation("v", "test", duration, None, RUN)
    return figures.diagnosis_panels(diagnose({"v": video}, FOUND, tiou_thresholds=[0.5]))


def heights(axes):
    return {c.get_label(): [round(p.get_height(), 4) for p in c] for c in axes.containers}


def test_panels_of_a_diagnosis_by_hand():
    profile, gains, length, coverage, instances = diagnosis_figure(100.0).axes
    # 2 instances: the best G are true and double, the next G the other two.
    shares = heights(profile)
    assert list(shares) == [kind.label for kind in COUNTED]
    assert shares["true positive"] == shares["double detection"] == [0.5] + [0] * 9
    assert shares["background"] == [0, 0.5] + [0] * 8
    # AP is 1/2 of 2 instances; without the double it stays. [51, 61) fixed: (1 + 2/3) / 2.
    names = [label.get_text() for label in gains.get_yticklabels()]
    widths = {c.get_label(): [p.get_width() for p in c] for c in gains.containers}
    fixed = dict(zip(names, widths["fixed"], strict=True))
    assert fixed["localization"] == pytest.approx(1 / 3)
    assert fixed["double detection"] == pytest.approx(0)
    assert heights(length)["mAP_N"] == [
        0,
        0,
        1,
        0,
        0,
    ]  # only that of 10 s is found
    assert length.get_xticklabels()[1].get_text() == "S\n3 – 6\n1"
    assert length.get_ylim() == coverage.get_ylim() == (0, 1)
    assert instances.get_xticklabels()[1].get_text() == "S\n1 – 40\n2"


def test_long_bounds_of_a_bucket_have_two_lines():
    lengths = (0.86, 0.974, 1.783, 2.431, 2.9)
    instances = tuple(Instance("run", 10.0 * i, 10.0 * i + s) for i, s in enumerate(lengths))
    video = VideoAnnotation("v", "test", 100.0, None, instances)
    diagnosis = diagnose({"v": video}, FOUND, tiou_thresholds=[0.5], buckets="fifths")
    length = figures.diagnosis_panels(diagnosis).axes[2]
    labels = [label.get_text() for label in length.get_xticklabels()]
    assert labels[:2] == ["XS\n≤ 0.86\n1", "S\n0.86 –\n0.974\n1"]


def test_without_durations_there_is_no_panel_of_coverage(tmp_path):
    figure = diagnosis_figure(None)
    assert len(figure.axes) == 4
    for name in ("a.svg", "b.svg"):
        figures.save(diagnosis_figure(None), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
