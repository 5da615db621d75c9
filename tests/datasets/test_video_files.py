import errno
import os
import socket
import unicodedata
from pathlib import Path

import av
import pytest
from absl import logging

from scnn_tf.datasets.annotations import VideoAnnotation
from scnn_tf.datasets.video_files import (
    VIDEO_EXTENSIONS,
    VideoFolder,
    by_id,
    find_video,
    find_videos,
    is_video_name,
    videos_in,
    without_ending,
)
from scnn_tf.errors import InputError, VideoError


def annotation(video_id, file=None):
    return VideoAnnotation(video_id, "test", None, None, (), file=file)


@pytest.fixture
def make(tmp_path):
    """Makes empty files of the given names, and returns their folder."""

    def run(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        return tmp_path

    return run


@pytest.fixture
def folder(make):
    return make("v.mp4", "w.AVI", "sub/x.webm", "notes.txt")


@pytest.fixture
def warnings(monkeypatch):
    """The warnings that were logged."""
    logged = []
    monkeypatch.setattr(logging, "warning", lambda text, *args: logged.append(text % args))
    return logged


def names(folder, *places):
    return [os.path.relpath(path, folder) for path in find_videos(places or [folder])]


def test_find_video(folder):
    assert find_video(annotation("v"), folder) == folder / "v.mp4"
    assert find_video(annotation("y", file="sub/x.webm"), folder) == folder / "sub" / "x.webm"
    with pytest.raises(VideoError, match="no video file named z.mp4"):
        find_video(annotation("z"), folder)
    with pytest.raises(VideoError, match="none.mp4: the video is missing"):
        find_video(annotation("v", file="none.mp4"), folder)


@pytest.mark.parametrize(
    ("video_id", "file", "found"),
    [
        ("GH010001", None, "GH010001.MP4"),
        ("GH010001", "GH010001.mp4", "GH010001.MP4"),
        ("gh010001", None, "GH010001.MP4"),  # no other name differs from it only in case
        ("x", None, "day1/cam1/x.mkv"),
        ("cam1/x", None, "day1/cam1/x.mkv"),
        ("x", "cam1/x.MKV", "day1/cam1/x.mkv"),
        ("Case", None, "Case.mp4"),
        ("case", None, "case.mp4"),
        ("top", None, "top.mov"),  # the id is first of all a path
        ("both", "both.avi", "both.avi"),
        ("2024.01.15", None, "2024.01.15.ts"),
        ("b.c", None, "b.c"),
        ("readme", None, "readme.mp4"),
        ("1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed", None, "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed.MTS"),
    ],
)
def test_a_video_is_found_by_the_end_of_its_path_in_any_case(make, video_id, file, found):
    folder = make(
        "GH010001.MP4", "day1/cam1/x.mkv", "Case.mp4", "case.mp4", "top.mov", "old/top.mov",
        "both.mp4", "both.avi", "2024.01.15.ts", "2024.01.16.ts", "b.c",
        "readme", "readme.mp4",
        "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed.MTS",
    )  # fmt: skip
    assert find_video(annotation(video_id, file), folder) == folder / found
    assert VideoFolder(folder).find(annotation(video_id, file)) == folder / found


@pytest.mark.parametrize("disk", ["NFC", "NFD"])
@pytest.mark.parametrize("table", ["NFC", "NFD"])
def test_composed_and_decomposed_letters_are_the_same(make, disk, table):
    folder = make(unicodedata.normalize(disk, "über/Café_01.mp4"))
    (path,) = find_videos([folder])
    written = unicodedata.normalize(table, "Café_01")
    assert os.fspath(find_video(annotation(written), folder)) == path
    assert os.fspath(find_video(annotation("a", f"{written}.mp4"), folder)) == path
    assert list(by_id([path])) == [unicodedata.normalize("NFC", "Café_01")]


@pytest.mark.parametrize(
    ("video_id", "file"), [("x", None), ("x", "x.mp4"), ("both", None), ("CASE", None)]
)
def test_two_files_of_one_name_are_named(make, video_id, file):
    folder = make("cam1/x.mp4", "cam2/x.mp4", "both.mp4", "both.avi", "case.mp4", "Case.mp4")
    with pytest.raises(VideoError, match=rf"Found: {folder}/.* and {folder}/") as error:
        find_video(annotation(video_id, file), folder)
    assert str(error.value).startswith(f"{file or video_id}: expected one video of this name")


def test_a_video_of_another_folder_is_not_taken(make):
    folder = make("cam1/x.mp4")
    with pytest.raises(VideoError, match="cam2/x.mp4: the video is missing"):
        find_video(annotation("cam2/x", "cam2/x.mp4"), folder)
    with pytest.raises(VideoError, match="no video file named cam2/x.mp4"):
        find_video(annotation("cam2/x"), folder)


def test_by_id(folder):
    url = "http://host/y.mp4?key=1"
    assert by_id([*find_videos([folder]), url]) == {
        "v": str(folder / "v.mp4"), "w": str(folder / "w.AVI"), "x": str(folder / "sub/x.webm"),
        "y": url,
    }  # fmt: skip


def test_videos_of_one_name_have_the_ends_of_their_paths_as_ids():
    videos = [
        "/a/cam1/GH01.MP4", "/a/cam2/GH01.MP4", "/a/cam2/GH02.MP4", "s3://b/day1/v.mp4",
        "http://h/day1/v.mp4?key=1", "/c/day1/v.avi", "2024.01.15", "2024.01.16.mp4",
    ]  # fmt: skip
    assert list(by_id(videos)) == [
        "cam1/GH01", "cam2/GH01", "GH02", "b/day1/v", "h/day1/v", "c/day1/v", "2024.01.15",
        "2024.01.16",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("first", "second"), [("a/v.mp4", "a/v.avi"), ("a/v.mp4", "a/v.mp4"), ("v.mp4", "a/../v.mp4")]
)
def test_videos_that_no_folder_tells_apart_are_named(first, second):
    with pytest.raises(InputError, match=f"two videos are named 'v': {first} and {second}; rename"):
        by_id([first, "b/v.mkv", second])


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("v.mp4", "v"), ("v.M2TS", "v"), ("a.b.c", "a.b.c"), ("a.b.c.mkv", "a.b.c"),
        ("3f2a.mp4.mp4", "3f2a.mp4"), ("v", "v"), (".mp4", ".mp4"),
    ],
)  # fmt: skip
def test_only_the_ending_of_a_video_is_removed(name, stem):
    assert without_ending(name) == stem


