"""Clips have different grey levels, which identify them in a stitched video."""

import json
from pathlib import Path

import numpy as np
import pytest

from scnn_tf.datasets import stitching
from scnn_tf.datasets.activitynet import read_activitynet
from scnn_tf.errors import InputError, VideoError
from scnn_tf.io import video

# file → (frames, grey level)
CLIPS = {
    "walk/ann_walk.mp4": (10, 40),
    "run/ann_run.mp4": (5, 80),
    "bend/ann_bend.mp4": (7, 120),
    "jump/ann_jump.mp4": (6, 160),
    "walk/bob_walk.mp4": (8, 60),
    "run/bob_run.mp4": (9, 100),
    "jump/bob_jump.mp4": (4, 140),
}


@pytest.fixture
def clips_dir(tmp_path) -> Path:
    folder = tmp_path / "clips"
    for name, (count, level) in CLIPS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        frames = [np.full((16, 32, 3), level, np.uint8)] * count
        video.write_video(folder / name, frames, 25)
    return folder


def stitch(clips_dir, output, **kwargs):
    # Without decoys and cross-fades, so that a clip's grey level shows through.
    options = {
        **{"targets": ["walk", "run"], "test_people": ["bob"], "seed": 3},
        **{"decoys": 0, "fades": False, **kwargs},
    }
    return stitching.stitch(clips_dir, output, **options)


def levels(path) -> list[int]:
    return [round(float(f.mean())) for f in video.read_frames(path, height=None, width=None)]


def test_every_frame_of_every_instance_is_of_its_clip(clips_dir, tmp_path):
    stitch(clips_dir, tmp_path / "out", sequences_per_person=3)
    videos = read_activitynet(tmp_path / "out" / "annotations.json")
    assert set(videos) == {f"{p}_0{i}" for p in ("ann", "bob") for i in range(3)}
    for key, annotation in videos.items():
        person = key.split("_")[0]
        mine = {k.split("/")[0]: v for k, v in CLIPS.items() if f"/{person}_" in k}
        seen = levels(tmp_path / "out" / "videos" / annotation.file)
        # All clips in full: ann's are 10 + 5 + 7 + 6 = 28 frames, bob's 8 + 9 + 4 = 21.
        assert len(seen) == sum(count for count, _ in mine.values())
        assert annotation.duration == len(seen) / 25
        assert sorted(i.label for i in annotation.instances) == ["run", "walk"]
        covered = np.zeros(len(seen), bool)
        for instance in annotation.instances:
            start, end = round(instance.start * 25), round(instance.end * 25)
            count, level = mine[instance.label]
            assert end - start == count
            np.testing.assert_allclose(seen[start:end], level, atol=3)
            covered[start:end] = True
        background = [level for label, (_, level) in mine.items() if label in ("bend", "jump")]
        for level in np.array(seen)[~covered]:
            assert min(abs(level - b) for b in background) <= 3


def test_no_person_is_in_both_subsets(clips_dir, tmp_path):
    made = stitch(clips_dir, tmp_path / "out", sequences_per_person=2)
    subsets = {(key.split("_")[0], v.subset) for key, v in made.videos.items()}
    assert subsets == {("ann", "train"), ("bob", "test")}


def test_the_seed_decides_and_each_sequence_has_another_order(clips_dir, tmp_path):
    def order(made):
        return {k: [(i.label, i.start) for i in v.instances] for k, v in made.videos.items()}

    first = stitch(clips_dir, tmp_path / "a", sequences_per_person=6)
    again = stitch(clips_dir, tmp_path / "b", sequences_per_person=6)
    other = stitch(clips_dir, tmp_path / "c", sequences_per_person=6, seed=4)
    assert order(first) == order(again) != order(other)
    same = "videos/ann_05.mp4"
    assert (tmp_path / "a" / same).read_bytes() == (tmp_path / "b" / same).read_bytes()
    # Bob's three clips have 3! = 6 orders: all of them are there.
    bobs = [tuple(v) for k, v in order(first).items() if k.startswith("bob")]
    assert len(set(bobs)) == 6


def test_decoys_and_fades_change_pictures_but_no_times(clips_dir, tmp_path):
    plain = stitch(clips_dir, tmp_path / "plain")
    first = stitch(clips_dir, tmp_path / "a", decoys=5, fades=True)
    stitch(clips_dir, tmp_path / "b", decoys=5, fades=True)
    assert first.videos == plain.videos
    written = [
        (tmp_path / out / "videos" / "ann_00.mp4").read_bytes() for out in ("plain", "a", "b")
    ]
    assert written[0] != written[1] == written[2]


