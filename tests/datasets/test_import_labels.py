import json
from fractions import Fraction

import av
import numpy as np
import pytest

from scnn_tf.datasets.annotations import Instance, VideoAnnotation
from scnn_tf.datasets.import_labels import import_labels
from scnn_tf.datasets.video_files import by_id, find_videos
from scnn_tf.errors import InputError
from scnn_tf.io.video import write_video

# The least of each tool's export; tests/datasets/labels has them whole.
VIA = {
    "attribute": {"1": {"anchor_id": "FILE1_Z2_XY0", "options": {"1": "pour"}}},
    "file": {"1": {"fname": "kitchen_01.mp4"}, "2": {"fname": "kitchen_02.mp4"}},
    "metadata": {"1_a": {"vid": "1", "z": [12.4, 15], "xy": [], "av": {"1": "1"}}},
    "view": {"1": {"fid_list": ["1"]}, "2": {"fid_list": ["2"]}},
}
SECOND = {"1_b": {"vid": "2", "z": [1, 2], "xy": [], "av": {"1": "1"}}}


def task(file, value, **region):
    """One of Label Studio's, with one region."""
    return [{"data": {"video": file}, "annotations": [{"result": [{"value": value, **region}]}]}]


TIMELINE = task(
    "/data/upload/2/1f2e3d4c-kitchen_01.mp4",
    {"ranges": [{"start": 1, "end": 50}], "timelinelabels": ["pour"]},
)
AUDIO = task("hall_02.mp4", {"start": 1.25, "end": 3.5, "labels": ["clap"]}, original_length=61.5)
CVAT = """<annotations><meta><task><source>kitchen_01.mp4</source></task></meta>
<track label="pour"><box frame="10" outside="0"/><box frame="12" outside="1"/></track>
<track label="stir"><box frame="40" outside="0"/><box frame="44" outside="0"/></track>
</annotations>"""


@pytest.fixture
def exports(tmp_path):
    """Writes exports, and a video of 100 frames at 20 Hz: `videos/kitchen_01.mp4`."""
    (tmp_path / "videos").mkdir()
    frames = np.zeros((100, 32, 32, 3), np.uint8)
    write_video(tmp_path / "videos" / "kitchen_01.mp4", frames, 20)

    def write(name, content):
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def test_one_video_may_be_in_the_exports_of_all_tools(exports, tmp_path):
    paths = [
        exports("a.csv", "video,label,start,end\nkitchen_01.mp4,run,0.5,1\n"),
        exports("b.json", {**VIA, "metadata": {**VIA["metadata"], **SECOND}}),
        exports("c.json", TIMELINE),
        exports("d.xml", CVAT),
    ]
    made = import_labels(paths, tmp_path / "videos", frame_rate=25)
    assert made.unusable == []
    assert list(made.videos) == ["kitchen_01", "kitchen_02"]
    assert made.videos["kitchen_01"] == VideoAnnotation(
        "kitchen_01", "", 5.0, 20.0,
        (
            Instance("run", 0.5, 1.0), Instance("pour", 12.4, 15.0), Instance("pour", 0.0, 2.0),
            Instance("pour", 0.5, 0.6), Instance("stir", 2.0, 2.25),
        ),
        file="kitchen_01.mp4",
    )  # fmt: skip
    assert made.videos["kitchen_02"].duration is None
    (missing,) = made.not_found
    assert "no video file named kitchen_02.mp4" in missing


def test_frames_of_the_file_have_its_own_rate(exports, tmp_path):
    (video,) = import_labels([exports("d.xml", CVAT)], tmp_path / "videos").videos.values()
    # 20 Hz: frames [10, 12), [40, 45).
    assert times(video) == [(0.5, 0.6), (2.0, 2.25)]
    # The rate of another tool in the same call does not change them.
    (video,) = import_labels([exports("d.xml", CVAT)], tmp_path / "videos", 10).videos.values()
    assert times(video) == [(0.5, 0.6), (2.0, 2.25)]
    (video,) = import_labels([exports("d.xml", CVAT)], frame_rate=10).videos.values()
    assert times(video) == [(1.0, 1.2), (4.0, 4.5)]


