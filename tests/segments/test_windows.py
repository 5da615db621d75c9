from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scnn_tf.segments.windows import (
    WINDOW_FRAMES,
    Segment,
    sampled_indices,
    sliding_windows,
    stream_segments,
)

# Any set of windows, of any order; a quarter of each is a whole number of frames, or is not.
WINDOWS = st.lists(st.integers(4, 40), min_size=1, max_size=4, unique=True)


def test_windows_by_hand():
    # Of 16, every 4 frames, up to a start of 24: 7; of 32, every 8: starts 0 and 8. A window of
    # 32 from 16 on would end at 48 > 40, one of 64 at 64 > 40: dropped.
    windows = sliding_windows(40)
    assert [w.start for w in windows if w.length == 16] == [0, 4, 8, 12, 16, 20, 24]
    assert [w.start for w in windows if w.length == 32] == [0, 8]
    assert len(windows) == 9
    assert windows[-1] == Segment(8, 32)
    assert windows[-1].end == 40


def test_windows_end_within_the_video():
    assert sliding_windows(39)[-1] == Segment(0, 32)
    assert sliding_windows(511)[-1].length == 256
    assert sliding_windows(512)[-1] == Segment(0, 512)


@pytest.mark.parametrize("frames", [1, 15])
def test_a_short_video_is_one_segment(frames):
    assert sliding_windows(frames) == [Segment(0, frames)]


def test_a_video_without_frames_has_no_windows():
    assert sliding_windows(0) == []


@settings(deadline=None)
@given(st.integers(16, 1000), st.integers(0, 1000))
def test_a_longer_video_has_more_of_the_same_windows(frames, more):
    longer = sliding_windows(frames + more)
    assert sliding_windows(frames) == [w for w in longer if w.end <= frames]


@settings(deadline=None)
@given(st.integers(1, 3000))
def test_the_number_of_windows_by_formula(frames):
    # Starts 0, L/4, 2·L/4 … n − L: ⌊(n − L) / (L/4)⌋ + 1 of them.
    expected = sum((frames - n) * 4 // n + 1 for n in WINDOW_FRAMES if n <= frames)
    assert len(sliding_windows(frames)) == max(expected, 1)


@pytest.mark.parametrize(
    ("segment", "expected"),
    [
        (Segment(3, 16), list(range(3, 19))),
        (Segment(100, 64), list(range(100, 164, 4))),
        # 0, 1·10/16 = .625, 1.25, 1.875, 2.5, 3.125, 3.75 … 9.375, each rounded down.
        (Segment(0, 10), [0, 0, 1, 1, 2, 3, 3, 4, 5, 5, 6, 6, 7, 8, 8, 9]),
        (Segment(7, 1), [7] * 16),
    ],
)
def test_sampled_indices_by_hand(segment, expected):
    assert sampled_indices(segment).tolist() == expected


@settings(deadline=None)
@given(st.integers(0, 1000), st.integers(1, 2000))
def test_sampled_indices_are_spread_over_the_segment(start, length):
    indices = sampled_indices(Segment(start, length))
    assert indices.shape == (16,)
    assert indices[0] == start
    # The 16 steps, including the last sample to the end, differ by at most one frame.
    steps = np.diff([*indices, start + length])
    assert steps.max() - steps.min() <= 1


@settings(deadline=None)
@given(st.integers(0, 200), WINDOWS)
def test_a_stream_yields_the_sliding_windows(frames, window_frames):
    streamed = list(stream_segments(range(frames), window_frames))
    segments = [segment for segment, _ in streamed]
    assert sorted(segments) == sorted(sliding_windows(frames, window_frames))
    assert segments == sorted(segments, key=lambda s: (s.end, s.length))
    for segment, images in streamed:
        assert images == sampled_indices(segment).tolist()


def test_a_stream_yields_a_window_as_soon_as_its_last_frame_arrives():
    given_out = []

    def frames():
        for index in range(64):
            given_out.append(index)
            yield index

    for segment, _ in stream_segments(frames(), (16, 32)):
        assert given_out[-1] == segment.end - 1


def test_a_stream_holds_no_more_frames_than_the_longest_window():
    class Frame:
        alive = most = 0

        def __init__(self):
            Frame.alive += 1
            Frame.most = max(Frame.most, Frame.alive)

        def __del__(self):
            Frame.alive -= 1

    deque(stream_segments((Frame() for _ in range(300)), (16, 32)), maxlen=0)
    # 32, and the frame that has just arrived.
    assert 32 <= Frame.most <= 33
