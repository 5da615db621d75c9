"""Reader of the annotations of Create ML's action classifier, JSON."""

from collections.abc import Sequence

from scnn_tf.datasets.labels.labelled import LabelledVideo, Span, shown, span_of, time_of

_KEYS = {"video", "label", "start", "end"}


def is_createml(content: object) -> bool:
    """Returns whether the content of a JSON file is a list of labels, each with its video."""
    return isinstance(content, list) and any(
        isinstance(each, dict) and _KEYS <= set(each) and isinstance(each["label"], str)
        for each in content
    )


def read_createml(content: Sequence) -> list[LabelledVideo]:
    """Reads a list of `{"video", "label", "start", "end"}`, in seconds or `1:02:03.5`."""
    videos: dict[str, list[Span]] = {}
    unusable = []
    for number, each in enumerate(content, start=1):
        where = f"label {number}"
        if not isinstance(each, dict) or not isinstance(each.get("video"), str):
            problem = f'{where}: expected an object with a "video". Received: {each!r:.60}'
            unusable.append(LabelledVideo("", problem=problem))
            continue
        given = [each.get("start"), each.get("end")]
        span = span_of(each.get("label"), list(map(time_of, given)), f"{where}, {shown(given)}")
        videos.setdefault(each["video"], []).append(span)
    return unusable + [LabelledVideo(video, tuple(spans)) for video, spans in videos.items()]
