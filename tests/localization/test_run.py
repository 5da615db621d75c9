import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from scnn_tf.datasets.video_files import find_videos
from scnn_tf.errors import InputError, VideoError
from scnn_tf.io.video import read_frames
from scnn_tf.jobs.jobs import Here
from scnn_tf.localization import run
from scnn_tf.localization.formats import read_detections, read_segments
from scnn_tf.localization.postprocess import detections_from_segments
from scnn_tf.localization.run import (
    DETECTIONS_JSON,
    FAILURES,
    RUN,
    SEGMENTS_CSV,
    VIDEOS,
    ModelFolder,
    ScorerInfo,
    localize_videos,
)
from scnn_tf.localization.tables import RawSegments
from scnn_tf.segments.prior import WindowPrior
from scnn_tf.segments.windows import Segment, sampled_indices, sliding_windows
from scnn_tf.serving.client import ServingError

NAMES, WINDOWS = ("jump", "run"), (16, 32, 64)
PRIOR = WindowPrior(
    NAMES, WINDOWS, np.ones((2, 3), int), np.array([[0.5, 0.3, 0.2], [0.1, 0.3, 0.6]])
)


class Stub:
    """A scorer that refuses videos called `bad…` and ends the run at the `deadly` ones."""

    def __init__(self, deadly):
        self.deadly, self.scored = deadly, []

    def score_video(self, path, video_id):
        if video_id in self.deadly:
            raise ServingError("the server is gone")
        self.scored.append(video_id)
        if video_id.startswith("bad"):
            raise VideoError(f"{path} is empty")
        scores = [(1 + len(video_id) % 7) / 8] * 2
        return RawSegments([video_id] * 2, [32, 64], [1, 9], [2.28, 12], ["run", "jump"], scores)


@dataclasses.dataclass(frozen=True)
class StubHandle:
    """A handle of a `Stub`, which knows after the run what it scored."""

    stub: Stub
    version: int = 1
    prior: WindowPrior | None = PRIOR

    def open(self):
        return self.stub

    def pinned(self):
        return self

    def describe(self):
        fingerprint = {"version": self.version, "window_frames": WINDOWS}
        return ScorerInfo(fingerprint, NAMES, self.prior, nms_threshold=0.4)


def handle(*deadly, version=1):
    return StubHandle(Stub(deadly), version)


def scored(folder) -> list[str]:
    return read_segments(folder / SEGMENTS_CSV).video.tolist()


