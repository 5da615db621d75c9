import json

import keras
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba

from scnn_tf.datasets.annotations import Instance, VideoAnnotation
from scnn_tf.errors import InputError
from scnn_tf.io.video import write_video
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


VIDEO = VideoAnnotation(
    "v", "test", 30.0, 25.0,
    (
        Instance("run", 0.0, 10.0), Instance("jump", 12.0, 16.0), Instance("run", 20.0, 24.0),
        Instance("Ambiguous", 26.0, 28.0),
    ),
)  # fmt: skip

DETECTIONS = Detections(
    video=["v", "v", "w", "v", "v", "v"],
    start=[1.0, 0.0, 0.0, 12.0, 26.0, 21.0],
    end=[10.0, 8.0, 1.0, 16.0, 29.0, 29.5],
    label=["run", "run", "run", "run", "run", "sit"],
    score=[0.5, 0.4, 0.9, 0.8, 0.7, 0.6],
)


def bars(axes) -> list[tuple]:
    """(start, end, lane, colour) of each bar of a timeline, by lane, then start."""
    found = [
        (p.get_x(), p.get_x() + p.get_width(), p.get_y(), p.get_facecolor()) for p in axes.patches
    ]
    return sorted(found, key=lambda bar: (bar[2], bar[0]))


def colour(name: str) -> tuple:
    return to_rgba({"instance": "0.25", "right": "tab:green", "wrong": "tab:red"}.get(name, "0.8"))


def texts(figure):
    """Every text that a figure shows."""
    legends = [*figure.legends, *(legend for part in figure.subfigs for legend in part.legends)]
    for axes in figure.axes:
        yield from (axes.title, axes.xaxis.label, axes.yaxis.label)
        legends += [axes.get_legend()] if axes.get_legend() else []
        for axis in (axes.xaxis, axes.yaxis) if axes.axison else ():
            low, high = sorted(axis.get_view_interval())
            for tick in axis.get_major_ticks():
                if low <= tick.get_loc() <= high:
                    yield tick.label1
    for legend in legends:
        yield from legend.get_texts()


def unreadable(figure) -> list[str]:
    """The texts of a figure that cover another one or are cut off."""
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


def test_loss_curves_are_the_loss():
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
    # Each bar stands by its own tick, and beside the other's.
    ticks = axes.get_xticks()
    for tick, left, right in zip(ticks, *axes.containers, strict=True):
        assert tick - 0.5 < left.get_x() and right.get_x() + right.get_width() < tick + 0.5
        assert left.get_x() + left.get_width() <= right.get_x()
    assert "thumos14" in axes.get_title() and "0.5" in axes.get_ylabel()
    heights = [bar.get_height() for bar in figures.ap_bars({"a": one}, 0.3).axes[0].patches]
    assert heights == [1, 1, 1]


@pytest.mark.parametrize("files", [1, 3])
@pytest.mark.parametrize("classes", [2, 20])
def test_names_of_classes_do_not_cover_each_other(classes, files):
    ap = evaluation(**dict.fromkeys(CLASSES[:classes], 0.5))
    assert not unreadable(figures.ap_bars({f"results{n}": ap for n in range(files)}))


def test_no_name_is_a_formula(tmp_path):
    name = r"$\frac{$"
    figures.save(figures.ap_bars({name: evaluation(**{name: 0.5}), "b": evaluation(**{name: 1.0})}),
                 tmp_path / "a.svg")  # fmt: skip
    video = VideoAnnotation(name, "test", 9.0, None, (Instance(name, 0, 3),))
    figures.save(figures.timeline(video, DETECTIONS), tmp_path / "b.svg")
    summary = {"depths": [1, 2], "top_k": {name: [[0.5, 0.6]]}}
    figures.save(figures.top_k_curves(summary), tmp_path / "c.svg")


