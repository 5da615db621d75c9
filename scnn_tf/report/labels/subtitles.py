"""Drafts as subtitles, SubRip (SRT) or WebVTT: players show them with the video.

A cue is an interval, and its text is the class. VLC, mpv and browsers stack cues that overlap; some
other players show only one of them.
"""

from scnn_tf.report.labels.drafts import Draft, clock


def srt(draft: Draft) -> str:
    """Returns SubRip text of one video."""
    cues = []
    for number, interval in enumerate(draft.in_one_layer(), start=1):
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
