"""Two tiny videos, detections in them, and the ground truth of one."""

import numpy as np
import pytest

from scnn_tf.datasets.annotations import Instance, VideoAnnotation
from scnn_tf.io.video import write_video
from scnn_tf.localization.tables import Detections
from scnn_tf.report.labels.drafts import drafts_of

ODD = "a, \"b\" & <c>; 'd'"
FOUND = Detections(
    ["cam1/ann_1", "cam1/ann_1", "cam1/ann_1", "cam1/ann_1", "bob", "bob"],
    [0.32, 1.0, 0.48, 2.0, 0.5, 1.0],
    [1.6, 2.96, 1.28, 2.4, 6.5, 2.0],
    ["run", "прыжок 跳", "run", "sit", ODD, "run"],
    [0.9, 0.8, 0.6, 0.1, 0.7, 0.3],
)
TRUTH = {
    "cam1/ann_1": VideoAnnotation(
        "cam1/ann_1", "test", 3.2, 25.0, (Instance("run", 0.4, 1.6), Instance("sit", 1.0, 2.0)),
        file="cam1/ann_1.mp4",
    ),
}  # fmt: skip


@pytest.fixture(scope="session")
def video_dir(tmp_path_factory):
    """`cam1/ann_1.mp4`, 80 frames at 25 Hz, and `bob.mp4`, 60 frames at 10 Hz, of 64 × 48."""
    folder = tmp_path_factory.mktemp("videos")
    (folder / "cam1").mkdir()
    for name, count, rate in (("cam1/ann_1.mp4", 80, 25), ("bob.mp4", 60, 10)):
        frames = (np.full((48, 64, 3), 2 * n, np.uint8) for n in range(count))
        write_video(folder / name, frames, rate)
    return folder


@pytest.fixture(scope="session")
def drafts(video_dir):
    """Drafts of the detections with a score of .3 or more, on their files."""
    return drafts_of(FOUND, 0.3, ground_truth=TRUTH, video_dir=video_dir, model="m1")