def test_frames_of_the_file_have_the_times_at_which_it_shows_them(exports, tmp_path):
    # Picture k of 100: 10 a second up to 5 s, then 50 a second up to 6 s.
    shown = [k / 10 if k < 50 else 5 + (k - 50) / 50 for k in range(100)]
    with av.open(tmp_path / "videos" / "vfr.mp4", "w") as container:
        stream = container.add_stream("libx264", rate=50)
        stream.width = stream.height = 32
        stream.codec_context.time_base = Fraction(1, 50)
        for time in shown:
            frame = av.VideoFrame(32, 32, "yuv420p")
            frame.pts, frame.time_base = round(time * 50), Fraction(1, 50)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    track = '<track label="a"><box frame="{}" outside="0"/><box frame="{}" outside="1"/></track>'
    tracks = "".join(track.format(*frames) for frames in ((0, 1), (49, 51), (60, 100), (99, 105)))
    export = f"<annotations><meta><source>vfr.mp4</source></meta>{tracks}</annotations>"
    (video,) = import_labels([exports("d.xml", export)], tmp_path / "videos").videos.values()
    # Frame 100 is the end of the video; those after it, at the mean rate, are later than its end.
    *spans, (start, end) = times(video)
    assert spans == [(0, 0.1), (4.9, 5.02), (5.2, 6)]
    assert (start, end) == (5.98, pytest.approx(6 + 5 / (100 / 6), abs=0.1))


def test_a_task_of_label_studio_may_have_a_rate_of_its_own(exports):
    (given,) = TIMELINE
    other = {**given, "data": {"video": "b.mp4", "fps": "10"}}
    made = import_labels([exports("c.json", [given, other])], frame_rate=25).videos
    assert {key: times(video) for key, video in made.items()} == {
        "kitchen_01": [(0, 2)], "b": [(0, 5)],
    }  # fmt: skip


def test_a_missing_video_labelled_in_frames_is_left_out(exports, tmp_path):
    paths = [exports("d.xml", CVAT), exports("e.xml", CVAT.replace("kitchen_01", "gone"))]
    made = import_labels(paths, tmp_path / "videos")
    assert list(made.videos) == ["kitchen_01"]
    assert [sentence.split(": ", 1)[1] for sentence in made.unusable] == [
        "gone.mp4 is labelled in frames; give the folder of the videos (--video_dir) or their "
        "frame rate (--frame_rate)",
    ]
    assert made.left_out == ["gone.mp4"]


def test_frames_without_a_rate_are_an_error_that_says_what_to_give(exports, tmp_path):
    with pytest.raises(InputError, match="folder of the videos .--video_dir. or their frame rate"):
        import_labels([exports("d.xml", CVAT)])
    with pytest.raises(InputError, match="frameRate of its <Video> tag"):
        import_labels([exports("c.json", TIMELINE)], tmp_path / "videos")


def test_files_are_found_by_path_name_and_id(exports, tmp_path):
    (tmp_path / "videos" / "more").mkdir()
    (tmp_path / "videos" / "kitchen_01.mp4").rename(tmp_path / "videos" / "more" / "a.MP4")
    write_video(tmp_path / "videos" / "b.mp4", np.zeros((25, 32, 32, 3), np.uint8), 25)
    text = "video,label,start,end\nmore/a.mp4,run,1,2\n/old/place/b.avi,run,0,1\nc,run,0,1\n"
    made = import_labels([exports("a.csv", text)], tmp_path / "videos")
    found = {key: (video.file, video.duration) for key, video in made.videos.items()}
    assert found == {"a": ("more/a.MP4", 5.0), "b": ("b.mp4", 1.0), "c": (None, None)}
    assert len(made.not_found) == 1


@pytest.fixture
def cameras(exports, tmp_path):
    """Writes videos of one name: `videos/cam1/GH01.MP4` of 1 s, `videos/cam2/GH01.MP4` of 2 s."""
    for number in (1, 2):
        folder = tmp_path / "videos" / f"cam{number}"
        folder.mkdir()
        write_video(folder / "GH01.MP4", np.zeros((25 * number, 32, 32, 3), np.uint8), 25)
    return tmp_path / "videos"


ROWS = "video,label,start,end\ncam1/GH01.mp4,run,0,1\ncam2/GH01.mp4,run,1,2\n"


def test_videos_of_one_name_stay_different(exports, cameras):
    made = import_labels([exports("a.csv", ROWS.replace(".mp4", ""))]).videos
    assert {key: (video.file, times(video)) for key, video in made.items()} == {
        "cam1/GH01": (None, [(0, 1)]), "cam2/GH01": (None, [(1, 2)]),
    }  # fmt: skip
    for rows in (ROWS, ROWS.replace("cam", "/mnt/card/cam"), ROWS.replace("/", "\\")):
        made = import_labels([exports("a.csv", rows)], cameras).videos
        assert {key: (video.file, video.duration, times(video)) for key, video in made.items()} == {
            "cam1/GH01": ("cam1/GH01.MP4", 1.0, [(0, 1)]),
            "cam2/GH01": ("cam2/GH01.MP4", 2.0, [(1, 2)]),
        }
    # localize gives them the same ids.
    assert set(made) < set(by_id(find_videos([cameras])))


