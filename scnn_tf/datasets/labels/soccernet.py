"""Reader of the points of SoccerNet's matches, `Labels-v2.json`."""

import math
import re
from collections.abc import Mapping

from scnn_tf.datasets.labels.labelled import LabelledVideo, Span, number_of, point_of, seconds
from scnn_tf.io.files import AnyPath

_GAME_TIME = re.compile(r"(\d) - ([\d:]+)", re.ASCII)  # half – minutes:seconds


def is_soccernet(content: object) -> bool:
    """Returns whether the content of a JSON file is a match."""
    annotations = content.get("annotations") if isinstance(content, dict) else None
    return isinstance(annotations, list) and any(
        isinstance(each, dict) and "gameTime" in each for each in annotations
    )


def read_soccernet(path: AnyPath, content: Mapping) -> list[LabelledVideo]:
    """Reads the points of a match, whose halves are a video each, `1_224p.mkv` or `1_720p.mkv`.

    The videos are in the folder `UrlLocal`, or else in that of the file.
    """
    folder = str(content.get("UrlLocal") or path.parent.name).strip("/")
    halves: dict[str, list[Span]] = {}
    unusable = []
    for number, each in enumerate(content["annotations"], start=1):
        where = f"annotation {number}"
        given = each.get("gameTime") if isinstance(each, dict) else each
        game_time = _GAME_TIME.fullmatch(given) if isinstance(given, str) else None
        if game_time is None:
            problem = f'{where}: expected a "gameTime" such as "1 - 06:35". Received: {given!r:.60}'
            unusable.append(LabelledVideo("", problem=problem))
            continue
        point = event_point(each, "position", f"{where}, {given}")
        halves.setdefault(game_time[1], []).append(point)
    return unusable + [
        LabelledVideo(
            f"{folder}/{half}_224p.mkv", tuple(spans), stored_as=f"{folder}/{half}_720p.mkv"
        )
        for half, spans in halves.items()
    ]


def event_point(event: Mapping, position: str, where: str) -> Span:
    """Returns an event as a point, at its position or else at the second of its `gameTime`.

    Args:
        event: An event.
        position: The key of its position, in milliseconds.
        where: Its place in the file.
    """
    time = number_of(event.get(position)) / 1000
    game_time = _GAME_TIME.fullmatch(str(event.get("gameTime")))
    if math.isnan(time) and game_time:
        time = seconds(game_time[2])
    return point_of(event.get("label"), time, where)
