"""Detections of a stream are those of its file, and come as soon as nothing can change them."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scnn_tf.localization import live_nms
from scnn_tf.localization.live_nms import (
    FINAL,
    PROVISIONAL,
    WITHDRAWN,
    LiveDetection,
    LiveRules,
    LiveSuppression,
)
from scnn_tf.localization.postprocess import detections_from_segments
from scnn_tf.localization.sequences import (
    Counted,
    HeadOutputs,
    Judged,
    Scored,
    SequenceScorer,
    collected,
)
from scnn_tf.segments.prior import WindowPrior
from scnn_tf.segments.windows import Segment

NAMES = ("jump", "run")
LENGTHS = (16, 32, 64)
RATE = 10.0
PRIOR = WindowPrior(
    NAMES, LENGTHS, np.ones((2, 3), int), np.array([[0.5, 0.3, 0.2], [0.0, 0.4, 0.6]])
)
RULES = LiveRules(LENGTHS, RATE, None, 0.4)


def scorer(part_windows: int, context_windows: int) -> SequenceScorer:
    return SequenceScorer(NAMES, LENGTHS, RATE, 0.3, part_windows, context_windows)


def random_network(seed: int, levels: int = 1000, spread: float | None = 0.5):
    """A network of frames that are numbers, whose random outputs depend on the window alone.

    Of few `levels` of scores, many are equal. Offsets have a standard deviation of `spread`; with
    None, actions reach back as far as they can.
    """

    def network(frames: list[int], length: int) -> HeadOutputs:
        outputs = []
        for first in frames[: len(frames) - 12 : 4]:
            random = np.random.default_rng([seed, length, first])
            scores = random.integers(1, levels + 1, 4) / levels
            back = random.uniform(0, 3)  # An action [-back, .25 (1 + back)) of a window [0, 1).
            extreme = np.array([-back, 0.25 * (1 + back) - 1 + 1e-9])
            offsets = extreme if spread is None else random.normal(0, spread, 2)
            outputs.append((scores[0], [0, *scores[1:3]], offsets))
        return HeadOutputs(*map(np.array, zip(*outputs, strict=True)))

    return network


def in_stream(judged, counted, rules, provisional=False) -> list[LiveDetection]:
    """The lines of a stream, in the order in which they come."""
    suppression = LiveSuppression("v", rules, provisional=provisional)
    found = [line for part in judged for line in suppression.add(part, counted.count)]
    return found + suppression.finish(counted.count)


def by_end(rows) -> list[tuple]:
    return sorted((row[:5] for row in rows), key=lambda row: (row[3], row))


@given(
    seed=st.integers(0, 10**6),
    num_frames=st.integers(0, 700),
    new_windows=st.integers(1, 20),
    context=st.integers(0, 9),
    threshold=st.sampled_from([0.0, 0.1, 0.4, 0.7, 1.0, None]),
    levels=st.sampled_from([3, 1000]),
    spread=st.sampled_from([None, 0.0, 0.2, 1.0]),
    prior=st.sampled_from([None, PRIOR]),
)
def test_a_stream_gives_what_its_file_gives(
    seed, num_frames, new_windows, context, threshold, levels, spread, prior
):
    network = random_network(seed, levels, spread)
    counted = Counted(range(num_frames))
    judged = scorer(200, context).judged(counted, network)
    segments = collected(judged, counted, "v", RATE)
    expected = detections_from_segments(segments, prior, threshold)

    counted = Counted(range(num_frames))
    judged = scorer(2 * context + new_windows, context).judged(counted, network)
    rules = LiveRules(LENGTHS, RATE, prior, threshold)
    assert by_end(in_stream(judged, counted, rules)) == by_end(expected)


@pytest.mark.parametrize("levels", [3, 1000])
@pytest.mark.parametrize("seed", range(8))
def test_what_is_left_of_the_provisional_detections_is_final(seed, levels):
    counted = Counted(range(900))
    judged = scorer(10, 3).judged(counted, random_network(seed, levels))
    lines = in_stream(judged, counted, RULES, provisional=True)
    standing, final = set(), []
    for line in lines:
        if line.status == PROVISIONAL:
            assert line[:5] not in standing
            standing.add(line[:5])
        elif line.status == WITHDRAWN:
            standing.remove(line[:5])
        else:
            standing.discard(line[:5])
            final.append(line)
    assert not standing
    counted = Counted(range(900))
    judged = scorer(10, 3).judged(counted, random_network(seed, levels))
    assert final == in_stream(judged, counted, RULES)


def judged(length: int, next_start: int, *rows: Scored) -> Judged:
    return Judged(length, next_start, list(rows))


def run_at(start: int, length: int, score: float, *offsets: float) -> Scored:
    return Scored(Segment(start, length), "run", score, *offsets)


def test_a_detection_is_final_once_no_window_to_come_can_suppress_it():
    rules = dataclasses.replace(RULES, window_frames=(16, 64))
    stream = LiveSuppression("v", rules)
    # The action is [160, 176). At length 16, an action of the window at s = 188 is [160, 199) at
    # the least: the tIoU is 16 / 39. From s = 192 on, it is 16 / 44 at most.
    assert not stream.add(judged(16, 164, run_at(160, 16, 0.5)), 200)
    assert not stream.add(judged(64, 192), 300)
    assert not stream.add(judged(16, 188), 300)
    (found,) = stream.add(judged(16, 192), 300)
    assert found == ("v", "run", 16.0, 17.6, 0.5, FINAL, 16, None)
    assert stream.finish(300) == []
    # At length 64, an action of the window at s = 176 is [160, 196) at the least, 16 / 36, and
    # from s = 192 on [160, 216).
    stream = LiveSuppression("v", rules)
    assert not stream.add(judged(16, 260, run_at(160, 16, 0.5)), 300)
    assert not stream.add(judged(64, 176), 300)
    assert len(stream.add(judged(64, 192), 300)) == 1


def test_actions_of_long_windows_cannot_suppress_short_ones():
    rules = dataclasses.replace(RULES, window_frames=(16, 512))
    stream = LiveSuppression("v", rules)
    # Those of 512 last 128 frames or longer: a tIoU of 16 / 128.
    assert len(stream.add(judged(16, 400, run_at(0, 16, 0.5)), 400)) == 1


def test_scores_above_the_largest_to_come_wait_only_for_their_boundaries():
    rules = dataclasses.replace(RULES, prior=PRIOR)
    stream = LiveSuppression("v", rules)
    # With the prior, .9 · .6; the largest score of "run" is 0 at 16, .4 at 32, .6 at 64. At 64, an
    # action of the window at s = 112 is [0, 156) at the least: the tIoU is 64 / 156.
    for length in (16, 32):
        assert not stream.add(judged(length, 72), 200)
    assert not stream.add(judged(64, 112, run_at(0, 64, 0.9)), 200)
    (found,) = stream.add(judged(64, 128), 216)
    assert found.score == pytest.approx(0.54)
    # A window of 32 at s = 64 may be of the same action, [0, 88); one at s = 72 has [0, 98), a tIoU
    # of 64 / 98; and one of 16 at s = 72 [8, 92).
    stream = LiveSuppression("v", rules)
    assert not stream.add(judged(64, 128, run_at(0, 64, 0.9)), 216)
    assert not stream.add(judged(16, 72), 216)
    assert not stream.add(judged(32, 64), 216)
    (found,) = stream.add(judged(32, 72), 216)
    assert found[2:5] == (0.0, 6.4, pytest.approx(0.54))


def test_boundaries_are_the_mean_of_those_that_came_before_and_after():
    stream = LiveSuppression("v", LiveRules((16,), RATE, None, 0.4), provisional=True)
    # [0, 15), and then [1, 18) of the next window, with half its score: a tIoU of 14 / 18.
    (shown,) = stream.add(judged(16, 4, run_at(0, 16, 0.8, 0.0, -0.0625)), 20)
    assert shown[2:6] == (0.0, 1.5, 0.8, PROVISIONAL)
    other = run_at(4, 16, 0.4, -0.1875, -0.125)
    assert [line[2:6] for line in stream.add(judged(16, 8, other), 24)] == [
        (0.0, 1.5, 0.8, WITHDRAWN),
        (pytest.approx(0.1 / 3), pytest.approx(1.6), 0.8, PROVISIONAL),
    ]
    assert [line[2:6] for line in stream.add(judged(16, 200), 216)] == [
        (pytest.approx(0.1 / 3), pytest.approx(1.6), 0.8, FINAL)
    ]


def test_a_candidate_waits_for_its_rivals():
    stream = LiveSuppression("v", LiveRules((16,), RATE, None, 0.4))
    # No window from s = 32 on can suppress [0, 16) itself, but [4, 20), which suppresses it.
    assert not stream.add(judged(16, 32, run_at(0, 16, 0.5), run_at(4, 16, 0.6)), 100)
    # The action is [4, 43), which suppresses [4, 20) as soon as it is decided itself.
    assert not stream.add(judged(16, 36, run_at(32, 16, 0.7, -1.75, -0.3125)), 100)
    found = stream.add(judged(16, 100), 100)
    assert [(line.start, line.end) for line in found] == [(0, 1.6), (0.4, 4.3)]


def test_an_action_that_ends_behind_the_last_frame_waits_for_its_end():
    stream = LiveSuppression("v", RULES, provisional=True)
    assert not stream.add(judged(16, 800, run_at(0, 16, 0.5, 0.0, 1.0)), 20)
    assert [line.status for line in stream.add(judged(16, 804), 40)] == [PROVISIONAL]
    assert [line.end for line in stream.finish(40)] == [3.2]
    stream = LiveSuppression("v", RULES)
    assert not stream.add(judged(16, 4, run_at(0, 16, 0.5, 0.0, 1.0)), 20)
    assert [line.end for line in stream.finish(24)] == [2.4]


def test_memory_is_bounded_however_long_scores_rise(monkeypatch):
    monkeypatch.setattr(live_nms, "_PATIENCE", 3)
    stream, found, held = LiveSuppression("v", RULES), [], []
    for number in range(800):
        row = run_at(4 * number, 16, (number + 1) / 801)
        now = 4 * number + 16
        for length in LENGTHS:
            rows = [row] if length == 16 else []
            found += stream.add(judged(length, max(0, now - length), *rows), now)
        held.append(len(stream._open))
    # In the end each suppresses the one before it; what is written by then stays.
    assert max(held) == max(held[:200]) < 100
    assert len(found) > 40
    assert all(a.end <= b.end for a, b in zip(found, found[1:], strict=False))


def test_memory_does_not_grow_with_the_stream():
    stream, held = LiveSuppression("v", RULES), []
    counted = Counted(range(6000))
    for part in scorer(10, 3).judged(counted, random_network(1)):
        stream.add(part, counted.count)
        held.append(len(stream._open) + len(stream._late))
    assert max(held) < 2 * max(held[:200])