def test_label_studio_and_via_keep_the_folders_of_their_videos(exports):
    tasks = [
        task(f"{folder}/cam.mp4", {"start": 1, "end": 2, "labels": ["a"]})[0]
        for folder in ("s3://b/day1", "s3://b/day2", "/data/upload/7")
    ]
    made = import_labels([exports("a.json", tasks)]).videos
    assert {key: video.file for key, video in made.items()} == {
        "day1/cam": "day1/cam.mp4", "day2/cam": "day2/cam.mp4", "7/cam": "7/cam.mp4",
    }  # fmt: skip
    files = {"1": {"fname": "day1/cam.mp4"}, "2": {"fname": "day2/cam.mp4"}}
    via = {**VIA, "file": files, "metadata": {**VIA["metadata"], **SECOND}}
    made = import_labels([exports("b.json", via)]).videos
    assert list(made) == ["day1/cam", "day2/cam"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("GH01.mp4,run,0,1\n", "GH01.mp4, which may be cam1/GH01.mp4 or cam2/GH01.mp4"),
        ("GH01.avi,run,0,1\n", "GH01.avi, which may be cam1/GH01.mp4 or cam2/GH01.mp4"),
    ],
)
def test_a_name_of_two_videos_is_an_error(exports, rows, message):
    with pytest.raises(InputError, match=f"a.csv: expected a name of one video. .* {message}"):
        import_labels([exports("a.csv", ROWS + rows)])


def test_two_videos_of_one_file_are_an_error(exports, tmp_path):
    rows = ROWS.replace("GH01", "kitchen_01")
    with pytest.raises(InputError, match="cam1/kitchen_01.mp4 and cam2/kitchen_01.mp4. Found for"):
        import_labels([exports("a.csv", rows)], tmp_path / "videos")
    # Label Studio's own copies of two files of one name:
    value = {"start": 1, "end": 2, "labels": ["a"]}
    uploads = [task(f"/data/upload/1/{n}f2e3d4c-v.mp4", value)[0] for n in "12"]
    with pytest.raises(
        InputError, match="1f2e3d4c-v.mp4 and .*2f2e3d4c-v.mp4 have the same id 'v'"
    ):
        import_labels([exports("b.json", uploads)])


def test_a_folder_in_another_case_comes_before_a_file_without_folder(exports, cameras):
    (cameras / "kitchen_01.mp4").rename(cameras / "gh01.mp4")
    text = "video,label,start,end\nCam2/GH01.mp4,run,0,1\n"
    (video,) = import_labels([exports("a.csv", text)], cameras).videos.values()
    assert (video.file, video.duration) == ("cam2/GH01.MP4", 2.0)


def test_a_video_of_another_folder_is_not_taken(exports, cameras):
    text = "video,label,start,end\ncam3/GH01.mp4,run,0,1\nGH01,sit,0,1\n"
    made = import_labels([exports("a.csv", text)], cameras)
    (video,) = made.videos.values()
    assert (video.video_id, video.file, video.duration) == ("GH01", "cam3/GH01.mp4", None)
    text = "video,label,start,end\nGH01,sit,0,1\n"
    made = import_labels([exports("a.csv", text)], cameras)
    assert "GH01: expected one video of this name. Found: " in made.not_found[0]


def test_videos_that_nobody_labelled_are_left_out_and_named(exports, tmp_path):
    new = {"data": {"video": "new.mp4"}, "annotations": []}
    seen = {"data": {"video": "seen.mp4"}, "annotations": [{"result": []}]}
    also = {"data": {"video": "kitchen_01.mp4"}, "annotations": []}
    paths = [exports("a.json", [*AUDIO, new, seen, also]), exports("b.json", VIA)]
    made = import_labels(paths)
    assert {key: len(video.instances) for key, video in made.videos.items()} == {
        "hall_02": 1, "seen": 0, "kitchen_01": 1,
    }  # fmt: skip
    assert made.not_labelled == ["new.mp4", "kitchen_02.mp4"]