def contents(folder) -> dict[str, bytes]:
    """Returns all files, except for unfinished ones that a killed run left."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def test_a_run_writes_segments_detections_and_failures(tmp_path):
    found = localize_videos(["a/v.mp4", "bad.mp4", "w.avi"], handle(), tmp_path)
    segments = read_segments(tmp_path / SEGMENTS_CSV)
    assert segments.video.tolist() == ["v", "v", "w", "w"]
    # Of 32 frames "run", a weight of .3; of 64 "jump", .2. The score is 2/8.
    assert found.best.score.tolist() == [0.25 * 0.3] * 2 + [0.25 * 0.2] * 2
    assert found.num_detections == 4
    assert found.failures == [{"video": "bad.mp4", "cause": "bad.mp4 is empty"}]
    assert json.loads((tmp_path / FAILURES).read_text()) == found.failures[0]
    written = read_detections(tmp_path / DETECTIONS_JSON)
    again = detections_from_segments(segments, PRIOR, 0.4)
    assert sorted(written.score) == sorted(again.score)


def test_a_summary_has_the_best_twenty_detections(tmp_path):
    videos = [f"{'v' * n}.mp4" for n in range(1, 16)]
    found = localize_videos(videos, handle(), tmp_path)
    assert found.num_detections == 30
    best = np.sort(read_detections(tmp_path / DETECTIONS_JSON).score)[::-1][:20]
    assert found.best.score.tolist() == best.tolist()


def test_finished_videos_are_not_scored_again(tmp_path):
    first = handle()
    localize_videos(["a.mp4", "bad.mp4"], first, tmp_path)
    assert first.stub.scored == ["a", "bad"]
    # More videos, in another order, and other post-processing. Failed videos stay failed.
    second = handle()
    found = localize_videos(
        ["b.mp4", "bad.mp4", "a.mp4"],
        second,
        tmp_path,
        nms_threshold=0.2,
        detections_file="found.csv",
    )
    assert second.stub.scored == ["b"]
    assert scored(tmp_path) == ["b", "b", "a", "a"]
    assert read_detections(tmp_path / "found.csv").video.tolist() == ["b", "b", "a", "a"]
    assert len(found.failures) == 1
    third = handle()
    localize_videos(["a.mp4", "bad.mp4"], third, tmp_path, retry_failed=True)
    assert third.stub.scored == ["bad"]


def test_an_error_of_the_scorer_ends_the_run_and_keeps_finished_videos(tmp_path):
    videos = ["a.mp4", "b.mp4", "c.mp4"]
    with pytest.raises(ServingError, match="the server is gone"):
        localize_videos(videos, handle("b"), tmp_path)
    assert scored(tmp_path) == ["a", "a"]
    assert set(read_detections(tmp_path / DETECTIONS_JSON).video) == {"a"}
    back = handle()
    localize_videos(videos, back, tmp_path)
    assert back.stub.scored == ["b", "c"]
    localize_videos(videos, handle(), tmp_path / "undisturbed")
    undisturbed = contents(tmp_path / "undisturbed")
    assert undisturbed == {name: contents(tmp_path)[name] for name in undisturbed}


def test_other_networks_are_refused_in_a_folder_with_results(tmp_path):
    with pytest.raises(ServingError):
        localize_videos(["a.mp4"], handle("a"), tmp_path)
    localize_videos(["a.mp4"], handle(version=2), tmp_path)  # no results were there
    with pytest.raises(InputError) as error:
        localize_videos(["a.mp4", "b.mp4"], handle(version=3), tmp_path)
    assert str(error.value) == (
        f"{tmp_path}: contains results of other networks (version was 2, is 3); choose another "
        "--output_dir, or remove the folder to localize again"
    )
    assert scored(tmp_path) == ["a", "a"]
    (tmp_path / RUN).write_text("{")
    with pytest.raises(InputError, match="run.json: expected the identity of a scorer"):
        localize_videos(["a.mp4"], handle(version=2), tmp_path)


def test_a_replaced_file_is_localized_again(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"1234")
    (tmp_path / "b.mp4").write_bytes(b"1234")
    videos = [tmp_path / "a.mp4", tmp_path / "b.mp4"]
    localize_videos(videos, handle(), tmp_path / "found")
    (tmp_path / "b.mp4").write_bytes(b"12345")
    again = handle()
    localize_videos(videos, again, tmp_path / "found")
    assert again.stub.scored == ["b"]
    # Videos that were moved away after the run keep their results.
    (tmp_path / "a.mp4").unlink()
    localize_videos(videos, handle("a", "b"), tmp_path / "found")


def test_the_number_of_written_files_grows_linearly_with_the_videos(tmp_path, monkeypatch):
    written = []
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", lambda p, q: written.append(q) or replace(p, q))
    videos = [f"v{i}.mp4" for i in range(300)]
    localize_videos(videos, handle(), tmp_path)
    # Two files a video; then the run, the segments, the detections and the failures.
    assert len(written) == 2 * 300 + 4
    written.clear()
    localize_videos([*videos, "new.mp4"], handle(), tmp_path)
    assert len(written) == 2 + 4


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import test_run
writes, replace = int(sys.argv[2]), Path.replace

def dies(path, target):
    global writes
    if not writes:
        os.kill(os.getpid(), signal.SIGKILL)
    writes -= 1
    replace(path, target)

Path.replace = dies
test_run.localize_videos(["a.mp4", "bad.mp4", "b.mp4"], test_run.handle(), sys.argv[1])
"""