def test_ap_bars_that_cannot_stand_side_by_side():
    one = evaluation(run=0.5)
    with pytest.raises(InputError, match="a was not evaluated at tIoU 0.4, but at 0.3, 0.5"):
        figures.ap_bars({"a": one}, 0.4)
    for other in (evaluation(jump=0.5), {**one, "protocol": "activitynet"}):
        with pytest.raises(InputError, match="b has another protocol or other classes than a"):
            figures.ap_bars({"a": one, "b": other})


def test_timeline_by_hand():
    figure = figures.timeline(VIDEO, DETECTIONS)
    (axes,) = figure.axes
    assert [t.get_text() for t in axes.get_yticklabels()] == ["jump", "run", "sit"]
    assert axes.get_xlim() == (0, 30)
    # jump is in lane 0. run: instances in lane 1.6, and its detections below. The first covers
    # .9 of its instance; the second, .8, comes too late, overlaps it, and has a lane of its own;
    # one is of another class than what happens; one touches what nobody could tell. sit is not
    # there at all, and touches it too.
    assert bars(axes) == [
        (12, 16, pytest.approx(0), colour("instance")),
        (0, 10, pytest.approx(1.6), colour("instance")),
        (20, 24, pytest.approx(1.6), colour("instance")),
        (1, 10, pytest.approx(2.6), colour("right")),
        (12, 16, pytest.approx(2.6), colour("wrong")),
        (26, 29, pytest.approx(2.6), colour("forgiven")),
        (0, 8, pytest.approx(3.6), colour("wrong")),
        (21, 29.5, pytest.approx(5.2), colour("forgiven")),
    ]
    assert axes.get_title() == "v: 3 instance(s), 5 detection(s)"
    # A name stands in the middle of its lanes: 0–1, 1.6–4.6 less the border of .2, 5.2–6.2.
    assert axes.get_yticks().tolist() == pytest.approx([0.5, 3.1, 5.7])
    # At .85 only .9 is right; at .95 nothing.
    colours = [b[3] for b in bars(figures.timeline(VIDEO, DETECTIONS, 0.95).axes[0])]
    assert colour("right") not in colours


def test_timeline_of_an_instance():
    figure = figures.timeline(VIDEO, DETECTIONS, instance=2)
    # [12, 16), and as much on both sides; of run the end of the first instance, and what begins
    # before 20.
    assert figure.axes[0].get_xlim() == (8, 20)
    assert [bar[:2] for bar in bars(figure.axes[0])] == [(12, 16), (0, 10), (1, 10), (12, 16)]


@pytest.mark.parametrize("count", [0, 1, 60, 500])
@pytest.mark.parametrize("classes", [2, 20])
def test_any_number_of_detections(count, classes):
    random = np.random.default_rng(0)
    start = random.uniform(0, 100, count)
    score = random.random(count)
    names = CLASSES[:classes]
    found = Detections(
        ["v"] * count, start, start + random.uniform(1, 20, count), random.choice(names, count),
        score,
    )  # fmt: skip
    figure = figures.timeline(VIDEO, found)
    drawn = bars(figure.axes[0])
    assert len(drawn) == 3 + min(count, 100)
    assert not unreadable(figure)
    if count == 500:
        best = np.argsort(-score)[:100]
        assert {round(bar[0], 9) for bar in drawn} >= set(start[best].round(9))
        assert "the best 100 of 500" in figure.axes[0].get_title()
    for (_, end, lane, _), (start_of_next, _, lane_of_next, _) in zip(
        drawn, drawn[1:], strict=False
    ):
        assert lane != lane_of_next or end <= start_of_next + 1e-9