def test_a_duration_of_the_tool_is_kept_without_the_file(exports):
    (video,) = import_labels([exports("a.json", AUDIO)]).videos.values()
    assert (video.video_id, video.file, video.duration) == ("hall_02", "hall_02.mp4", 61.5)


@pytest.mark.parametrize("length", [0, -1, None, float("nan")])
def test_an_invalid_duration_is_ignored(exports, length):
    (task,) = AUDIO
    (given,) = task["annotations"]
    region = {**given["result"][0], "original_length": length}
    path = exports("a.json", [{**task, "annotations": [{"result": [region]}]}])
    assert import_labels([path]).videos["hall_02"].duration is None


def test_subsets_are_the_same_in_any_case(exports):
    text = "video,label,start,end,subset\nv,run,1,2,Train\nv,run,3,4,training\nw,run,3,4,TEST\n"
    videos = import_labels([exports("a.csv", text)]).videos
    assert {key: video.subset for key, video in videos.items()} == {"v": "train", "w": "test"}


def test_a_video_without_a_name_costs_that_video(exports):
    nameless = {"1": VIA["file"]["1"], "2": {"fname": None, "src": ""}}
    made = import_labels([exports("a.json", {**VIA, "file": nameless})])
    assert list(made.videos) == ["kitchen_01"]
    assert made.unusable[0].endswith("a.json: video 2: expected the name of a file. Found: none")


def test_a_missing_folder_is_an_error(exports, tmp_path):
    with pytest.raises(InputError, match="none: no such folder of videos"):
        import_labels([exports("a.json", VIA)], tmp_path / "none")


def test_an_invalid_instance_is_reported_with_its_place_and_reason(exports):
    text = (
        "video,label,start,end\nv,run,1,2\nv,run,3,3\nv,,3,4\nv,run,-1,2\nv,run,1,inf\n"
        "w,run,0:75,2\n"
    )
    made = import_labels([exports("a.csv", text)])
    assert made.videos["v"].instances == (Instance("run", 1, 2),)
    assert [sentence.split(".csv: ")[-1] for sentence in made.unusable] == [
        "v, line 3, 3 to 3 (run): must start at 0 or later and end after its start",
        "v, line 4, 3 to 4: has no class",
        "v, line 5, -1 to 2 (run): must start at 0 or later and end after its start",
        "v, line 6, 1 to inf (run): its end is no time (expected seconds or h:m:s, such as 72.5 or "
        "0:01:12.5). Received: 'inf'",
        "w, line 7, 0:75 to 2 (run): its start is no time (expected seconds or h:m:s, such as 72.5 "
        "or 0:01:12.5). Received: '0:75'",
    ]
    # w is no video without an action: what was labelled is not known.
    assert (list(made.videos), made.left_out) == (["v"], ["w"])
    with pytest.raises(InputError, match="Found: none; the first of 1 .*line 2"):
        import_labels([exports("a.csv", "video,label,start,end\nv,run,2,1\n")])


@pytest.mark.parametrize("sign", ["\t", "\x1b", "\x85", "\u2028"])
def test_names_with_control_characters_are_refused_and_quoted(exports, sign):
    rows = [{"fname": f"a{sign}b.mp4"}, {"fname": "c.mp4"}]
    attribute = {"1": {"anchor_id": "FILE1_Z2_XY0", "options": {"1": f"p{sign}r", "2": "sit"}}}
    content = {
        "attribute": attribute, "file": dict(zip("12", rows, strict=True)), "view": VIA["view"],
        "metadata": {
            f"{sign}{n}": {"vid": vid, "z": [n, 9], "xy": [], "av": {"1": option}}
            for n, (vid, option) in enumerate([("1", "2"), ("2", "1"), ("2", "2")])
        },
    }  # fmt: skip
    made = import_labels([exports("a.json", content)])
    assert [i.label for i in made.videos["c"].instances] == ["sit"]
    name, label = made.unusable
    assert "expected a name of a video without control characters. Received: 'a\\" in name
    assert "expected a class without control characters. Received: 'p\\" in label
    assert not {sign} & {*name, *label}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("v.mp4,run,1,2,\nv.avi,run,1,2,\n", "v.mp4 and v.avi have the same id 'v'"),
        ("v,run,1,2,test\nv,run,3,4,train\n", "v is in two subsets, 'test' and 'train'"),
    ],
)
def test_contradicting_exports_are_errors(exports, rows, message):
    with pytest.raises(InputError, match=message):
        import_labels([exports("a.csv", f"video,label,start,end,subset\n{rows}")])


def times(video):
    return [(i.start, i.end) for i in video.instances]
