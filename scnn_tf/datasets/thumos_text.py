"""Reader of the text of THUMOS'14 and MEXaction2: a file a class, a line an instance."""

from pathlib import Path

from scnn_tf.datasets.annotations import Instance, VideoAnnotation, canonical_subset
from scnn_tf.datasets.faults import Faults
from scnn_tf.errors import InputError
from scnn_tf.io.files import AnyPath, PathLike, as_number, as_path, read_text

_SUFFIXES = {"test": "test", "validation": "val", "train": "train"}


def text_subsets(folder: PathLike) -> list[str]:
    """Returns the subsets of which a folder, or one inside, has such text."""
    return [subset for subset in _SUFFIXES if _text_folder(as_path(folder), subset)]


def read_class_files(
    folder: PathLike, subset: str, *, strict: bool = False
) -> dict[str, VideoAnnotation]:
    """Reads the text of whichever challenge the folder is of; otherwise like `read_thumos14`."""
    mexaction2 = any(_text_folder(as_path(folder), subset).glob("BullChargeCape_*.txt"))
    return (read_mexaction2 if mexaction2 else read_thumos14)(folder, subset, strict=strict)


def read_thumos14(
    folder: PathLike, subset: str, *, strict: bool = False
) -> dict[str, VideoAnnotation]:
    """Reads the challenge's text: `<Class>_{test,val}.txt` with lines `video start end`.

    THUMOS'14 has no `<Class>_train.txt`; it is read for datasets that have the same form.

    Args:
        folder: Folder of these files, or its parent with
            `temporal_annotations_{test,validation}`. Durations come from
            `<subset>_durations.txt` next to or above the files, if it exists.
        subset: `test`, `validation` or `train`.
        strict: See `read_annotations`.

    Returns:
        video id → annotation, by id. A class's instances keep the order of its file.

    Raises:
        InputError: No such folder or subset, no valid line, or, if `strict`, an invalid line or an
            instance without a length or before the start.
    """
    folder, subset = as_path(folder), canonical_subset(subset)
    found = _text_folder(folder, subset)
    if found is None:
        present = " and ".join(text_subsets(folder))
        raise InputError(
            f"{folder}: expected THUMOS'14 text of the subset {subset!r}. "
            f"Found: {present or 'no <Class>_test.txt or <Class>_val.txt'}"
        )
    instances: dict[str, list[Instance]] = {}
    faults = Faults(found)
    suffix = f"_{_SUFFIXES[subset]}"
    for file in sorted(found.glob(f"*{suffix}.txt")):
        label = file.stem.removesuffix(suffix)
        for number, line in enumerate(read_text(file).splitlines(), start=1):
            if not line.strip():
                continue
            try:
                video, start, end = line.rsplit(maxsplit=2)
                instance = Instance(label, as_number(start), as_number(end))
            except ValueError:
                faults.unreadable.append(
                    f"{file.name}, line {number}: expected `video start end` (seconds). "
                    f"Received: {line.strip()!r}"
                )
                continue
            instances.setdefault(video, []).append(instance)
            faults.check(f"{file.name}, line {number}, video {video}", instance)
    faults.report(strict, nothing_else=not instances)
    durations = _durations(found, subset)
    return {
        video: VideoAnnotation(video, subset, durations.get(video), None, tuple(instances[video]))
        for video in sorted(instances)
    }


def read_mexaction2(
    folder: PathLike, subset: str = "test", *, strict: bool = False
) -> dict[str, VideoAnnotation]:
    """Reads MEXaction2 in THUMOS' text form; otherwise the same as `read_thumos14`.

    The set's Ambiguous file is a left-over of THUMOS'14, whose videos are not in MEXaction2, so
    videos without any action are left out.
    """
    videos = read_thumos14(folder, subset, strict=strict)
    return {key: video for key, video in videos.items() if video.actions}


def _text_folder(folder: AnyPath, subset: str) -> AnyPath | None:
    """Returns the folder, this one or one inside, that has `<Class>_*.txt` of the subset."""
    suffix = _SUFFIXES.get(subset)
    for candidate in (folder, folder / f"temporal_annotations_{subset}"):
        if suffix and any(candidate.glob(f"*_{suffix}.txt")):
            return candidate
    return None


def _durations(folder: AnyPath, subset: str) -> dict[str, float]:
    """Reads the challenge's list of durations: a line with a file name, one with seconds."""
    for candidate in (folder, folder.parent):
        path = candidate / f"{subset}_durations.txt"
        if path.is_file():
            lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
            try:
                return {
                    Path(n).stem: as_number(s) for n, s in zip(lines[::2], lines[1::2], strict=True)
                }
            except ValueError:
                raise InputError(
                    f"{path}: expected a line with a video's name, then a line with its seconds"
                ) from None
    return {}
