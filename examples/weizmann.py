"""Trains and tests on real people: `make weizmann CLIPS=folder`.

    python examples/weizmann.py CLIPS DIR

CLIPS is a folder of the Weizmann actions with one folder for each class: `walk/daria_walk.avi`.
Untrimmed videos are stitched out of the clips three times, each time with another third of the
people as the test set; the one network and the paper's three are trained and tested on each of
these folds with two seeds. Finished steps are not repeated. Writes everything to DIR, the figures
to DIR/ablation/ablation.json, and a page with the first fold's test videos to DIR/report.html.
"""

import sys
from pathlib import Path

from commands import run

from scnn_tf.datasets.stitching import find_clips

TARGETS = "bend,jack,pjump,wave2,run,walk"
FOLDS = 3


def main(clips: Path, folder: Path) -> None:
    """Stitches the folds, and trains and tests on them."""
    people = sorted({clip.person for clip in find_clips(clips)})
    size = -(-len(people) // FOLDS)
    folds = [people[i : i + size] for i in range(0, len(people), size)]
    for fold, test_people in enumerate(folds):
        if not (folder / f"fold{fold}" / "annotations.json").is_file():
            run(
                "stitch_videos.py", clips_dir=clips, targets=TARGETS, seed=fold,
                test_people=",".join(test_people), sequences_per_person=4,
                output_dir=folder / f"fold{fold}",
            )  # fmt: skip
    run(
        "experiment",
        datasets=",".join(str(folder / f"fold{fold}") for fold in range(len(folds))),
        variants="S-CNN,both", seeds="0,1", output_dir=folder / "ablation",
    )  # fmt: skip
    models = folder / "ablation" / "fold0" / "seed0"
    run(
        "visualize", detections=models / "test_joint" / "detections.json",
        annotations=folder / "fold0" / "annotations.json", subset="test",
        video_dir=folder / "fold0" / "videos", model_dir=models,
        ablation=folder / "ablation" / "ablation.json", output=folder / "report.html",
        title=f"Weizmann: {', '.join(folds[0])}, unseen in training",
    )  # fmt: skip


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python examples/weizmann.py CLIPS DIR")
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