@pytest.mark.slow
def test_a_run_killed_before_any_of_its_writes_resumes_to_the_same_bytes(tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(KILLED.format(tests=str(Path(__file__).parent)))
    videos = ["a.mp4", "bad.mp4", "b.mp4"]
    localize_videos(videos, handle(), tmp_path / "undisturbed")
    expected = contents(tmp_path / "undisturbed")
    # The run; table and outcome of a and b, the outcome of bad; segments, detections, failures.
    assert len(expected) == 9
    runs = [
        subprocess.Popen([sys.executable, script, tmp_path / str(writes), str(writes)])
        for writes in range(9)
    ]
    for writes, killed in enumerate(runs):
        assert killed.wait() == -9
        folder = tmp_path / str(writes)
        before = {p.stem for p in folder.glob(f"{VIDEOS}/[!.]*.json")}
        resumed = handle()
        localize_videos(videos, resumed, folder)
        assert contents(folder) == expected
        assert set(resumed.stub.scored) == {"a", "bad", "b"} - before


def test_without_a_usable_video_the_files_are_empty(tmp_path):
    found = localize_videos(["bad.mp4"], handle(), tmp_path)
    assert (found.num_detections, len(found.best), len(found.failures)) == (0, 0, 1)
    assert len(read_segments(tmp_path / SEGMENTS_CSV)) == 0
    assert json.loads((tmp_path / DETECTIONS_JSON).read_text())["results"] == {}


def test_detections_as_thumos_text_with_the_classes_of_the_scorer(tmp_path):
    localize_videos(["v.mp4"], handle(), tmp_path, detections_file="found.txt")
    assert read_detections(tmp_path / "found.txt").label.tolist() == ["run", "jump"]
    assert (tmp_path / "detclasslist.txt").read_text() == "1 jump\n2 run\n"


def test_without_a_prior_scores_are_those_of_the_segments(tmp_path):
    without = dataclasses.replace(handle(), prior=None)
    found = localize_videos(["v.mp4"], without, tmp_path, detections_file="found.txt")
    assert found.best.score.tolist() == [0.25, 0.25]
    assert (tmp_path / "detclasslist.txt").read_text() == "1 jump\n2 run\n"


def test_every_table_is_read_once(tmp_path, monkeypatch):
    read = []
    once = run.read_segments
    monkeypatch.setattr(run, "read_segments", lambda path: read.append(path) or once(path))
    localize_videos(["a.mp4", "bad.mp4", "b.mp4"], handle(), tmp_path)
    assert [Path(path).name for path in read] == ["a.csv", "b.csv"]


def test_invalid_arguments_are_errors_before_any_work(tmp_path):
    with pytest.raises(InputError, match="two videos are named 'long': a/long.mp4 and a/long.avi"):
        localize_videos(["a/long.mp4", "a/long.avi"], handle(), tmp_path)
    with pytest.raises(InputError, match="no video was given"):
        localize_videos([], handle(), tmp_path)
    # These are reported at once, not after the work on a video.
    with pytest.raises(InputError, match="found.xml: detections are .json, .csv"):
        localize_videos(["v.mp4"], handle("v"), tmp_path / "new", detections_file="found.xml")
    (tmp_path / "detclasslist.txt").write_text("1 walk\n")
    with pytest.raises(InputError, match="detclasslist.txt: it lists other classes"):
        localize_videos(["v.mp4"], handle("v"), tmp_path, detections_file="found.txt")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="run.json: cannot be written"):
        localize_videos(["v.mp4"], handle("v"), tmp_path / "file")


