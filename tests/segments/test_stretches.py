import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scnn_tf.segments.stretches import (
    Part,
    Stretch,
    num_samples,
    num_windows,
    overlapping,
    stream_parts,
    stream_stretches,
)
from scnn_tf.segments.windows import Segment, sampled_indices, sliding_windows, stream_segments

LENGTHS = st.sets(st.sampled_from([16, 32, 48, 64]), min_size=1).map(sorted)


def test_windows_and_frames_by_hand():
    stretch = Stretch(8, 32, 3)
    assert stretch.windows == [Segment(8, 32), Segment(16, 32), Segment(24, 32)]
    assert stretch.end == 56
    # 16 + 2 · 4 samples, every second frame.
    assert stretch.frames.tolist() == list(range(8, 56, 2))


@given(start=st.integers(0, 100), step=st.integers(1, 32), count=st.integers(1, 13))
def test_each_window_has_sixteen_samples_of_the_stretch(start, step, count):
    stretch = Stretch(start, 16 * step, count)
    assert len(stretch.frames) == num_samples(count) == 12 + 4 * count
    for number, window in enumerate(stretch.windows):
        samples = stretch.frames[4 * number : 4 * number + 16]
        assert samples.tolist() == sampled_indices(window).tolist()


@pytest.mark.parametrize("length", [1, 3, 10, 40, 2000])
def test_a_stretch_of_one_window_may_have_any_length(length):
    stretch, segment = Stretch(0, length), Segment(0, length)
    assert (stretch.windows, stretch.end) == ([segment], length)
    assert stretch.frames.tolist() == sampled_indices(segment).tolist()


def test_a_stream_skips_unwanted_windows():
    wanted = [window for window in sliding_windows(100) if window.length == 32]
    streamed = stream_stretches(range(100), [Stretch(*window) for window in wanted])
    assert [Segment(s.start, s.window_frames) for s, _ in streamed] == wanted
    assert list(stream_stretches(range(5), [])) == []


def test_the_number_of_windows_by_hand():
    # Of 100 frames: 16 at 0, 4 … 84, 32 at 0, 8 … 64, 64 at 0, 16, 32, and no 128.
    assert [num_windows(100, length) for length in (16, 32, 64, 128)] == [22, 9, 3, 0]
    assert [num_windows(frames, 16) for frames in (0, 15, 16, 19, 20)] == [0, 0, 1, 1, 2]
    assert [num_samples(count) for count in (1, 2, 13)] == [16, 20, 64]


def test_overlapping_stretches_by_hand():
    # Stretches of 20 windows share eight: they begin at 0 and 12, and the last one ends with 35.
    assert overlapping(36, 20) == [range(0, 20), range(12, 32), range(16, 36)]
    assert overlapping(32, 20) == [range(0, 20), range(12, 32)]
    # Short stretches share half of their windows, and lone windows none.
    assert overlapping(7, 4) == [range(0, 4), range(2, 6), range(3, 7)]
    assert overlapping(3, 1) == [range(0, 1), range(1, 2), range(2, 3)]
    # A short sequence is one stretch.
    assert overlapping(20, 20) == [range(0, 20)]
    assert overlapping(2, 20) == [range(0, 2)]


