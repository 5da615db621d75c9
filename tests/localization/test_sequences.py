import dataclasses

import numpy as np
import pytest

from scnn_tf.errors import InputError
from scnn_tf.localization.sequences import (
    Counted,
    HeadOutputs,
    Scored,
    SequenceScorer,
    segments_table,
)
from scnn_tf.segments.labels import BACKGROUND
from scnn_tf.segments.windows import Segment

SCORER = SequenceScorer(
    class_names=("jump", "run"),
    window_frames=(16, 32),
    frame_rate=10.0,
    proposal_threshold=0.5,
    part_windows=5,
    context_windows=1,
)


def network(frames: list[int], window_frames: int) -> HeadOutputs:
    """A network of frames that are numbers: each window's scores follow from its first frame.

    Its class head alone scores, background too.
    """
    first = np.array(frames[: len(frames) - 12 : 4], np.float32)
    action = np.where(first % 8 == 0, 0.5, 0.25)
    classes = np.stack([np.full(len(first), 0.3), first / 100, 0.5 - first / 100], axis=1)
    offsets = np.stack([np.full(len(first), 0.25), np.full(len(first), -0.125)], axis=1)
    return HeadOutputs(action, classes.astype(np.float32), offsets)


def test_kept_windows_of_all_parts_are_rows_by_length_then_by_start():
    rows = SCORER.score(range(40), "v", network)
    # Windows of 16 start at 0, 4, … 24, of 32 at 0 and 8: those at multiples of 8 are kept.
    assert rows.window_frames.tolist() == [16, 16, 16, 16, 32, 32]
    assert rows.start.tolist() == [0, 0.8, 1.6, 2.4, 0, 0.8]
    assert rows.end.tolist() == [1.6, 2.4, 3.2, 4.0, 3.2, 4.0]
    assert rows.label.tolist() == ["run", "run", "run", BACKGROUND, "run", "run"]
    np.testing.assert_allclose(rows.score, [0.5, 0.42, 0.34, 0.3, 0.5, 0.42], atol=1e-6)
    # A quarter of the window later, and an eighth of it earlier.
    assert rows.action_start.tolist() == [0.4, 1.2, 2.0, 2.8, 0.8, 1.6]
    assert rows.action_end.tolist() == [1.4, 2.2, 3.0, 3.8, 2.8, 3.6]


def test_rows_do_not_depend_on_the_size_of_parts():
    expected = SCORER.score(range(300), "v", network)
    for size in (3, 4, 9, 100):
        rows = dataclasses.replace(SCORER, part_windows=size).score(range(300), "v", network)
        assert list(rows.rows()) == list(expected.rows())


def test_outputs_that_are_not_finite_are_an_error():
    def broken(frames, window_frames):
        outputs = network(frames, window_frames)
        outputs.offsets[-1] = np.nan
        return outputs

    with pytest.raises(InputError, match="expected finite scores of the joint network. Received"):
        SCORER.score(range(20), "v", broken)


def test_actions_are_in_the_video_and_boundaries_far_from_the_window_leave_the_window():
    rows = [
        Scored(Segment(0, 16), "run", 0.5, -0.5, 0.25),  # -8 to 20: tIoU 16 / 28
        Scored(Segment(8, 16), "run", 0.5, 0.0, 0.5),  # 8 to 32
        Scored(Segment(4, 16), "run", 0.5, 0.75, -0.5),  # They cross: 16 to 12.
        Scored(Segment(4, 16), "run", 0.5, 0.5, -0.25),  # 12 to 16: tIoU 4 / 16
        Scored(Segment(4, 16), "run", 0.5, 0.5, -0.3),  # 12 to 15.2: 3.2 / 16
        Scored(Segment(4, 16), "run", 0.5, 0.0, 3.0),  # 4 to 68: 16 / 64
        Scored(Segment(4, 16), "run", 0.5, 0.0, 3.1),  # 4 to 69.6
    ]
    table = segments_table("v", rows, 10.0, 25)
    assert table.action_start.tolist() == [0, 0.8, 0.4, 1.2, 0.4, 0.4, 0.4]
    assert table.action_end.tolist() == [2.0, 2.5, 2.0, 1.6, 2.0, 2.5, 2.0]


def test_a_part_says_from_where_on_windows_are_still_to_come():
    frames = Counted(range(60))
    seen = []
    for length, next_start, rows in SCORER.judged(frames, network):
        assert all(row.segment.length == length for row in rows)
        assert all(row.segment.start < next_start for row in rows)
        seen.append((length, next_start, frames.count))
    # Of 5 windows, the last is context; of windows of 16, the fifth begins at frame 16 and ends
    # with frame 31. The next part judges windows 4 … 6, of which window 7 is context.
    assert seen == [(16, 16, 33), (16, 28, 45), (16, 40, 57), (16, 48, 60), (32, 32, 60)]


def test_parts_of_a_length_can_be_skipped():
    judged = list(SCORER.judged(range(60), network, skips=lambda length: length == 16))
    assert {part.length for part in judged} == {16, 32}
    assert [row.segment.length for part in judged for row in part.rows] == [32, 32, 32, 32]


def test_prompt_parts_hold_four_windows_and_their_context():
    scorer = dataclasses.replace(SCORER, part_windows=30)
    assert scorer.prompt.part_windows == 6
    assert list(scorer.prompt.score(range(300), "v", network).rows()) == list(
        scorer.score(range(300), "v", network).rows()
    )
