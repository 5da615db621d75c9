import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scnn_tf.segments.labels import BACKGROUND
from scnn_tf.segments.windows import Segment, sliding_windows
from scnn_tf.serving import chunks


@given(
    num_frames=st.integers(1, 500),
    window_frames=st.lists(st.integers(4, 70), min_size=1, max_size=3, unique=True),
    new_frames=st.integers(1, 200),
)
def test_every_window_of_a_video_is_new_in_exactly_one_chunk(num_frames, window_frames, new_frames):
    windows = []
    for offset, scored, chunk in chunks.cut(range(num_frames), window_frames, new_frames):
        assert chunk == list(range(offset, offset + len(chunk)))
        windows += [
            Segment(offset + window.start, window.length)
            for window in sliding_windows(len(chunk), window_frames)
            if window.end > scored
        ]
    windows.sort(key=lambda window: (window.length, window.start))
    assert windows == sliding_windows(num_frames, window_frames)


def test_offsets_and_lengths_of_chunks_by_hand():
    def cut(num_frames, window_frames=(16, 32, 64), new_frames=40):
        return [
            (offset, scored, len(chunk))
            for offset, scored, chunk in chunks.cut(range(num_frames), window_frames, new_frames)
        ]

    # Windows of 64 start at multiples of 16: 40 becomes 32 new frames, and three quarters of 64,
    # 48, are repeated.
    assert cut(80) == [(0, 0, 80)]
    assert cut(81) == [(0, 0, 80), (32, 48, 49)]
    assert cut(112) == [(0, 0, 80), (32, 48, 80)]
    assert cut(113) == [(0, 0, 80), (32, 48, 80), (64, 48, 49)]
    assert cut(3) == [(0, 0, 3)]
    # At least the stride of the longest window is new.
    assert cut(64, new_frames=1) == [(0, 0, 64)]
    assert cut(65, new_frames=1) == [(0, 0, 64), (16, 48, 49)]
    # Twelve would do for windows of 16, but 12 + 1 frames would pass for a video of 13.
    assert cut(56, (16,)) == [(0, 0, 55), (40, 15, 16)]
    # Full-size windows: 1024 + 384.
    assert cut(1409, (16, 512), 1024) == [(0, 0, 1408), (1024, 384, 385)]


def test_joined_rows_are_ordered_by_window_length_then_by_start():
    def answer(start, length, scores):
        return {
            "start_frame": np.array(start, np.int64),
            "window_frames": np.array(length, np.int32),
            "class_scores": np.array(scores, np.float32).reshape(-1, 3),
        }

    rows = chunks.join(
        [
            answer([0, 0], [16, 32], [[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]]),
            answer([], [], []),
            answer([50], [16], [[0.25, 0.0, 0.75]]),
        ],
        ["run", "jump"],
        25.0,
        "v",
    )
    assert rows.video.tolist() == ["v"] * 3
    assert rows.window_frames.tolist() == [16, 16, 32]
    assert rows.start.tolist() == [0.0, 2.0, 0.0]  # frames 0, 50, 0 at 25 a second
    assert rows.end.tolist() == [0.64, 2.64, 1.28]  # frames 16, 66, 32
    assert rows.label.tolist() == [BACKGROUND, "jump", "run"]
    assert rows.score.tolist() == [0.5, 0.75, 1.0]