def test_the_endings_are_those_of_ffmpeg():
    """Every ending that FFmpeg writes video to is one of a video, or is listed here."""
    other = """a64 aif aifc aiff afc apng avif avs drc fits flac ico m3u8 mp3 mpd ogg ra rgb webp
        wma yuv m4a m4b isma""".split()
    written = set()
    for name in sorted(av.formats_available):
        try:
            ending_of = av.format.ContainerFormat(name, "w").extensions
            with av.open(os.devnull, "w", format=name) as container:
                has_video = container.default_video_codec != "none"
        except ValueError:  # FFmpeg only reads it.
            continue
        if has_video and name != "image2":
            written |= {ending.strip().lower() for ending in ending_of}
    assert len(written) > 50
    assert {f".{ending}" for ending in written - set(other)} <= VIDEO_EXTENSIONS
    assert not {f".{ending}" for ending in other} & VIDEO_EXTENSIONS
    # What FFmpeg recognizes by content only, and cameras write.
    assert {".m2ts", ".mts", ".mod", ".vob", ".3gpp", ".dav", ".rmvb"} <= VIDEO_EXTENSIONS


def test_folders_are_searched_for_videos_that_are_not_hidden(make, warnings):
    folder = make(
        "00012.MTS", "clip.m2ts", "._clip.m2ts", ".hidden.mp4", ".trash/old.mp4", "a/b/c.3G2",
        "12:30:00.mp4", "-leading.mp4", "photo.jpg", "sound.mp3", "a/found.srt",
    )  # fmt: skip
    assert names(folder) == [
        "-leading.mp4", "00012.MTS", "12:30:00.mp4", "a/b/c.3G2", "clip.m2ts",
    ]  # fmt: skip
    assert warnings == []
    assert not is_video_name("._clip.m2ts")


def test_what_is_named_is_taken_as_it_is(make):
    folder = make("clip.dat", ".hidden.mp4")
    places = [str(folder / name) for name in ("clip.dat", ".hidden.mp4", "missing.mp4")]
    assert find_videos(places) == places


