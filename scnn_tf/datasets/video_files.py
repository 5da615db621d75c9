"""Video files: which files of a folder are videos, the id of a video, and the file of an id."""

import errno
import functools
import os
import stat
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from absl import logging

from scnn_tf.datasets.annotations import VideoAnnotation
from scnn_tf.errors import InputError, VideoError
from scnn_tf.io.files import AnyPath, PathLike, as_path, file_name, is_local, path_parts

# The endings of FFmpeg's demuxers and muxers of video, and usual ones of the same containers, which
# FFmpeg recognizes by content. Left out: pictures, sound, subtitles, playlists, raw pictures of no
# known size, and endings that usually mean another thing (.dat, .avs, .drc, .ogg). The list is
# written down, so that which files belong to a dataset does not depend on the FFmpeg at hand.
VIDEO_EXTENSIONS = frozenset(
    "." + ending
    for ending in """
    mp4 m4v mp4v f4v mov qt mj2 3gp 3gpp 3g2 3gp2 k3g ismv psp insv 360
    mkv mk3d webm avi divx xvid amv wmv asf dvr-ms wtv flv kux
    mpg mpeg mpe m1v m2v mpv m2p mp2v vob vro dvd mod tod evo
    ts mts m2ts m2t trp tp ty
    ogv ogm rm rmvb nut nsv nuv ivr viv mxf gxf lxf imx dv dif dav ifv mxg
    h261 h263 h264 264 avc h26l h265 265 hevc h266 266 vvc
    obu ivf apv evc avs2 avs3 cavs vc1 rcv vc2 dnxhd dnxhr mjpeg mjpg y4m
    gif swf mlv cine ser r3d flm cpk bik smk flc fli roq mvi pdv mods moflex thp
    """.split()
)
FEATURE_ENDINGS = (".npy", ".npz", ".h5", ".hdf5")
"""The endings of files of features, which stand for videos (`datasets.feature_files`)."""
# The endings that are tried for an id behind a URL, where each is a request.
_TRIED = ".mp4 .mkv .webm .avi .mov .m4v .mpg .mpeg .wmv .flv .ts .ogv .3gp .MP4 .MOV .AVI".split()
_KINDS = {
    stat.S_ISDIR: "a folder",
    stat.S_ISFIFO: "a named pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}


def is_video_name(name: str) -> bool:
    """Returns whether a file in a folder is a video by its name; hidden files are none.

    macOS puts a hidden companion `._clip.mp4`, which is no video, next to each `clip.mp4` that it
    writes to a memory card or a network drive.
    """
    return not name.startswith(".") and video_ending(name) != ""


def video_ending(name: str) -> str:
    """Returns the ending of a video's name in lower case, "" if it has none."""
    ending = os.path.splitext(name)[1].lower()
    return ending if ending in VIDEO_EXTENSIONS else ""


def without_ending(name: str) -> str:
    """Returns a file's name without the ending of a video, in Unicode's composed form (NFC).

    An ending of a file of features is left out too. Other dots belong to the name: `2024.01.15`
    and `2024.01.15.mp4` are both `2024.01.15`.
    """
    ending = os.path.splitext(name)[1]
    is_known = ending.lower() in FEATURE_ENDINGS or video_ending(name)
    return unicodedata.normalize("NFC", name.removesuffix(ending) if is_known else name)


def by_id(videos: Iterable[PathLike]) -> dict[str, PathLike]:
    """Returns files or URLs by video id.

    The id is the file's name `without_ending`. Where several videos share that name, their ids are
    the shortest trailing parts of their paths that differ: `cam1/GH010001` and `cam2/GH010001`.

    Raises:
        InputError: Two videos differ in nothing but their ending, or are the same.
    """
    videos = list(videos)
    paths = []
    for video in videos:
        *folders, name = path_parts(video)
        paths.append((*map(_composed, folders), without_ending(name)))
    same_name = defaultdict(list)
    for number, path in enumerate(paths):
        same_name[path[-1]].append(number)
    ids = {}
    for name, numbers in same_name.items():
        full = {paths[n]: n for n in reversed(numbers)}
        if len(full) < len(numbers):
            twin = next(n for n in numbers if full[paths[n]] != n)
            raise InputError(
                f"two videos are named {name!r}: {videos[full[paths[twin]]]} and {videos[twin]}; "
                "rename or leave out one"
            )
        depth = 1
        while len({paths[n][-depth:] for n in numbers}) < len(numbers):
            depth += 1
        ids.update({n: "/".join(paths[n][-depth:]) for n in numbers})
    return {ids[number]: video for number, video in enumerate(videos)}


def find_videos(places: Iterable[PathLike]) -> list[str]:
    """Returns the given files, and the videos in the given folders and their sub-folders.

    Hidden files and folders are skipped, and so is a second name of a file or folder, such as a
    link to it. A folder that cannot be searched, and a pipe with the name of a video, are skipped
    and logged. A broken link or a folder with such a name is a video, which cannot be read.

    Args:
        places: Files, folders, and URLs of either. A place that is no folder, or that cannot be
            searched, is returned whether or not it exists, and fails when it is read.

    Raises:
        InputError: No video was found; the sentence says what was skipped.
    """
    found: list[tuple[str, bool]] = []  # with whether it was named, not found in a folder
    empty: list[str] = []
    for place in places:
        listing = _listing(place)
        if listing is None:
            found.append((os.fspath(place), True))
            continue
        for note in listing.notes:
            logging.warning("%s", note)
        if not listing.files:
            empty.append(f"{place}: no video was found{listing.skipped_text()}")
        found.extend((os.fspath(path), False) for path in listing.files)
    if not found:
        raise InputError("; ".join(empty) or "expected files or folders of videos. Received: none")
    for sentence in empty:
        logging.warning("%s", sentence)
    videos = []
    for (path, named), original in zip(found, _originals(found), strict=True):
        if named or path is original:
            videos.append(path)
        else:
            logging.warning("%s is the same file as %s; skipped", path, original)
    return videos


def _listing(place: PathLike) -> "_Listing | None":
    """Lists the videos of a folder; returns None for a file, and for what cannot be searched.

    Raises:
        InputError: The place is an invalid URL.
    """
    if not is_local(place) and is_video_name(file_name(place)):
        return None  # a server is not asked what kind of thing has the name of a video
    path = as_path(place)
    try:
        return _search(path) if path.is_dir() else None
    except OSError as error:  # such as no permission, or a name that is too long
        logging.warning("%s: cannot be searched (%s)", place, error.strerror or error)
        return None


class VideoFolder:
    """The videos of a folder and its sub-folders, to find the files of annotated videos.

    The folder is listed once, when a video is not at the very path that its annotation names.

    Args:
        folder: Folder or URL.
    """

    def __init__(self, folder: PathLike):
        self.folder = as_path(folder)

    def find(self, video: VideoAnnotation) -> AnyPath:
        """Returns the file that an annotation names, or else the file named after the video's id.

        The name may be a trailing part of the file's path in the folder. Upper and lower case
        matter only where names differ in nothing else, in the ending never, and composed and
        decomposed letters are the same.

        Raises:
            VideoError: The file is missing, or two files have the name.
        """
        name = video.file or video.video_id
        named = self.folder / name
        *folders, last = name.split("/")
        if video.file:
            if _is_file(named):
                return named
            found = self._named((*folders, without_ending(last)), video_ending(last))
            missing = f"{named}: the video is missing"
        else:
            found = self._tried(name) or self._named((*folders, last), None)
            found = found or (named if _is_file(named) else None)
            missing = f"{self.folder}: no video file named {name}.mp4 (or .avi, .mkv, …)"
        if found is None:
            raise VideoError(missing)
        return found

    def find_elsewhere_named(self, name: str) -> AnyPath:
        """Returns the file that another machine knows by a path, whose beginning may differ.

        The whole path of the file in the folder must be the end of that name, or its end the whole
        name; in another folder of the same depth it is another video. A file of another ending is
        taken if there is none of the name's own.

        Raises:
            VideoError: The file is missing, or two files have the name.
        """
        *folders, last = filter(None, name.split("/"))
        stem, ending = without_ending(last), video_ending(last)
        ends = [folders[cut:] for cut in range(len(folders) + 1)]
        for end in ends:
            if _is_file(path := self.folder / "/".join((*end, last))):
                return path
            if path := self._named((*end, stem), ending or None, whole=end != folders):
                return path
        if path := self._tried(stem):
            return path
        for end in ends:
            if path := self._named((*end, stem), None, whole=end != folders):
                return path
        name = name if ending else f"{name}.mp4"
        raise VideoError(f"{self.folder}: no video file named {name}")

    def relative(self, path: AnyPath) -> str:
        """Returns the path of one of the files within the folder, with slashes."""
        above = len(path_parts(self.folder))
        return "/".join((*path_parts(path)[above:-1], path.name))

    def _tried(self, stem: str) -> AnyPath | None:
        """Returns the file behind a URL that has a usual ending: a web server lists no folder."""
        for ending in () if isinstance(self.folder, Path) else _TRIED:
            if _is_file(path := self.folder / f"{stem}{ending}"):
                return path
        return None

    def _named(
        self, name: tuple[str, ...], ending: str | None, whole: bool = False
    ) -> AnyPath | None:
        """Returns the listed file of a name.

        Args:
            name: Trailing parts of its path, without ending.
            ending: Its ending in lower case; None: any.
            whole: Whether the parts are all parts of its path in the folder.
        """
        name = tuple(map(_composed, name))
        near = self._by_name.get(name[-1].casefold(), ())
        ranked = defaultdict(list)
        for parts, path in near:
            tail = parts if whole else parts[-len(name) :]
            if ending in (None, video_ending(path.name)) and _folded(tail) == _folded(name):
                ranked[tail != name, len(parts) > len(name)].append((path, False))
        if not ranked:
            return None
        first, *others = dict.fromkeys(_originals(ranked[min(ranked)]))
        if others:
            raise VideoError(
                f"{'/'.join(name)}{ending or ''}: expected one video of this name. Found: {first} "
                f"and {others[0]}; name the folder too, or rename one"
            )
        return first

    @property
    def files(self) -> list[AnyPath]:
        """All videos of the folder, sorted by path."""
        return self._listing.files

    @functools.cached_property
    def _listing(self) -> "_Listing":
        try:
            return _search(self.folder)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENOTSUP):  # a web server's folder
                return _Listing()
            raise

    @functools.cached_property
    def _by_name(self) -> dict[str, list[tuple[tuple[str, ...], AnyPath]]]:
        """Name in any case → (parts of the path within the folder without ending, path)."""
        above = len(path_parts(self.folder))
        found = defaultdict(list)
        for path in self.files:
            *folders, name = map(_composed, path_parts(path)[above:])
            name = without_ending(name)
            found[name.casefold()].append(((*folders, name), path))
        return found


