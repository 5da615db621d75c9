"""MEXaction2 like S-CNN's authors use it (section 4.1), from its folders."""

from collections.abc import Collection, Sequence
from pathlib import Path

from scnn_tf.datasets.annotations import VideoAnnotation, class_names
from scnn_tf.datasets.challenges import (
    UCF101_CLIP,
    Challenge,
    Count,
    folder_with,
    list_videos,
    on_disk,
    trimmed_clip,
    ucf101_clips,
    with_files,
)
from scnn_tf.datasets.thumos_text import read_mexaction2
from scnn_tf.datasets.video_files import without_ending
from scnn_tf.errors import InputError
from scnn_tf.io.files import PathLike, read_text

CLASSES = ("BullChargeCape", "HorseRiding")
_SUBSETS = {"train": "train", "validation": "val", "test": "test"}


def mexaction2(video_dir: PathLike, annotations_dir: PathLike) -> Challenge:
    """Matches annotations and video files.

    The subset "train" has the training part of INA's untrimmed videos and all trimmed clips:
    YouTube's, and UCF101's of HorseRiding. "validation" and "test" have INA's other parts.

    The text of the test set on which S-CNN's authors evaluated, in THUMOS' form and in seconds, was
    verified: it has 325 instances, while their paper counts 329. Text of the other two subsets is
    read in the same form. The form in which the dataset's own authors publish annotations, and the
    names of the YouTube clips, could not be verified: annotations may have to be converted, and
    clips moved into folders named after their class.

    Args:
        video_dir: Folder below which are INA's videos, such as `FMVDD081880-AFP_VIS_01.mp4`,
            folders `BullChargeCape` and `HorseRiding` of clips, and UCF101's
            `v_HorseRiding_g01_c01.avi`.
        annotations_dir: Folder below which are `<Class>_train.txt`, `<Class>_val.txt` and
            `<Class>_test.txt`, and optionally next to them lists of videos, `<subset>_videos.txt`,
            with a name in each line. Only such a list names the subset's videos without an
            instance, in which every detection is false.

    Raises:
        InputError: A folder or all text is missing or cannot be read, or a video is in two
            subsets.
    """
    files = list_videos(video_dir)
    parts = {subset: _part(subset, annotations_dir) for subset in _SUBSETS}
    if not any(parts.values()):
        raise InputError(
            f"{annotations_dir}: expected annotations of MEXaction2 below it, such as "
            "BullChargeCape_test.txt"
        )
    annotated: dict[str, VideoAnnotation] = {}
    for subset, videos in parts.items():
        for key in sorted(annotated.keys() & videos.keys()):
            raise InputError(
                f"{annotations_dir}: video {key} is in the subsets {annotated[key].subset} and "
                f"{subset}; remove it from one"
            )
        annotated |= videos
    untrimmed = with_files(annotated, files)
    youtube = _youtube_clips(files, untrimmed)
    ucf101 = ucf101_clips(files, ["HorseRiding"])
    youtube_labels = {clip.actions[0].label for clip in youtube.values()}
    missing = [_text(subset) for subset, videos in parts.items() if not videos]
    missing += [f"{label}/*.mp4" for label in CLASSES if label not in youtube_labels]
    if not ucf101:
        missing.append("v_HorseRiding_g*_c*.avi")
    instances = {s: sum(len(v.actions) for v in videos.values()) for s, videos in parts.items()}
    return Challenge(
        video_dir=Path(video_dir),
        files=files,
        videos=ucf101 | youtube | untrimmed,
        missing=missing,
        counts=[
            Count("classes", 2, len(class_names(untrimmed.values()))),
            Count("trimmed clips (YouTube)", 588, len(youtube)),
            Count("trimmed clips (UCF101)", None, len(ucf101)),
            Count("INA videos", 117, on_disk(untrimmed.values())),
            # The paper does not say whether its 1336 include the trimmed clips.
            Count("training instances", 1336, instances["train"]),
            Count("validation instances", 310, instances["validation"]),
            Count("test instances", 329, instances["test"]),
        ],
        late={},
        odd={},
    )


def _text(subset: str) -> str:
    return f"BullChargeCape_{_SUBSETS[subset]}.txt"


def _part(subset: str, annotations_dir: PathLike) -> dict[str, VideoAnnotation]:
    """Returns INA's videos of a subset, videos without instances last; {} without annotations."""
    folder = folder_with(_text(subset), annotations_dir)
    if folder is None:
        return {}
    videos = read_mexaction2(folder, subset)
    listed = folder / f"{subset}_videos.txt"
    for line in read_text(listed).splitlines() if listed.is_file() else ():
        key = without_ending(Path(line.strip()).name)
        if key:
            videos.setdefault(key, VideoAnnotation(key, subset, None, None, ()))
    return videos


def _youtube_clips(files: Sequence[str], untrimmed: Collection[str]) -> dict[str, VideoAnnotation]:
    """Returns the files in folders of a class, except for clips of UCF101 and untrimmed videos."""
    clips = {}
    for path in map(Path, files):
        label = path.parent.name
        if label in CLASSES and path.stem not in untrimmed and not UCF101_CLIP.fullmatch(path.stem):
            # Clips of the two classes may have the same numbers.
            key = f"{label}_{path.stem}"
            clips.setdefault(key, trimmed_clip(key, label, path.as_posix()))
    return clips