@given(num_windows=st.integers(1, 200), count=st.integers(1, 60))
def test_any_neighbors_are_together_in_a_stretch(num_windows, count):
    stretches = overlapping(num_windows, count)
    assert all(len(stretch) == min(count, num_windows) for stretch in stretches)
    assert stretches[-1].stop == num_windows
    together = min(num_windows, 1 + min(8, count // 2))  # windows
    for first in range(num_windows - together + 1):
        wanted = {first, first + together - 1}
        assert any(wanted <= set(stretch) for stretch in stretches)


@given(num_frames=st.integers(0, 200), lengths=LENGTHS)
def test_stretches_of_one_window_are_the_segments(num_frames, lengths):
    stretches = [Stretch(*window) for window in sliding_windows(num_frames, lengths)]
    found = [(s.windows[0], x) for s, x in stream_stretches(range(num_frames), stretches)]
    assert found == list(stream_segments(range(num_frames), lengths))


@given(num_frames=st.integers(1, 400), lengths=LENGTHS, count=st.integers(2, 13))
def test_streamed_stretches_have_their_frames_in_the_order_of_their_ends(
    num_frames, lengths, count
):
    stretches = [
        Stretch(members.start * length // 4, length, len(members))
        for length in lengths
        if num_windows(num_frames, length)
        for members in overlapping(num_windows(num_frames, length), count)
    ]
    found = list(stream_stretches(range(num_frames), reversed(stretches)))
    order = sorted(stretches, key=lambda s: (s.end, s.window_frames, s.start))
    assert [stretch for stretch, _ in found] == order
    for stretch, frames in found:
        assert frames == stretch.frames.tolist()


class Frame:
    """A frame of which is known whether anybody still holds it."""


def counted(num_frames: int, alive: weakref.WeakSet):
    for _ in range(num_frames):
        frame = Frame()
        alive.add(frame)
        yield frame
        del frame


def test_frames_that_no_stretch_needs_any_more_are_not_held():
    alive = weakref.WeakSet()
    stretches = [Stretch(start, 32, 3) for start in range(0, 4000, 40)]
    most = 0
    for _, frames in stream_stretches(counted(4056, alive), stretches):
        most = max(most, len(alive))
        assert len(frames) == 24
    assert most <= 24 + 24 + 2  # the one that ends, the next that has begun, and the last frames


@given(
    num_frames=st.integers(0, 700),
    lengths=LENGTHS,
    context=st.integers(0, 3),
    more=st.integers(1, 9),
)
def test_every_window_is_judged_once_with_its_context(num_frames, lengths, context, more):
    count = 2 * context + more
    judged = []
    for part, samples in stream_parts(range(num_frames), lengths, count, context):
        stretch = part.stretch
        assert samples == stretch.frames.tolist()
        assert 0 <= part.first < part.last <= stretch.count <= count
        judged += stretch.windows[part.first : part.last]
        # Windows of this length before and after those that are judged.
        if stretch.window_frames in lengths:
            total = num_windows(num_frames, stretch.window_frames)
            begun = stretch.start // (stretch.window_frames // 4)
            assert part.first >= min(context, begun + part.first)
            after = total - (begun + part.last)
            assert stretch.count - part.last >= min(context, after)
    assert sorted(judged) == sorted(sliding_windows(num_frames, lengths))


def test_parts_by_hand():
    # 16 frames at 0, 4 … 24 are seven windows of 40 frames, 32 at 0 and 8 two. Of parts of five
    # with a context of one, the first judges windows 0 … 3, and the second begins at window 3.
    parts = list(stream_parts(range(40), (32, 16), 5, 1))
    assert [part for part, _ in parts] == [
        Part(Stretch(0, 16, 5), 0, 4),
        Part(Stretch(12, 16, 4), 1, 4),
        Part(Stretch(0, 32, 2), 0, 2),
    ]
    assert parts[1][1] == list(range(12, 40))
    assert parts[2][1] == list(range(0, 40, 2))


def test_parts_come_as_soon_as_they_are_complete_and_hold_no_more_than_themselves():
    alive = weakref.WeakSet()
    seen = []
    for part, samples in stream_parts(counted(2000, alive), (16, 64), 20, 4):
        seen.append(part)
        assert len(alive) <= 2 * num_samples(20) + 4 + len(samples)
    assert len(seen) > 40


@pytest.mark.parametrize("num_frames", [1, 3, 15])
def test_the_part_of_a_video_shorter_than_all_windows(num_frames):
    ((part, samples),) = stream_parts(range(num_frames), (32, 16), 5, 1)
    assert part == Part(Stretch(0, num_frames), 0, 1)
    assert samples == sampled_indices(Segment(0, num_frames)).tolist()
    assert list(stream_parts([], (32, 16), 5, 1)) == []
