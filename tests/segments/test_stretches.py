import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scnn_tf.segments.stretches import (
    Part,
    Stretch,
    covering,
    num_samples,
    num_windows,
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


@st.composite
def wanted_windows(draw):
    """A video's length, its windows, and some of them in any order."""
    num_frames = draw(st.integers(1, 400))
    windows = sliding_windows(num_frames, draw(LENGTHS))
    wanted = draw(st.permutations(windows).map(lambda w: w[: len(w) // 3 + 1]))
    return num_frames, windows, wanted


@given(video=wanted_windows(), count=st.integers(1, 13), seed=st.integers(0, 5))
def test_stretches_hold_every_wanted_window(video, count, seed):
    num_frames, windows, wanted = video
    stretches = covering(wanted, num_frames, count, np.random.default_rng(seed))
    assert stretches == covering(wanted, num_frames, count, np.random.default_rng(seed))
    held = [set(stretch.windows) for stretch in stretches]
    assert set(wanted) <= set().union(*held)
    # Each has windows of the video, one of them wanted, and as many as the video allows.
    for stretch, members in zip(stretches, held, strict=True):
        assert members <= set(windows) and members & set(wanted)
        of_length = [w for w in windows if w.length == stretch.window_frames]
        assert stretch.count == len(members) == min(count, len(of_length))
    assert len(set(stretches)) == len(stretches)


def test_a_wanted_window_lies_anywhere_in_its_stretch():
    """In a long video, at each of the five places equally often."""
    window = Segment(800, 32)
    stretches = [
        covering([window], 10_000, 5, np.random.default_rng(seed))[0] for seed in range(500)
    ]
    places = [stretch.windows.index(window) for stretch in stretches]
    counts = np.bincount(places, minlength=5)
    assert counts.shape == (5,) and counts.min() > 60  # Binomial(500, 1/5): 100 ± 9


def test_stretches_end_with_the_video():
    # 16 at 0 … 24 are seven windows of 40 frames: the last five begin at 8.
    assert num_windows(40, 16) == 7
    for seed in range(10):
        random = np.random.default_rng(seed)
        (last,) = covering([Segment(24, 16)], 40, 5, random)
        assert last == Stretch(8, 16, 5)
        (only,) = covering([Segment(24, 16), Segment(0, 16)], 40, 13, random)
        assert only == Stretch(0, 16, 7)
        assert covering([], 40, 5, random) == []


@pytest.mark.parametrize("num_frames", [1, 3, 4, 15])
def test_a_video_shorter_than_all_windows_is_one_stretch(num_frames):
    (window,) = sliding_windows(num_frames, (16, 32))
    (stretch,) = covering([window], num_frames, 13, np.random.default_rng(0))
    assert stretch == Stretch(0, num_frames)


@given(num_frames=st.integers(0, 200), lengths=LENGTHS)
def test_stretches_of_one_window_are_the_segments(num_frames, lengths):
    stretches = [Stretch(*window) for window in sliding_windows(num_frames, lengths)]
    found = [(s.windows[0], x) for s, x in stream_stretches(range(num_frames), stretches)]
    assert found == list(stream_segments(range(num_frames), lengths))


@given(video=wanted_windows(), count=st.integers(2, 13))
def test_streamed_stretches_have_their_frames_in_the_order_of_their_ends(video, count):
    num_frames, _, wanted = video
    stretches = covering(wanted, num_frames, count, np.random.default_rng(0))
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
