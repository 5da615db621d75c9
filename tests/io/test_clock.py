"""When pictures are shown, by stamps that are missing, repeated, wrong, or of two clocks.

Stamps are in ticks of 10 ms, so that pictures at 25 a second are 4 ticks apart.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scnn_tf.errors import VideoError
from scnn_tf.io.clock import MISSING, Clock, Packets, clock_of


def clock(pts, dts=None, duration=4, zero=0.0, **options) -> Clock:
    """Returns the clock of packets with these stamps; None is a missing stamp."""
    pts, dts = (
        np.array([MISSING if stamp is None else stamp for stamp in stamps], np.int64)
        for stamps in (pts, pts if dts is None else dts)
    )
    packets = Packets(pts, dts, np.broadcast_to(np.int64(duration), pts.shape))
    options = {"presented": True, "reordered": False, **options}
    return clock_of(packets, "a.mp4", zero=zero, tick=0.01, rate=25.0, **options)


def test_times_are_those_after_the_containers_zero():
    # The sound begins at 0.1 s on the clock of the stamps; the first picture .4 s later.
    found = clock([50, 54, 70], duration=[4, 16, 6], zero=0.1)
    np.testing.assert_allclose(found.times, [0.4, 0.44, 0.6])
    assert found.end == pytest.approx(0.66) and found.remarks == ()


def test_a_late_first_picture_is_said():
    found = clock([300, 304, 308])
    assert found.times[0] == 3.0 and "shown after 3.00 s" in found.remarks[0]


def test_pictures_before_the_containers_zero_are_not_shown():
    # On display at zero is the picture of -2 ticks.
    np.testing.assert_allclose(clock([-10, -6, -2, 2, 6]).times, [0, 0.02, 0.06])


def test_pictures_before_the_first_that_can_be_decoded_are_not_shown():
    found = clock(range(0, 40, 4), first=[16, 12, 20])
    np.testing.assert_allclose(found.times, np.arange(3, 10) * 0.04)
    assert found.place_of(12, 0) == 0


@pytest.mark.parametrize("wrong", [60, 2600, 0, 3_760_000, None, 24, 16])
@pytest.mark.parametrize("reordered", [False, True])
def test_one_wrong_stamp_costs_its_own_picture_only(wrong, reordered):
    stamps = list(range(0, 400, 4))
    stamps[5] = wrong  # ahead, far ahead, behind, hours ahead, missing, like the next, the last
    found = clock(stamps, reordered=reordered)
    assert len(found.times) == 100 and found.end == pytest.approx(4.0)
    others = np.delete(np.arange(100), 5) * 0.04
    assert np.isin(np.round(others, 6), np.round(found.times, 6)).all()
    if not (reordered and wrong == 60):  # Ten pictures late might be the order of decoding.
        assert found.times[5] == pytest.approx(0.2)
        assert "time stamps are missing, repeated or contradicted" in found.remarks[0]


def test_stamps_that_are_wrong_again_and_again():
    stamps = np.arange(0, 2000, 4)
    stamps[20::50] += 360_000  # every two seconds a picture of tomorrow
    found = clock(list(stamps))
    np.testing.assert_allclose(found.times, np.arange(500) * 0.04)
    assert found.remarks[0].startswith("10 of 500 time stamps")


@given(st.permutations(range(4)), st.integers(5, 60))
def test_pictures_decoded_in_another_order_have_the_same_times(order, groups):
    stamps = [4 * (4 * group + k) for group in range(groups) for k in order]
    found = clock(stamps, reordered=True)
    np.testing.assert_allclose(found.times, np.arange(4 * groups) * 0.04)
    assert found.remarks == ()


@pytest.mark.parametrize("reordered", [False, True])
def test_a_clock_that_restarts_goes_on(reordered):
    first, second = list(range(0, 400, 4)), list(range(40, 840, 4))
    found = clock(first + second, reordered=reordered)
    np.testing.assert_allclose(found.times, np.arange(300) * 0.04)
    assert "its clock runs back (1 ×)" in found.remarks[0]


def test_a_gap_stays_and_is_said():
    found = clock([*range(0, 100, 4), *range(6000, 6100, 4)])
    assert found.times[25] == 60.0 and found.end == pytest.approx(61.0)
    assert "its pictures pause (1 ×), longest from 0.96 s to 60.00 s" in found.remarks[0]


def test_slow_pictures_are_no_gap():
    assert clock([0, 500, 1000, 1600], duration=500).remarks == ()


def test_a_leap_over_hours_is_an_error_and_not_a_flood():
    with pytest.raises(VideoError, match=r"a\.mp4: its time stamps leap from 0\.1 s to 7200\.0 s"):
        clock([0, 4, 8, 720_000, 720_004, 720_008])


def test_a_last_stamp_hours_ahead_is_not_believed():
    assert clock([0, 4, 8, 720_000]).end == pytest.approx(0.16)


@pytest.mark.parametrize("reordered", [False, True])
def test_a_last_stamp_far_beyond_all_other_steps_is_not_believed(reordered):
    assert clock([*range(0, 200, 4), 2800], reordered=reordered).end == pytest.approx(2.04)
    # Where another picture is held for 3 s, the last one may be held for 26 s.
    slow = clock([*range(0, 200, 4), *range(500, 700, 4), 3300], reordered=reordered)
    assert slow.end == pytest.approx(33.04)


def test_leaps_that_add_up_to_more_than_a_day_are_an_error():
    with pytest.raises(VideoError, match="lasts more than 24 hours"):
        clock(list(range(0, 9_000_000, 20_000)))  # a picture each 200 s


def test_where_presentation_stamps_are_useless_decoding_stamps_are_used():
    # In AVI: a picture every 8 ticks, from the fourth on every 4.
    found = clock([8, 16, 4, 20, 12], dts=[0, 8, 16, 20, 24], presented=False)
    np.testing.assert_allclose(found.times, [0, 0.08, 0.16, 0.2, 0.24])
    assert [found.place_of(8, expected) for expected in (0, 3)] == [0, 3]


def test_decoding_stamps_run_ahead_by_the_pictures_that_the_decoder_holds_back():
    # Pictures at 0, 8, 16, 20, 24, 28 ticks, decoded two pictures ahead: -16, -8, 0, 8, 16, 20,
    # which AVI stores from 0 on. The two last steps are the usual one.
    found = clock([0] * 6, dts=[0, 8, 16, 24, 32, 36], presented=False, delay=2)
    np.testing.assert_allclose(found.times, [0, 0.08, 0.16, 0.2, 0.28, 0.36])


def test_a_late_video_in_avi_whose_first_picture_is_stored_at_zero():
    # Pictures at 3 s, 3.04 s, … are decoded two ahead, from 2.92 s on; AVI stores the first at 0
    # and 2.96 s of empty chunks after it.
    found = clock([0] * 60, dts=[0, *range(296, 532, 4)], presented=False, delay=2)
    np.testing.assert_allclose(found.times, 2.92 + np.arange(60) * 0.04)


def test_decoding_stamps_of_a_container_that_stores_both_begin_before_zero():
    found = clock([4] * 6, dts=[-8, -4, 0, 4, 8, 12], presented=False, delay=2)
    np.testing.assert_allclose(found.times, np.arange(6) * 0.04)


def test_without_any_stamps_pictures_are_counted():
    found = clock([None] * 5)
    np.testing.assert_allclose(found.times, np.arange(5) / 25)
    assert found.end == 0.2 and "pictures are counted, at 25 a second" in found.remarks[0]


def test_packets_without_a_stamp_are_second_fields_where_they_are_many():
    found = clock([0, None, 4, None, 8, None])
    np.testing.assert_allclose(found.times, [0, 0.04, 0.08])


@pytest.mark.parametrize("count", [1, 5, 50])
def test_first_and_last_stamps_that_are_missing(count):
    missing, known = [None] * count, range(1000, 1400, 4)
    # FFmpeg takes the first stamp for the start of the file.
    for stamps in ([*missing, *known], [*known, *missing]):
        found = clock(stamps, zero=10.0)
        np.testing.assert_allclose(found.times, np.arange(100 + count) * 0.04)


def test_a_first_stamp_that_misled_the_container():
    # FFmpeg takes the first packet's 26 s for the start of the file.
    found = clock([2600, *range(4, 400, 4)], zero=26.0, first=[2600, 4, 8])
    np.testing.assert_allclose(found.times, np.arange(100) * 0.04)


def test_the_place_of_a_decoded_picture():
    found = clock([0, 4, 4, 12])
    assert found.place_of(12, 1) == 3  # two pictures before it have been lost
    assert found.place_of(13, 1) == found.place_of(None, 1) == 1  # unknown: the expected place
    assert [found.place_of(4, expected) for expected in (0, 1, 2, 3)] == [1, 1, 2, 2]


def test_the_place_of_a_picture_that_is_not_shown_is_negative():
    found = clock([-10, -6, -2, 2, 6])
    assert [found.place_of(stamp, 0) for stamp in (-10, -6, -2, 2)] == [-2, -1, 0, 1]


def test_every_stamp_twice():
    # Fifty pictures a second with stamps for 25: the second ones are put in between.
    found = clock([stamp for stamp in range(0, 400, 4) for _ in range(2)])
    np.testing.assert_allclose(found.times[:-1], np.arange(199) * 0.02)