@pytest.fixture(scope="module")
def video_file(tmp_path_factory):
    """Three seconds at 10 Hz, as wide as two heights: black, grey, white."""
    path = tmp_path_factory.mktemp("video") / "v.mp4"
    write_video(path, (np.full((32, 64, 3), 127 * (n // 10), np.uint8) for n in range(30)), 10)
    return path


def test_key_frames(video_file):
    pictures = figures.key_frames(video_file, [0.0, 0.5, 0.9, 1.1, 2.5, 9.0])
    assert {p.shape for p in pictures} == {(90, 180, 3)}
    levels = [int(p.mean().round()) for p in pictures]
    np.testing.assert_allclose(levels, [0, 0, 0, 127, 254, 254], atol=3)


def test_timeline_with_key_frames(video_file):
    video = VideoAnnotation("v", "test", 3.0, 10.0, (Instance("run", 1.0, 2.0),))
    figure = figures.timeline(video, DETECTIONS.take(np.arange(0)), video_file=video_file)
    *strip, axes = figure.axes
    # The middles of eight parts of three seconds: .1875, .5625, … 2.8125.
    shown = [part.get_title() for part in strip]
    assert shown == ["0.2 s", "0.6 s", "0.9 s", "1.3 s", "1.7 s", "2.1 s", "2.4 s", "2.8 s"]
    levels = [part.images[0].get_array().mean() for part in strip]
    np.testing.assert_allclose(levels, [0, 0, 0, 127, 127, 254, 254, 254], atol=3)
    assert [bar[:2] for bar in bars(axes)] == [(1, 2)]
    assert not unreadable(figure)


def test_timelines_of_nothing():
    empty = DETECTIONS.take(np.arange(0))
    still = VideoAnnotation("s", "test", 30.0, 25.0, ())
    with pytest.raises(InputError, match="s: neither an instance nor a detection to draw"):
        figures.timeline(still, DETECTIONS)
    for number in (0, 4):
        with pytest.raises(InputError, match=f"v has 3 instances. Received: number {number}"):
            figures.timeline(VIDEO, empty, instance=number)
    with pytest.raises(InputError, match="threshold lies in"):
        figures.timeline(VIDEO, DETECTIONS, 50)


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


def test_files_that_are_none_of_ours(tmp_path):
    path = tmp_path / "results.json"
    good = evaluation(run=0.5)
    for content in (
        [], {}, {**good, "ap": {}}, {**good, "ap": []}, {**good, "map": {"0.5": 0.5}},
        {**good, "map": {"0.3": 2, "0.5": 1}}, {"depths": [1], "top_k": {"S-CNN": [[0.5]]}},
    ):  # fmt: skip
        path.write_text(json.dumps(content))
        with pytest.raises(InputError, match="results.json: not what `evaluate"):
            figures.read_evaluation(path)
    path.write_text(json.dumps(good))
    assert figures.read_evaluation(path) == good
    for content in (
        good, [], {"depths": [1], "top_k": {}}, {"depths": [1, 2], "top_k": {"a": [[0.5]]}},
        {"depths": [0], "top_k": {"a": [[0.5]]}}, {"depths": [1], "top_k": {"a": []}},
        {"depths": [1], "top_k": {"a": [["x"]]}},
    ):  # fmt: skip
        path.write_text(json.dumps(content))
        with pytest.raises(InputError, match="results.json: not what `ablate` writes"):
            figures.read_ablation(path)
    path.write_text("{")
    with pytest.raises(InputError, match="results.json: no valid JSON, line 1"):
        figures.read_ablation(path)


def test_saved_whole_or_not_at_all(tmp_path, monkeypatch):
    for name in ("new/a.svg", "b.svg", "c.PNG"):
        figures.save(figures.loss_curves(), tmp_path / name)
    assert (tmp_path / "new" / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "c.PNG").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match="d.pdf: a figure is a .png or an .svg file"):
        figures.save(figures.loss_curves(), tmp_path / "d.pdf")
    with pytest.raises(InputError, match="cannot be written"):
        figures.save(figures.loss_curves(), tmp_path / "b.svg" / "e.svg")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.svg", "c.PNG", "new"]


@pytest.mark.parametrize(
    ("overlaps", "alpha"), [((), 0.25), ((0.0,), 0.25), ((1.1,), 0.25), ((0.5,), -1.0)]
)
def test_losses_that_are_none(overlaps, alpha):
    with pytest.raises(InputError, match=r"overlaps lie in \(0, 1\], α in \[0, 1\]. Received: "):
        figures.loss_curves(overlaps, alpha)
