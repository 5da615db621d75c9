"""Pictures of one color, in which a look shows as a color and nothing else."""

import numpy as np
import pytest

from scnn_tf.datasets.editing import join


def flat(levels) -> np.ndarray:
    """A clip whose frame i has grey level `levels[i]`."""
    return np.broadcast_to(np.uint8(levels)[:, None, None, None], (len(levels), 4, 6, 3))


def colors(clips, decoys=0.0, fades=False, seed=0) -> np.ndarray:
    """The color of each joined frame, int `[frames, 3]`."""
    frames = np.stack(list(join(clips, decoys, fades, np.random.default_rng(seed))))
    assert (frames == frames[:, :1, :1]).all()
    return frames[:, 0, 0].astype(int)


def test_without_decoys_and_fades_the_frames_are_the_clips():
    rng = np.random.default_rng(1)
    clips = [rng.integers(0, 256, (n, 4, 6, 3), np.uint8) for n in (3, 1, 5)]
    joined = np.stack(list(join(clips, 0.0, False, rng)))
    np.testing.assert_array_equal(joined, np.concatenate(clips))


def test_decoys_keep_every_frame_at_its_time():
    # Dark or bright by chance: no light or contrast turns 40 (at most 87) into 220 (at least 172).
    bright = np.random.default_rng(2).random(400) < 0.5
    levels = np.where(bright, 220, 40)
    seen = colors([flat(levels[:150]), flat(levels[150:])], decoys=0.1)
    np.testing.assert_array_equal(seen.mean(axis=1) > 128, bright)


def test_decoys_are_everywhere_and_as_many_as_asked():
    seen = colors([flat([128] * 10_000)], decoys=0.02)
    cuts = 1 + np.flatnonzero((seen[1:] != seen[:-1]).any(axis=1))
    # 200 of 10,000 are expected, with a standard deviation of 14; 50 in each quarter, of 7.
    assert 150 < len(cuts) < 250
    assert all(25 < count < 75 for count in np.histogram(cuts, 4, (0, 10_000))[0])


def test_the_look_changes_at_a_joint_as_it_does_at_a_decoy():
    count, length = 200, 50
    seen = colors([flat([128] * length)] * count, decoys=0.02)
    jumps = np.abs(np.diff(seen, axis=0)).mean(axis=1)
    joint = np.arange(1, count * length) % length == 0
    # 199 joints and about 196 decoys.
    assert (jumps[joint] > 0).all()
    assert (jumps > 0).sum() > 1.8 * joint.sum()
    assert jumps[joint].mean() == pytest.approx(jumps[~joint & (jumps > 0)].mean(), rel=0.15)


def test_crop_and_mirror_image_change_too():
    ramp = np.arange(0, 240, 12, dtype=np.uint8)[:, None]
    ramp = np.broadcast_to(ramp, (99, 20, 20, 3))
    frames = np.stack(list(join([ramp], 0.5, False, np.random.default_rng(0))))
    spans = {int(row[-1]) - int(row[0]) for row in frames[:, 0, :, 0]}
    # 228 in the clip; a crop of at least .8, with a contrast of .75 to 1.25, keeps at least 120.
    assert len(spans) > 20 and min(spans) < -100 and max(spans) > 100
    assert all(100 < abs(span) <= 255 for span in spans)


def test_half_of_the_joints_are_fades_with_their_middle_at_the_joint():
    lengths = []
    for seed in range(200):
        seen = colors([flat([0] * 12), flat([240] * 12)], fades=True, seed=seed)[:, 0]
        mixed = np.flatnonzero((seen > 0) & (seen < 240))
        lengths.append(n := len(mixed))
        # As many frames before the joint, frame 12, as from it on; the new clip's share grows by
        # 1/n a frame and is .5 at the joint itself, between two frames.
        assert mixed.tolist() == list(range(12 - n // 2, 12 + n // 2))
        np.testing.assert_allclose(seen[mixed], 240 * (np.arange(n) + 0.5) / n, atol=1)
    assert set(lengths) == {0, 2, 4, 6, 8, 10, 12}
    assert 75 < lengths.count(0) < 125


def test_a_fade_goes_on_with_the_clip_in_both_directions():
    # The last frames before the joint, backward, are what shines through after it.
    before, after = [100, 120, 140, 160], [200, 180, 160, 140]
    clips = [flat(before), flat(after)]
    seen = {tuple(colors(clips, fades=True, seed=seed)[:, 0]) for seed in range(50)}
    assert (100, 120, 140 * 7 / 8 + 180 / 8, 160 * 5 / 8 + 200 * 3 / 8) == (100, 120, 145, 175)
    assert (100, 120, 145, 175, 185, 175, 160, 140) in seen


def test_decoys_fade_between_two_looks_of_one_frame():
    bright = np.random.default_rng(3).random(1000) < 0.5
    clip = [flat(np.where(bright, 220, 40))]
    hard = colors(clip, decoys=0.02)
    seen = colors(clip, decoys=0.02, fades=True)
    np.testing.assert_array_equal(seen.mean(axis=1) > 128, bright)
    # About half of some 20 cuts are fades of 7 frames on average; elsewhere, nothing changes.
    assert 20 < (seen != hard).any(axis=1).sum() < 120


def test_shots_of_one_frame_are_joined_without_fades():
    clips = [flat([level]) for level in (10, 90, 170)]
    assert colors(clips, fades=True)[:, 0].tolist() == [10, 90, 170]