def find_video(video: VideoAnnotation, video_dir: PathLike) -> AnyPath:
    """Returns the file of one video; for many videos, see `VideoFolder.find`.

    Raises:
        VideoError: The file is missing, or two files have the name.
    """
    return VideoFolder(video_dir).find(video)


def videos_in(
    folder: PathLike, annotated: Mapping[str, VideoAnnotation] | None = None
) -> dict[str, PathLike]:
    """Returns the videos of a folder by their ids.

    Args:
        folder: Folder or URL.
        annotated: The videos to find; a missing video gets the name that it should have. None: all
            videos in the folder.

    Raises:
        InputError: No video was found, or two videos have the same id.
    """
    if annotated is None:
        if not as_path(folder).is_dir():
            raise InputError(f"{folder}: no video was found")
        return by_id(find_videos([folder]))
    places, files, missing = VideoFolder(folder), {}, 0
    for key, video in annotated.items():
        try:
            files[key] = places.find(video)
        except VideoError:
            files[key] = as_path(folder) / (video.file or f"{key}.mp4")
            missing += 1
    if missing == len(files):
        raise InputError(f"{folder}: none of the {missing} annotated videos was found")
    return files


@dataclass
class _Listing:
    """The videos of a folder, sorted by path, and what else is in it.

    Attributes:
        files: The videos.
        skipped: "hidden", or an ending → number of files.
        notes: One sentence for each file or folder that should have been of use and is not.
    """

    files: list[AnyPath] = field(default_factory=list)
    skipped: Counter = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def skipped_text(self) -> str:
        """Formats the skipped files, such as "; skipped 3 files: 2 hidden, 1 .txt"."""
        if not self.skipped:
            return ""
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.skipped.most_common())
        return f"; skipped {self.skipped.total()} file(s): {kinds}"


