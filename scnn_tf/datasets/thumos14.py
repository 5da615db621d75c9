"""THUMOS'14 like S-CNN's authors use it (section 4.1), from the folders of the challenge."""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from scnn_tf.datasets.activitynet import read_activitynet
from scnn_tf.datasets.annotations import VideoAnnotation, class_names
from scnn_tf.datasets.challenges import (
    Challenge,
    Count,
    folder_with,
    list_videos,
    on_disk,
    ucf101_clips,
    with_files,
)
from scnn_tf.datasets.thumos_text import read_thumos14
from scnn_tf.errors import InputError
from scnn_tf.io.files import PathLike

# Later papers leave these out and score 210 videos, or 211 with 1292. Here they are kept: the
# challenge's evaluation and S-CNN's figures count all 213.
ODD_TEST_VIDEOS = {
    "video_test_0000270": "22 of its 29 intervals of HammerThrow end after it, the last at 713.7 "
    "of 176.2 s: it was annotated on a longer video",
    "video_test_0001292": "it has ambiguous intervals only; annotations without these, such as "
    "thumos14.json, lack it",
    "video_test_0001496": "its 18 intervals of CricketShot are doubtful: the challenge lists it "
    "as a video to avoid, and published networks see FrisbeeCatch in it",
}


def thumos14(
    video_dir: PathLike, annotations_dir: PathLike, reference: PathLike | None = None
) -> Challenge:
    """Matches annotations and video files.

    The subset "train" has the trimmed clips of UCF101 of the same 20 classes, and the 200 annotated
    validation videos; "test" has the 213 annotated test videos. Most videos of the validation and
    test sets have no temporal annotation and are not used.

    CliffDiving is a kind of Diving: each of its intervals is in the text of both classes, and is
    an instance of both. Each clip of UCF101 is of one class, which is part of its name.

    Args:
        video_dir: Folder below which are files such as `v_Diving_g01_c01.avi`,
            `video_validation_0000161.mp4` and `video_test_0000004.mp4`.
        annotations_dir: Folder below which are the folders of `<Class>_val.txt` and
            `<Class>_test.txt`.
        reference: ActivityNet JSON with durations and frame rates; None: durations are those of
            the challenge's lists, if these are next to the text.

    Raises:
        InputError: A folder or text is missing or cannot be read.
    """
    files = list_videos(video_dir)
    validation = _annotated("validation", "Ambiguous_val.txt", annotations_dir)
    test = _annotated("test", "Ambiguous_test.txt", annotations_dir)
    labels = class_names([*validation.values(), *test.values()])
    clips = ucf101_clips(files, labels)
    clip_labels = {clip.actions[0].label for clip in clips.values()}
    untrimmed = with_files(_with_durations(validation | test, reference), files)
    in_training = {k: dataclasses.replace(untrimmed[k], subset="train") for k in validation}
    in_test = {key: untrimmed[key] for key in test}
    return Challenge(
        video_dir=Path(video_dir),
        files=files,
        videos=clips | in_training | in_test,
        missing=[f"v_{k}_g*_c*.avi" for k in labels if k not in clip_labels],
        counts=[
            Count("classes", 20, len(labels)),
            Count("trimmed clips (UCF101)", 2755, len(clips)),
            Count("validation videos", 200, on_disk(in_training.values())),
            Count("validation instances", 3007, sum(len(v.actions) for v in validation.values())),
            Count("validation ambiguous", 89, sum(len(v.ambiguous) for v in validation.values())),
            Count("test videos", 213, on_disk(in_test.values())),
            Count("test instances", 3358, sum(len(v.actions) for v in test.values())),
            Count("test ambiguous", 99, sum(len(v.ambiguous) for v in test.values())),
            Count("CliffDiving that is no Diving", 0, _cliff_only(untrimmed.values())),
        ],
        late={"train": 4, "test": 26},
        odd={key: why for key, why in ODD_TEST_VIDEOS.items() if key in test},
    )


def _annotated(subset: str, text: str, annotations_dir: PathLike) -> dict[str, VideoAnnotation]:
    folder = folder_with(text, annotations_dir)
    if folder is None:
        raise InputError(
            f"{annotations_dir}: expected the annotations of the {subset} videos below it, a "
            f"folder with {text} and the text of the classes"
        )
    return read_thumos14(folder, subset)


def _with_durations(
    videos: Mapping[str, VideoAnnotation], reference: PathLike | None
) -> Mapping[str, VideoAnnotation]:
    """Returns the videos with the durations and rates of the reference, if it has them."""
    if reference is None:
        return videos
    known = read_activitynet(reference, labelled_only=False)
    if not known.keys() & videos.keys():
        raise InputError(f"{reference}: none of the {len(videos)} annotated videos was found")
    return {
        key: dataclasses.replace(
            video, duration=known[key].duration or video.duration, fps=known[key].fps
        )
        if key in known
        else video
        for key, video in videos.items()
    }


def _cliff_only(videos: Iterable[VideoAnnotation]) -> int:
    """Counts instances of CliffDiving without an instance of Diving at the same times."""
    times = {"CliffDiving": Counter(), "Diving": Counter()}
    for video in videos:
        for i in video.actions:
            if i.label in times:
                times[i.label][video.video_id, i.start, i.end] += 1
    return (times["CliffDiving"] - times["Diving"]).total()
