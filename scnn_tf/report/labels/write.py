"""Writes drafts in the form of a labelling tool."""

from collections.abc import Callable, Sequence

from absl import logging

from scnn_tf.errors import InputError, VideoError
from scnn_tf.io.files import AnyPath, PathLike, as_path, write_text
from scnn_tf.report.labels import activitynet, boris, cvat, elan, epic, label_studio, subtitles, via
from scnn_tf.report.labels.drafts import Draft

ONE_FILE: dict[str, Callable[[Sequence[Draft]], str]] = {
    "label_studio": label_studio.tasks,
    "via": via.project,
    "boris": boris.project,
    "activitynet": activitynet.annotations,
    "epic": epic.table,
}
"""Form → function that returns the text of all videos."""

FILE_A_VIDEO: dict[str, tuple[str, Callable[[Draft], str]]] = {
    "elan": (".eaf", elan.document),
    "cvat": (".xml", cvat.annotations),
    "srt": (".srt", subtitles.srt),
    "vtt": (".vtt", subtitles.vtt),
}
"""Form → ending of its files, and function that returns the text of one video."""

FORMS = (*ONE_FILE, *FILE_A_VIDEO)


def write_labels(path: PathLike, form: str, drafts: Sequence[Draft]) -> list[AnyPath]:
    """Writes drafts in one of `FORMS`.

    Args:
        path: File to write; for the forms of `FILE_A_VIDEO` the folder, for `<video id>.eaf` and
            so on. An id with folders, such as `cam1/GH010001`, gives a file in these folders.
        form: The form.
        drafts: The drafts, at least one.

    Returns:
        The files. The log names the videos of which none could be written.

    Raises:
        InputError: There is no draft, a video id cannot be a file name, no video could be written,
            or a file cannot be written.
    """
    if not drafts:
        raise InputError("expected detections to write labels of. Received: none")
    path = as_path(path)
    if form in ONE_FILE:
        if path.is_dir():
            raise InputError(f"{path}: expected a file to write. Found: a folder")
        write_text(path, ONE_FILE[form](drafts))
        return [path]
    ending, text_of = FILE_A_VIDEO[form]
    files, problems = [], []
    for draft in drafts:
        file = path / f"{_checked(draft.video_id)}{ending}"
        try:
            write_text(file, text_of(draft))
        except VideoError as error:
            problems.append(str(error))
        else:
            files.append(file)
    if not files:
        raise InputError(problems[0])
    for problem in problems:
        logging.warning("not written: %s", problem)
    return files


def _checked(video_id: str) -> str:
    """Returns the id of a video, which becomes a file's name.

    Raises:
        InputError: It cannot be one.
    """
    if {"", ".", ".."} & set(video_id.split("/")) or set(video_id) & set("\\\0"):
        raise InputError(f"expected video ids that can be file names. Received: {video_id!r}")
    return video_id