def _search(top: AnyPath) -> _Listing:
    """Lists the videos in a folder and its sub-folders, each folder once.

    Raises:
        OSError: The folder itself cannot be read; a sub-folder costs a note.
    """
    listing, seen = _Listing(), {}
    folders, links = [top], []  # Links come last, so that folders are known by their own names.
    while folders or links:
        folder = folders.pop() if folders else links.pop()
        try:
            if isinstance(folder, Path):
                status = folder.stat()
                known = seen.setdefault((status.st_dev, status.st_ino), folder)
                if known is not folder:
                    listing.notes.append(f"{folder} is the same folder as {known}; skipped")
                    continue
            inside = list(folder.iterdir())
        except OSError as error:
            if folder is top:
                raise
            listing.notes.append(f"{folder}: skipped, it cannot be read ({error.strerror})")
            continue
        for path in inside:
            if path.name.startswith("."):
                listing.skipped["hidden"] += 1
            elif (kind := _kind(path)) == "a folder" and not is_video_name(path.name):
                (links if isinstance(path, Path) and path.is_symlink() else folders).append(path)
            elif not is_video_name(path.name):
                listing.skipped[os.path.splitext(path.name)[1].lower() or "without an ending"] += 1
            elif kind not in ("a file", "a folder"):
                listing.notes.append(f"{path}: expected a file. Found: {kind}; skipped")
            else:
                listing.files.append(path)
    listing.files.sort()
    return listing