def test_decoys_and_fades_are_the_default(clips_dir, tmp_path):
    stitching.stitch(clips_dir, tmp_path / "a", targets=["walk"])
    stitch(clips_dir, tmp_path / "b", targets=["walk"], seed=0, decoys=0.5, fades=True)
    written = [(tmp_path / out / "videos" / "ann_00.mp4").read_bytes() for out in "ab"]
    assert written[0] == written[1]


def test_more_sequences_than_orders_repeat_rather_than_hang():
    assert len(stitching._orders("ann", 2, 5, seed=0)) == 5
    assert set(stitching._orders("ann", 2, 5, seed=0)[:2]) == {(0, 1), (1, 0)}


def test_clips_of_other_sizes_are_resized_to_the_first(clips_dir, tmp_path):
    big = [np.full((64, 48, 3), 40, np.uint8)] * 10
    video.write_video(clips_dir / "walk" / "ann_walk.mp4", big, 25)
    made = stitch(clips_dir, tmp_path / "out")
    sizes = {
        (info.width, info.height)
        for v in made.videos.values()
        for info in [video.probe(tmp_path / "out" / "videos" / v.file)]
    }
    assert sizes == {(32, 16)}  # ann_bend's: the first by class and name.


def test_a_broken_clip_is_listed_and_left_out(clips_dir, tmp_path):
    (clips_dir / "walk" / "ann_walk.mp4").write_bytes(b"")
    made = stitch(clips_dir, tmp_path / "out")
    assert [i.label for i in made.videos["ann_00"].instances] == ["run"]
    assert len(made.skipped) == 1 and "ann_walk.mp4 is empty" in made.skipped[0]


def test_a_folder_of_broken_clips_only_is_an_error(clips_dir, tmp_path):
    for name in CLIPS:
        (clips_dir / name).write_bytes(b"")
    with pytest.raises(VideoError, match="none of the 7 clips"):
        stitch(clips_dir, tmp_path / "out")
    assert not (tmp_path / "out" / "annotations.json").exists()


def test_the_person_pattern_can_be_chosen(clips_dir, tmp_path):
    # The person is the class here: a nonsense that shows which group is taken.
    clips = stitching.find_clips(clips_dir, r"_(.+)\.")
    assert {clip.person for clip in clips} == {"walk", "run", "bend", "jump"}


def test_files_without_a_person_are_left_out(clips_dir):
    (clips_dir / "walk" / "nobody.avi").write_bytes(b"")
    (clips_dir / "walk" / "ann_notes.txt").write_text("not a clip")
    assert len(stitching.find_clips(clips_dir)) == len(CLIPS)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"targets": ["walk", "fly"]},
            "no target class is named fly. Found: bend, jump, run, walk",
        ),
        ({"targets": []}, "at least one target"),
        ({"test_people": ["eve"]}, "no test person is named eve. Found: ann, bob"),
        ({"sequences_per_person": 0}, "sequences_per_person must be"),
        ({"decoys": -1}, "decoys must be between 0 and the 25 frames per second. Received: -1"),
        ({"person_pattern": "("}, "expected a regular expression"),
        ({"person_pattern": "ann"}, "expected a group"),
        ({"person_pattern": "^(xyz)_"}, "matches none of the 7 clips"),
    ],
)
def test_invalid_input_is_an_error_of_one_sentence(clips_dir, tmp_path, change, sentence):
    with pytest.raises(InputError, match=sentence) as caught:
        stitch(clips_dir, tmp_path / "out", **change)
    assert "\n" not in str(caught.value)


def test_a_folder_without_clips_is_an_error(tmp_path):
    with pytest.raises(InputError, match="expected a folder with"):
        stitch(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(InputError, match="expected clips named"):
        stitch(tmp_path, tmp_path / "out")


@pytest.mark.data
def test_the_real_clips_are_found(data_dir):
    clips = stitching.find_clips(data_dir / "videos" / "weizmann")
    people = {clip.person for clip in clips}
    assert people == {"daria", "denis", "eli", "ido", "ira", "lena"}
    assert len(clips) == 60


def test_the_written_annotations_read_back(clips_dir, tmp_path):
    stitch(clips_dir, tmp_path / "out")
    content = json.loads((tmp_path / "out" / "annotations.json").read_text())
    entry = content["database"]["bob_00"]
    assert (entry["subset"], entry["fps"], entry["file"]) == ("test", 25.0, "bob_00.mp4")
    assert entry["duration"] == pytest.approx(21 / 25)
    assert "trimmed" not in entry