def test_a_folder_without_videos_says_what_was_skipped(make, warnings):
    folder = make("none/._a.mp4", "none/.b.mp4", "none/notes.txt", "none/README", "good/v.mp4")
    (folder / "empty").mkdir()
    skipped = "skipped 4 file(s): 2 hidden, 1 .txt, 1 without an ending"
    with pytest.raises(InputError) as error:
        find_videos([folder / "none", folder / "empty"])
    assert str(error.value).startswith(f"{folder}/none: no video was found; skipped 4 file(s): 2 ")
    assert str(error.value).endswith(f"; {folder}/empty: no video was found")
    assert names(folder, folder / "none", folder / "good") == ["good/v.mp4"]
    (warning,) = warnings
    assert sorted(warning.split("found; ")[1]) == sorted(skipped)


def test_links_in_a_circle_are_followed_once(make, warnings):
    folder = make("a/v.mp4", "b/w.mp4")
    for name in ("a/one", "a/two", "b/three"):
        (folder / name).symlink_to(folder)
    assert names(folder) == ["a/v.mp4", "b/w.mp4"]
    assert sorted(warnings) == [
        f"{folder}/{name} is the same folder as {folder}; skipped"
        for name in ("a/one", "a/two", "b/three")
    ]


def test_a_second_name_of_a_file_is_skipped_and_both_are_named(make, warnings):
    folder = make("day2/v.mp4")
    (folder / "a.mp4").symlink_to(folder / "day2" / "v.mp4")
    (folder / "z.mp4").hardlink_to(folder / "day2" / "v.mp4")
    (folder / "latest").symlink_to(folder / "day2")
    v = folder / "day2" / "v.mp4"
    assert names(folder) == ["day2/v.mp4"]
    assert warnings == [
        f"{folder}/latest is the same folder as {folder}/day2; skipped",
        f"{folder}/a.mp4 is the same file as {v}; skipped",
        f"{folder}/z.mp4 is the same file as {v}; skipped",
    ]
    assert names(folder, folder / "a.mp4", folder) == ["a.mp4"]
    assert names(folder, v, v) == ["day2/v.mp4", "day2/v.mp4"]  # named twice: an error of `by_id`
    # An annotation may use any of the names.
    assert find_video(annotation("z"), folder) == folder / "z.mp4"


def test_what_is_no_file_is_skipped_with_a_sentence(make, warnings, monkeypatch):
    folder = make("v.mp4", "clips.mp4/notes.txt")
    os.mkfifo(folder / "pipe.mp4")
    os.mkfifo(folder / "pipe")
    monkeypatch.chdir(folder)  # a socket's name may have some hundred letters only
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind("socket.mp4")
    (folder / "broken.mp4").symlink_to("nowhere.mp4")
    # A broken link and a folder are videos that cannot be read: they count as failed.
    assert names(folder) == ["broken.mp4", "clips.mp4", "v.mp4"]
    assert sorted(warnings) == [
        f"{folder}/pipe.mp4: expected a file. Found: a named pipe; skipped",
        f"{folder}/socket.mp4: expected a file. Found: a socket; skipped",
    ]
    with pytest.raises(VideoError, match="no video file named pipe.mp4"):
        find_video(annotation("pipe"), folder)


def test_a_locked_folder_costs_that_folder(make, warnings, monkeypatch):
    folder = make("v.mp4", "locked/w.mp4")
    listed = Path.iterdir

    def iterdir(path):  # root, as which tests may run, can read every folder
        if path.name == "locked":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    assert names(folder) == ["v.mp4"]
    assert warnings == [f"{folder}/locked: skipped, it cannot be read (Permission denied)"]


def test_a_place_that_cannot_be_searched_fails_alone_when_it_is_read(make, warnings, monkeypatch):
    folder = make("v.mp4", "locked/w.mp4")
    listed = Path.iterdir

    def iterdir(path):
        if path.name == "locked":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    places = [str(folder / "locked"), str(folder / ("n" * 300)), str(folder / "v.mp4")]
    assert find_videos(places) == places
    assert [text.split(": ")[1] for text in warnings] == [
        "cannot be searched (Permission denied)", "cannot be searched (File name too long)"
    ]  # fmt: skip


def test_videos_in(folder):
    assert list(videos_in(folder)) == ["x", "v", "w"]
    annotated = {key: annotation(key) for key in ("v", "gone")}
    assert videos_in(folder, annotated) == {"v": folder / "v.mp4", "gone": folder / "gone.mp4"}
    with pytest.raises(InputError, match="none of the 1 annotated videos was found"):
        videos_in(folder, {"gone": annotation("gone", file="elsewhere/gone.avi")})
    for empty in (folder / "none", folder / "notes.txt"):
        with pytest.raises(InputError, match="no video was found"):
            videos_in(empty)
