from scnn_tf.datasets.annotations import AMBIGUOUS, Instance, VideoAnnotation, class_names

JUMP = Instance("jump", 1.0, 2.5)
DOUBT = Instance(AMBIGUOUS, 3.0, 4.0)


def test_actions_leave_out_ambiguous_intervals():
    video = VideoAnnotation("v", "test", 9.0, 25.0, (DOUBT, JUMP))
    assert video.actions == (JUMP,)
    assert video.ambiguous == (DOUBT,)
    assert class_names([video]) == ("jump",)


def test_clipped_cuts_instances_at_the_end_and_drops_later_ones():
    late = Instance("run", 6.0, 7.0)
    video = VideoAnnotation("v", "train", 9.0, None, (JUMP, DOUBT, late))
    clipped = video.clipped(3.5)
    assert clipped.duration == 3.5
    assert clipped.instances == (JUMP, Instance(AMBIGUOUS, 3.0, 3.5))
    assert video.instances == (JUMP, DOUBT, late)