def test_folders_are_replaced_by_the_videos_in_them(tmp_path):
    for name in ("b/2.mp4", "b/1.AVI", "b/read.me", "b/c/3.mkv", "list.txt", "b/folder.mp4/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    places = ["none.mp4", tmp_path / "b", "http://host/v.mp4?key=1", tmp_path / "list.txt"]
    videos = list(find_videos(places))
    names = ["1.AVI", "2.mp4", "c/3.mkv", "folder.mp4"]
    assert videos == [
        "none.mp4", *(str(tmp_path / "b" / name) for name in names), places[2], str(places[3])
    ]  # fmt: skip
    localize_videos(videos[:3] + videos[5:6], handle(), tmp_path / "found")
    assert list(dict.fromkeys(scored(tmp_path / "found"))) == ["none", "1", "2", "v"]


def test_networks_are_identified_by_weights_threshold_and_precision(tiny_models, tmp_path):
    here = ModelFolder(tiny_models, proposal_threshold=0.5)
    again = ModelFolder(str(tiny_models), proposal_threshold=0.5)
    assert here.describe().fingerprint == again.describe().fingerprint
    alone = ModelFolder(tiny_models, proposal=False)
    assert set(alone.describe().fingerprint) < set(here.describe().fingerprint)
    # The recipe's threshold is .5; its NMS threshold decides on detections, not on segments.
    assert here.describe().fingerprint == ModelFolder(tiny_models).describe().fingerprint
    other = shutil.copytree(tiny_models, tmp_path / "other")
    path = other / "localization" / "model.json"
    for setting, same in (("nms_threshold", True), ("mirror", False)):
        fields = json.loads((tiny_models / "localization" / "model.json").read_text())
        fields["recipe"]["inference"][setting] = 0.25 if same else False
        path.write_text(json.dumps(fields))
        assert (ModelFolder(other).describe().fingerprint == here.describe().fingerprint) is same
    # A training that is repeated under another name of its recipe leaves the weights as they are.
    fields = json.loads((tiny_models / "localization" / "model.json").read_text())
    fields["recipe"]["name"], fields["recipe"]["proposal"]["steps"] = "another", 12345
    path.write_text(json.dumps(fields))
    assert ModelFolder(other).describe().fingerprint == here.describe().fingerprint
    rounded = ModelFolder(tiny_models, proposal_threshold=0.5, precision="bfloat16")
    assert here.describe().fingerprint != rounded.describe().fingerprint
    assert rounded.open().localization.get_layer("conv2a").compute_dtype == "bfloat16"
    assert here.describe().class_names == here.describe().prior.class_names == ("left", "right")
    with pytest.raises(
        InputError, match="none/proposal: expected a trained network.*; run train first"
    ):
        ModelFolder(tmp_path / "none", scorer="proposal").describe()


def test_rows_equal_those_of_the_whole_video_at_once(
    tiny_models, tiny_dataset, tmp_path, monkeypatch
):
    """Every score is equal, also after an interruption; the reference holds all frames at once."""
    from scnn_tf.localization import scnn

    videos = [tiny_dataset / "videos" / f"{name}.mp4" for name in ("cat", "ann")]
    networks = ModelFolder(tiny_models, proposal_threshold=0.0)
    loaded = networks.open()
    opened = []
    monkeypatch.setattr(ModelFolder, "open", lambda at: opened.append(at) or loaded)
    with pytest.raises(KeyboardInterrupt):
        localize_videos(videos, networks, tmp_path, runner=Interrupted(1))
    assert set(scored(tmp_path)) == {"cat"}
    localize_videos(videos, networks, tmp_path)
    assert len(opened) == 2  # once for each call
    segments = read_segments(tmp_path / SEGMENTS_CSV)
    assert list(dict.fromkeys(segments.video)) == ["cat", "ann"]
    for video in videos:
        rows = segments.take(segments.video == video.stem)
        frames = list(read_frames(video, 25.0, 32, 32))
        expected = whole_video(loaded, frames, scnn._batch_size(loaded.info.recipe))
        assert len(rows) == {"cat": 26, "ann": 34}[video.stem]  # less and more than a batch
        windows = zip(
            np.rint(rows.start * 25).astype(int).tolist(), rows.window_frames.tolist(), strict=True
        )
        assert {
            Segment(*window): score
            for window, score in zip(windows, rows.score.tolist(), strict=True)
        } == expected


class Interrupted:
    """A runner that is interrupted by Ctrl-C after some jobs."""

    def __init__(self, jobs):
        self.jobs = jobs

    def run(self, jobs, task):
        Here().run(jobs[: self.jobs], task)
        raise KeyboardInterrupt


def whole_video(networks, frames, batch_size) -> dict[Segment, float]:
    """Returns the best score of every window, cut out of a list of all frames."""
    from keras import ops

    windows = sorted(
        sliding_windows(len(frames), networks.info.recipe.shards.window_frames), key=lambda w: w.end
    )
    cuts = np.array([[frames[i][8:24, 8:24] for i in sampled_indices(w)] for w in windows])
    scores = []
    for first in range(0, len(windows), batch_size):
        size = len(cuts[first : first + batch_size])
        batch = np.zeros((batch_size, *cuts.shape[1:]), np.uint8)
        lengths = np.full(batch_size, windows[first].length, np.int32)
        batch[:size] = cuts[first : first + batch_size]
        lengths[:size] = [w.length for w in windows[first : first + batch_size]]
        sides = []
        for images in (batch, batch[:, :, :, ::-1]):
            inputs = {"frames": images, "window_frames": lengths}
            logits = networks.localization.predict_on_batch(inputs)
            sides.append(ops.convert_to_numpy(ops.softmax(logits))[:size])
        scores += ((sides[0] + sides[1]) / 2).max(axis=1).tolist()
    return dict(zip(windows, scores, strict=True))