def _kind(path: AnyPath) -> str:
    """Returns "a file", "a folder" or what else it is; a broken link is a file that is missing."""
    if not isinstance(path, Path):  # A server is asked only where the name leaves a doubt.
        return "a folder" if not is_video_name(path.name) and path.is_dir() else "a file"
    try:
        mode = path.stat().st_mode
    except OSError:
        return "a file"
    return next((kind for test, kind in _KINDS.items() if test(mode)), "a file")


def _originals(found: Sequence[tuple[PathLike, bool]]) -> list[PathLike]:
    """Returns for each path the one by which to know its file: rather not a link.

    Args:
        found: Path, and whether it comes before all others.
    """
    identities = []
    for path, _ in found:
        try:
            status = os.stat(path)
            identities.append((status.st_dev, status.st_ino))
        except (OSError, ValueError):  # A URL, or no such file.
            identities.append(os.fspath(path))
    known: dict[object, PathLike] = {}
    order = sorted(range(len(found)), key=lambda n: (not found[n][1], os.path.islink(found[n][0])))
    for number in order:
        known.setdefault(identities[number], found[number][0])
    return [known[identity] for identity in identities]


def _is_file(path: AnyPath) -> bool:
    # os.path.isfile: a name that no file can have is no error.
    return os.path.isfile(path) if isinstance(path, Path) else path.is_file()


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _folded(parts: Iterable[str]) -> tuple[str, ...]:
    return tuple(map(str.casefold, parts))
