"""Stamps that leap, wrap or are missing, on a clock that never runs back."""

import random

import pytest

from scnn_tf.io.live_clock import LiveClock


def times(stamps, began=0.0, clock=None):
    clock = clock or LiveClock("camera")
    shown = list(clock.timed(enumerate(stamps), began))
    assert [number for number, _ in shown] == list(range(len(stamps)))
    return [round(time, 6) for _, time in shown]


def test_usual_stamps_count_from_where_the_connection_began():
    assert times([7.0, 7.04, 7.08, 7.16], began=2.0) == [2.0, 2.04, 2.08, 2.16]


def test_a_gap_stays_a_gap():
    assert times([0, 0.04, 60.0, 60.04]) == [0, 0.04, 60.0, 60.04]


def test_a_clock_that_runs_back_or_leaps_too_far_goes_on():
    assert times([95443.6, 95443.64, 0.0, 0.04]) == [0, 0.04, 0.08, 0.12]
    assert times([0, 0.04, 5000.0, 5000.04]) == [0, 0.04, 0.08, 0.12]


@pytest.mark.parametrize("wrong", [40.0, -3.0, 0.04, 9000.0, None])
def test_a_wrong_stamp_costs_its_own_picture(wrong):
    assert times([0, 0.04, wrong, 0.12, 0.16]) == [0, 0.04, 0.08, 0.12, 0.16]


def test_a_leap_at_the_end_is_not_believed():
    assert times([0, 0.04, 50.0]) == [0, 0.04, 0.08]


def test_pictures_without_stamps_are_counted():
    assert times([None, None, None]) == [0, 0.04, 0.08]


def test_the_usual_step_is_learned():
    clock = LiveClock("camera")
    stamps = [number / 5 for number in range(100)]
    times(stamps, clock=clock)
    assert clock.step == pytest.approx(0.2, rel=0.01)
    assert times([3.0, 3.2], began=clock.time + 10, clock=clock) == [29.8, 30.0]
    # At 5 pictures a second, a step of 1.9 s is no leap.
    assert times([0.0, 1.9, 2.1], began=0, clock=clock) == [0, 1.9, 2.1]


@pytest.mark.parametrize("seed", range(20))
def test_time_increases_whatever_the_stamps_are(seed):
    draw = random.Random(seed)
    choices = [None, draw.random(), 1e9 * draw.random(), -1e6, 3.0, 3.04]
    shown = times([draw.choice(choices) for _ in range(60)])
    assert all(a <= b for a, b in zip(shown, shown[1:], strict=False))
