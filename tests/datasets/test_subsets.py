import pytest

from scnn_tf.datasets.annotations import VideoAnnotation
from scnn_tf.datasets.subsets import assign_subsets, sources
from scnn_tf.errors import InputError


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


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(
    ("sizes", "share", "expected"),
    [
        # Of 20 videos: 6 are 2 + 4 or 6; greedily, the one of 10 would be drawn first by some seed.
        ({"a": 10, "b": 4, "c": 4, "d": 2}, 0.3, 6),
        ({"a": 9, "b": 9, "c": 2}, 0.2, 2),
        ({"a": 9, "b": 8, "c": 3}, 0.5, 9),  # or 11 = 8 + 3: the smaller one of two as near
        ({"a": 19, "b": 1}, 0.5, 1),
        ({"a": 2, "b": 2}, 0.01, 2),  # somebody is tested on,
        ({"a": 2, "b": 2}, 0.99, 2),  # and somebody trained on
    ],
)
def test_the_test_share_is_as_near_as_sources_allow(sizes, share, expected, seed):
    names = [f"{who}_{number}" for who, size in sizes.items() for number in range(size)]
    drawn = test_of(assign_subsets(videos(*names), test_share=share, seed=seed))
    assert len(drawn) == expected
    assert all(sum(n[0] == who for n in drawn) in (0, size) for who, size in sizes.items())


def test_the_test_share_counts_the_videos_that_have_a_subset():
    names = {"z_1": "test", "z_2": "test"}
    drawn = test_of(assign_subsets(videos(*MANY[:8], **names), test_share=0.2))
    assert drawn == ["z_1", "z_2"]
    drawn = test_of(assign_subsets(videos(*MANY[:8], **names), test_share=0.6))
    assert len(drawn) == 6


def test_without_sources_single_videos_are_drawn():
    names = [f"video_{number:02d}" for number in range(10)]
    assert len(test_of(assign_subsets(videos(*names), test_share=0.3))) == 3


def test_a_video_keeps_the_subset_that_it_has():
    assigned = assign_subsets(videos("ann_1", bob_1="validation"))
    assert [video.subset for video in assigned.values()] == ["train", "validation"]


def test_sources_are_found_by_the_pattern():
    assert sources(["ann_1", "bob_2", "hall"]) == {"ann_1": "ann", "bob_2": "bob", "hall": "hall"}
    names = {"cam1/ann_1": "ann", "cam2/ann_1": "ann", "bob_1_2": "bob", "my_cam/v1": "my_cam/v1"}
    assert sources(names) == names
    assert sources(["video_1", "video_2"]) == {"video_1": "video_1", "video_2": "video_2"}
    assert sources(["P1T1", "P1T2", "P2T1"], r"^(P\d)")["P1T2"] == "P1"
    with pytest.raises(InputError, match="expected a group"):
        sources(["a"], "a")
    with pytest.raises(InputError, match="expected a regular expression"):
        sources(["a"], "(")
