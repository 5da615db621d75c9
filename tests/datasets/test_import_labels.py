import json

import numpy as np
import pytest

from scnn_tf.datasets.annotations import Instance, VideoAnnotation
from scnn_tf.datasets.import_labels import assign_subsets, import_labels, sources
from scnn_tf.errors import InputError
from scnn_tf.io.video import write_video

# The least of each tool's export; tests/test_label_tools.py has them whole.
VIA = {
    "attribute": {"1": {"anchor_id": "FILE1_Z2_XY0", "options": {"1": "pour"}}},
    "file": {"1": {"fname": "kitchen_01.mp4"}, "2": {"fname": "kitchen_02.mp4"}},
    "metadata": {"1_a": {"vid": "1", "z": [12.4, 15], "xy": [], "av": {"1": "1"}}},
    "view": {"1": {"fid_list": ["1"]}, "2": {"fid_list": ["2"]}},
}


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
        exports("b.json", VIA),
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
            Instance("pour", 0.4, 0.48), Instance("stir", 1.6, 1.8),
        ),
        file="kitchen_01.mp4",
    )  # fmt: skip
    assert made.videos["kitchen_02"].duration is None
    (missing,) = made.not_found
    assert "no video file named kitchen_02.mp4" in missing


def test_frames_of_the_file_have_its_own_rate(exports, tmp_path):
    (video,) = import_labels([exports("d.xml", CVAT)], tmp_path / "videos").videos.values()
    # 20 Hz: frames [10, 12), [40, 45).
    assert [(i.start, i.end) for i in video.instances] == [(0.5, 0.6), (2.0, 2.25)]


def test_frames_without_a_rate_are_an_error_that_says_what_to_give(exports, tmp_path):
    with pytest.raises(InputError, match="folder of the videos .--video_dir. or their frame rate"):
        import_labels([exports("d.xml", CVAT)])
    with pytest.raises(InputError, match="frameRate of its <Video> tag"):
        import_labels([exports("c.json", TIMELINE)], tmp_path / "videos")


def test_files_are_found_by_path_name_and_id(exports, tmp_path):
    (tmp_path / "videos" / "more").mkdir()
    (tmp_path / "videos" / "kitchen_01.mp4").rename(tmp_path / "videos" / "more" / "a.mp4")
    write_video(tmp_path / "videos" / "b.mp4", np.zeros((25, 32, 32, 3), np.uint8), 25)
    text = "video,label,start,end\nmore/a.mp4,run,1,2\n/old/place/b.avi,run,0,1\nc,run,0,1\n"
    made = import_labels([exports("a.csv", text)], tmp_path / "videos")
    found = {key: (video.file, video.duration) for key, video in made.videos.items()}
    assert found == {"a": ("more/a.mp4", 5.0), "b": ("b.mp4", 1.0), "c": (None, None)}
    assert len(made.not_found) == 1


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


def test_a_video_without_a_name_and_a_missing_folder_are_errors(exports, tmp_path):
    nameless = {**VIA, "file": {"1": {"fname": None, "src": ""}, "2": VIA["file"]["2"]}}
    with pytest.raises(InputError, match="a.json: expected a name for each video"):
        import_labels([exports("a.json", nameless)])
    with pytest.raises(InputError, match="none: no such folder of videos"):
        import_labels([exports("a.json", VIA)], tmp_path / "none")


def test_an_invalid_instance_is_reported_with_its_place(exports):
    text = "video,label,start,end\nv,run,1,2\nv,run,3,3\nv,,3,4\nv,run,-1,2\nv,run,1,inf\n"
    made = import_labels([exports("a.csv", text)])
    assert made.videos["v"].instances == (Instance("run", 1, 2),)
    assert [sentence.split(": ", 1)[1] for sentence in made.unusable] == [
        "v, line 3, 3 to 3 (run): must start at 0 or later and end after its start",
        "v, line 4, 3 to 4: has no class",
        "v, line 5, -1 to 2 (run): must start at 0 or later and end after its start",
        "v, line 6, 1 to inf (run): must start at 0 or later and end after its start",
    ]
    with pytest.raises(InputError, match="Found: none; the first of 1 .*line 2"):
        import_labels([exports("a.csv", "video,label,start,end\nv,run,2,1\n")])


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


def videos(*names, **subsets):
    return {
        name: VideoAnnotation(name, subsets.get(name, ""), None, None, ())
        for name in (*names, *subsets)
    }


def test_of(assigned):
    return sorted(key for key, video in assigned.items() if video.subset == "test")


test_of.__test__ = False
MANY = [f"{who}_{number}" for who in ("ann", "bob", "cat", "dan", "eve") for number in range(4)]


def test_the_test_list_names_videos_or_sources():
    assigned = assign_subsets(videos("ann_1", "ann_2", "bob_1", "bob_2"), ["bob", "ann_2"])
    assert test_of(assigned) == ["ann_2", "bob_1", "bob_2"]
    with pytest.raises(InputError, match="no video or source is named eve; sources are ann, bob"):
        assign_subsets(videos("ann_1", "bob_1"), ["eve"])
    with pytest.raises(InputError, match="all 2 videos would be in the subset 'test'"):
        assign_subsets(videos("ann_1", "bob_1"), ["ann", "bob"])


def test_the_test_share_draws_whole_sources_in_any_order_of_videos():
    drawn = test_of(assign_subsets(videos(*MANY), test_share=0.4))
    assert len(drawn) == 8
    assert len({name.split("_")[0] for name in drawn}) == 2
    assert test_of(assign_subsets(videos(*reversed(MANY)), test_share=0.4)) == drawn
    others = [test_of(assign_subsets(videos(*MANY), test_share=0.4, seed=s)) for s in range(9)]
    assert any(other != drawn for other in others)
    # However small the share, somebody is tested on; however large, somebody is trained on.
    assert len(test_of(assign_subsets(videos(*MANY), test_share=0.01))) == 4
    assert len(test_of(assign_subsets(videos(*MANY), test_share=0.99))) == 16


def test_without_sources_single_videos_are_drawn():
    names = [f"video_{number:02d}" for number in range(10)]
    assert len(test_of(assign_subsets(videos(*names), test_share=0.3))) == 3


def test_a_video_keeps_the_subset_that_it_has():
    assigned = assign_subsets(videos("ann_1", bob_1="validation"))
    assert [video.subset for video in assigned.values()] == ["train", "validation"]


def test_sources_are_found_by_the_pattern():
    assert sources(["ann_1", "bob_2", "hall"]) == {"ann_1": "ann", "bob_2": "bob", "hall": "hall"}
    assert sources(["video_1", "video_2"]) == {"video_1": "video_1", "video_2": "video_2"}
    assert sources(["P1T1", "P1T2", "P2T1"], r"^(P\d)")["P1T2"] == "P1"
    with pytest.raises(InputError, match="expected a group"):
        sources(["a"], "a")
    with pytest.raises(InputError, match="expected a regular expression"):
        sources(["a"], "(")
