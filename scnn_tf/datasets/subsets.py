"""Subsets of videos such that each source, a person or a place, is in one of them only."""

import re
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from scnn_tf.datasets.annotations import VideoAnnotation
from scnn_tf.datasets.stitching import DEFAULT_PERSON_PATTERN
from scnn_tf.errors import InputError

DEFAULT_SOURCE_PATTERN = DEFAULT_PERSON_PATTERN
"""Matches the text before a name's first underscore: `ira_02` and `cam1/ira_02` are of ira."""


def assign_subsets(
    videos: Mapping[str, VideoAnnotation],
    test: Sequence[str] = (),
    test_share: float = 0.0,
    source_pattern: str = DEFAULT_SOURCE_PATTERN,
    seed: int = 0,
) -> dict[str, VideoAnnotation]:
    """Assigns the subset "test" to some videos and "train" to the others.

    Args:
        videos: Videos by id; a video that has a subset keeps it.
        test: Ids of videos, or sources, for testing.
        test_share: Fraction of the videos for testing, in [0, 1). Whole sources are drawn, so that
            the fraction is as close as sources allow; the hashes of their names and the seed decide
            between sources. The draw does not depend on the order of the videos.
        source_pattern: See `sources`.
        seed: Seed of the draw.

    Raises:
        InputError: No video has one of the ids or sources, or a subset would have no video.
    """
    source = sources(videos, source_pattern)
    unknown = set(test) - set(source) - set(source.values())
    if unknown:
        raise InputError(
            f"no video or source is named {', '.join(sorted(unknown))}; sources are "
            f"{', '.join(sorted(set(source.values())))}"
        )
    chosen = {key for key in videos if {key, source[key]} & set(test)}
    if test_share:
        chosen = _draw(videos, source, test_share, seed)
    assigned = {
        key: replace(video, subset=video.subset or ("test" if key in chosen else "train"))
        for key, video in videos.items()
    }
    if (test or test_share) and len({video.subset for video in assigned.values()}) < 2:
        raise InputError(
            f"all {len(videos)} videos would be in the subset "
            f"{next(iter(assigned.values())).subset!r}; sources are "
            f"{', '.join(sorted(set(source.values())))} (--source_pattern)"
        )
    return assigned


def sources(video_ids: Iterable[str], pattern: str = DEFAULT_SOURCE_PATTERN) -> dict[str, str]:
    """Returns the source of each video (a person, a place), which must be in one subset only.

    Args:
        video_ids: Ids of all videos.
        pattern: Regular expression searched in an id; its first group is the source. A video
            that does not match is a source of its own, and so is each video if all have the same
            source, as in `video_01`, `video_02`, ….

    Returns:
        video id → source.

    Raises:
        InputError: The pattern is no regular expression or has no group.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(
            f"--source_pattern={pattern}: expected a regular expression ({error})"
        ) from error
    if not compiled.groups:
        raise InputError(f"--source_pattern={pattern}: expected a group in parentheses, the source")
    found = {key: compiled.search(key) for key in video_ids}
    names = {key: match[1] or key if match else key for key, match in found.items()}
    return names if len(set(names.values())) > 1 else {key: key for key in names}


def _draw(
    videos: Mapping[str, VideoAnnotation], source: Mapping[str, str], share: float, seed: int
) -> set[str]:
    """Draws whole sources whose videos are as near to a share of all videos as sources allow."""
    free = [key for key, video in videos.items() if not video.subset]
    sizes = Counter(source[key] for key in free)
    names = sorted(sizes, key=lambda name: (zlib.crc32(f"{seed}:{name}".encode()), name))
    # Bit n of sums[i]: the first i sources have a selection of n videos.
    sums = [1]
    for name in names:
        sums.append(sums[-1] | sums[-1] << sizes[name])
    given = Counter(video.subset == "test" for video in videos.values() if video.subset)
    wanted = share * len(videos) - given[True]
    possible = [
        total for total in range(len(free) + 1)
        if sums[-1] >> total & 1
        and total + given[True] > 0 and len(free) - total + given[False] > 0
    ]  # fmt: skip
    chosen: set[str] = set()
    total = min(possible, key=lambda total: abs(total - wanted), default=0)
    for name, before in zip(reversed(names), reversed(sums[:-1]), strict=True):
        if not before >> total & 1:
            total -= sizes[name]
            chosen.add(name)
    return {key for key in free if source[key] in chosen}
