"""Drafts as subtitles, SubRip (SRT) or WebVTT: players show them with the video.

A cue is an interval, and its text is the class. VLC, mpv and browsers stack cues that overlap; some
other players show only one of them.
"""

from scnn_tf.datasets.labels.subtitles import SRT_MARKUP
from scnn_tf.errors import InputError
from scnn_tf.report.labels.drafts import Draft, clock


def srt(draft: Draft) -> str:
    """Returns SubRip text of one video.

    Raises:
        InputError: A class contains markup, which SubRip cannot escape.
    """
    cues = []
    for number, interval in enumerate(draft.in_one_layer(), start=1):
        if markup := SRT_MARKUP.search(interval.label):
            raise InputError(
                f"expected classes without {markup[0]}, which SubRip takes for markup. Received: "
                f"{interval.label!r}; write vtt"
            )
        start, end = (clock(time, ",") for time in interval.milliseconds)
        cues.append(f"{number}\n{start} --> {end}\n{interval.label}\n\n")
    return "".join(cues)


def vtt(draft: Draft) -> str:
    """Returns WebVTT of one video."""
    cues = ["WEBVTT\n\n"]
    for interval in draft.in_one_layer():
        start, end = map(clock, interval.milliseconds)
        text = interval.label.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        cues.append(f"{start} --> {end}\n{text}\n\n")
    return "".join(cues)
