"""Drafts as a table with the columns of EPIC-Kitchens-100."""

import io
from collections.abc import Sequence

from scnn_tf.io.files import csv_writer
from scnn_tf.report.labels.drafts import Draft, Interval, clock

_COLUMNS = (
    *("narration_id", "participant_id", "video_id", "narration_timestamp", "start_timestamp"),
    *("stop_timestamp", "start_frame", "stop_frame", "narration", "verb", "verb_class", "noun"),
    *("noun_class", "all_nouns", "all_noun_classes", "score"),
)


def table(drafts: Sequence[Draft]) -> str:
    """Returns CSV, a row for each interval: narration and verb are its class, and it has no noun.

    The column `score`, which EPIC-Kitchens lacks, is empty for ground truth.
    """
    file = io.StringIO()
    write_row = csv_writer(file)
    write_row(_COLUMNS)
    classes = sorted({interval.label for draft in drafts for interval in draft.in_one_layer()})
    for draft in drafts:
        for number, interval in enumerate(draft.in_one_layer()):
            write_row(_row(draft, number, interval, classes.index(interval.label)))
    return file.getvalue()


def _row(draft: Draft, number: int, interval: Interval, verb_class: int) -> list[object]:
    start, end = map(clock, interval.milliseconds)
    frames = (int(time * draft.frame_rate) for time in (interval.start, interval.end))
    verb = (interval.label, interval.label, verb_class)
    participant = draft.video_id.split("_")[0]
    name = f"{draft.video_id}_{number}"
    score = "" if interval.score is None else interval.score
    return [
        *(name, participant, draft.video_id, start, start, end, *frames, *verb),
        *("", "", "[]", "[]", score),
    ]
