import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from scnn_tf.datasets.video_files import find_videos
from scnn_tf.errors import InputError, VideoError
from scnn_tf.io.folders import locked
from scnn_tf.io.video import read_frames
from scnn_tf.jobs.jobs import Here
from scnn_tf.localization import run
from scnn_tf.localization.formats import read_detections, read_segments
from scnn_tf.localization.postprocess import detections_from_segments
from scnn_tf.localization.results import RUN, VIDEOS
from scnn_tf.localization.run import (
    DETECTIONS_JSON,
    FAILURES,
    SEGMENTS_CSV,
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
    assert found.failures == [{"video": os.path.abspath("bad.mp4"), "cause": "bad.mp4 is empty"}]
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
    assert scored(tmp_path) == ["a", "a", "b", "b"]
    assert read_detections(tmp_path / "found.csv").video.tolist() == ["a", "a", "b", "b"]
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


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "{", lambda text: "[]", lambda text: "null", lambda text: "",
        lambda text: text.replace("2", "3", 1), lambda text: None,
    ],
    ids=range(6),
)  # fmt: skip
def test_results_of_unknown_networks_are_refused(damage, tmp_path):
    """Also by networks whose identity is what the damage made of the file."""
    localize_videos(["a.mp4"], handle(version=2), tmp_path)
    text = damage((tmp_path / RUN).read_text())
    (tmp_path / RUN).unlink()
    if text is not None:
        (tmp_path / RUN).write_text(text)
    for version in (2, 3):
        with pytest.raises(InputError, match=r"run\.json: expected the identity .*; remove .* to "):
            localize_videos(["a.mp4"], handle(version=version), tmp_path)
    assert scored(tmp_path) == ["a", "a"]


def test_results_of_an_earlier_version_are_kept(tmp_path):
    """It wrote the identity of its networks without a checksum."""
    localize_videos(["a.mp4"], handle(version=2), tmp_path)
    fields = json.loads((tmp_path / RUN).read_text())
    del fields["checksum"]
    (tmp_path / RUN).write_text(json.dumps(fields))
    localize_videos(["a.mp4"], handle("a", version=2), tmp_path)  # a is not scored again


@pytest.fixture
def make(tmp_path):
    """Makes a file, at the given time of its last change, in seconds."""

    def make(name, content=b"1234", changed=1e9):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (changed, changed))
        return path

    return make


@pytest.mark.parametrize(
    "content, changed, difference",
    [
        (b"12345", 1e9, "4 bytes before, 5 now, other content"),
        (b"1235", 1e9, "other content"),
        (b"1234", 1e9 + 1, "changed at another time"),
    ],
)
def test_a_replaced_file_is_localized_again(make, tmp_path, caplog, content, changed, difference):
    videos = [make("a.mp4"), make("b.mp4")]
    localize_videos(videos, handle(), tmp_path / "found")
    make("b.mp4", content, changed)
    again = handle()
    localize_videos(videos, again, tmp_path / "found")
    assert again.stub.scored == ["b"]
    assert f"{videos[1]} was replaced since it was localized ({difference});" in caplog.text
    localize_videos(videos, handle("a", "b"), tmp_path / "found")
    # Videos that were moved away after the run keep their results.
    videos[0].unlink()
    localize_videos(videos, handle("a", "b"), tmp_path / "found")


def test_a_file_that_failed_is_tried_again_when_it_is_another_one(make, tmp_path):
    bad, missing = make("bad.mp4"), tmp_path / "bad_and_missing.mp4"
    folder = tmp_path / "found"
    localize_videos([bad, missing], handle(), folder)
    localize_videos([bad, missing], handle("bad", "bad_and_missing"), folder)  # as they were
    make("bad.mp4", b"re-encoded")
    again = handle()
    localize_videos([bad, missing], again, folder)
    assert again.stub.scored == ["bad"]
    make("bad_and_missing.mp4")
    again = handle()
    localize_videos([bad, missing], again, folder)
    assert again.stub.scored == ["bad_and_missing"]


def test_calls_for_some_of_the_videos_end_with_the_files_of_one_call_for_all(make, tmp_path):
    videos = [make(f"{name}.mp4") for name in ("a", "bad", "b", "c")]
    localize_videos(videos, handle(), tmp_path / "whole")
    for call in ([videos[2]], [videos[3], videos[1]], [videos[0], videos[2]]):
        summary = localize_videos(call, handle(), tmp_path / "parts")
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    # The summary is that of the call's videos, but names all whose results the files hold.
    assert summary.num_detections == 4 and set(summary.best.video) == {"a", "b"}
    assert summary.failures == []
    assert summary.videos == {path.stem: str(path) for path in videos if path.stem != "bad"}
    failures = (tmp_path / "parts" / FAILURES).read_text()
    assert json.loads(failures) == {"video": str(videos[1]), "cause": f"{videos[1]} is empty"}
    # Results stay when the files are gone.
    for path in videos[1:]:
        path.unlink()
    localize_videos(videos[:1], handle("a"), tmp_path / "parts")
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_videos_of_one_name_are_told_apart_by_their_folders(make, tmp_path):
    day1, day2 = make("day1/cam.mp4", b"1111"), make("day2/cam.mp4", b"2222")
    folder = tmp_path / "found"
    localize_videos([day1], handle(), folder)
    assert scored(folder) == ["cam", "cam"]
    second = handle()
    found = localize_videos([day2], second, folder)
    assert second.stub.scored == ["cam"]
    assert found.videos == {"day1/cam": str(day1), "day2/cam": str(day2)}
    assert scored(folder) == ["day1/cam"] * 2 + ["day2/cam"] * 2
    assert set(read_detections(folder / DETECTIONS_JSON).video) == set(found.videos)
    localize_videos([day2, day1], handle("cam"), tmp_path / "found")
    localize_videos([day1, day2], handle(), tmp_path / "together")
    assert contents(tmp_path / "together") == contents(folder)
    # No folder tells a.mp4 from a.avi.
    one, other = make("a.mp4"), make("a.avi")
    localize_videos([one], handle(), folder)
    with pytest.raises(
        InputError,
        match=f"found: contains results of earlier calls, and two videos are named 'a': {other} "
        f"and {one}; rename or leave out one, or choose another --output_dir",
    ):
        localize_videos([other], handle(), folder)


def test_a_moved_video_takes_its_results_along(make, tmp_path):
    before = make("card/cam.mp4")
    folder = tmp_path / "found"
    localize_videos([before], handle(), folder)
    (tmp_path / "archive").mkdir()
    after = before.rename(tmp_path / "archive" / "day1.mp4")
    localize_videos([after], handle("day1"), folder)
    assert scored(folder) == ["day1", "day1"]
    # A copy is another video, and so is another file at the place of the moved one.
    copy = tmp_path / "copy.mp4"
    shutil.copy2(after, copy)
    make("card/cam.mp4", b"4321")
    again = handle()
    localize_videos([copy, before], again, folder)
    assert again.stub.scored == ["copy", "cam"]
    # A second name of the same file is not.
    (tmp_path / "link").symlink_to(tmp_path / "archive")
    localize_videos([tmp_path / "link" / "day1.mp4"], handle("day1"), folder)
    assert list(dict.fromkeys(scored(folder))) == ["cam", "copy", "day1"]


def test_any_name_of_a_video_is_good_for_a_file_system(make, tmp_path):
    names = [
        "x" * 245, "ü" * 120, "v.1", "a:b*?", "line\nbreak\r", "\x1b[31m", "=1+1", "Clip", "clip",
    ]  # fmt: skip
    videos = [make(f"{number}/{name}.mp4") for number, name in enumerate(names)]
    found = localize_videos(videos, handle(), tmp_path / "found")
    assert set(found.videos) == set(scored(tmp_path / "found")) == set(names)
    ours = [path.name for path in (tmp_path / "found" / VIDEOS).iterdir()]
    assert len({name.lower() for name in ours}) == 2 * len(names)
    assert all(re.fullmatch("[0-9A-Za-z_]{0,40}-[0-9a-f]{16}[.](json|csv)", n) for n in ours)
    localize_videos(videos, handle(*names), tmp_path / "found")  # all are finished


@pytest.mark.parametrize("damage", ["", "{", "[" * 100_000, "\0" * 300, '{"result": {}}'])
@pytest.mark.parametrize("kind", ["json", "csv"])
def test_damaged_results_cost_their_own_video(make, tmp_path, caplog, kind, damage):
    videos = [make(f"{name}.mp4") for name in "abc"]
    folder = tmp_path / "found"
    localize_videos(videos, handle(), folder)
    expected = contents(folder)
    for name in "ab":
        (path,) = (folder / VIDEOS).glob(f"{name}-*.{kind}")
        path.write_text(damage)
    again = handle("b")
    localize_videos([videos[0], videos[2]], again, folder)
    assert again.stub.scored == ["a"]
    assert scored(folder) == ["a", "a", "c", "c"]  # b was not asked for
    assert len(re.findall("found/videos/[ab]-.*(?:damaged|expected the outcome)", caplog.text)) == 2
    localize_videos(videos, handle(), folder)
    assert contents(folder) == expected


def test_results_of_another_version_are_refused(tmp_path):
    (tmp_path / VIDEOS).mkdir()
    (tmp_path / VIDEOS / "cam.json").write_text('{"result": {"segments": 2, "bytes": 4}}')
    with pytest.raises(InputError, match="videos/cam.json: expected results of this version of"):
        localize_videos(["cam.mp4"], handle(), tmp_path)


def test_a_folder_of_results_belongs_to_one_process(tmp_path):
    with locked(tmp_path, "localization"):
        with pytest.raises(
            InputError, match="that no other process works in. Found: localization by process"
        ):
            localize_videos(["a.mp4"], handle("a"), tmp_path)
    localize_videos(["a.mp4"], handle(), tmp_path)


def test_thresholds_are_numbers_from_0_to_1(tmp_path):
    for value in (float("nan"), -0.1, 1.5):
        with pytest.raises(InputError, match="expected nms_threshold from 0 to 1. Received: "):
            localize_videos(["a.mp4"], handle("a"), tmp_path, nms_threshold=value)
        with pytest.raises(InputError, match="expected proposal_threshold from 0 to 1. Received"):
            ModelFolder(tmp_path, proposal_threshold=value)


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
        before = {p.stem.split("-")[0] for p in folder.glob(f"{VIDEOS}/[!.]*.json")}
        resumed = handle()
        localize_videos(videos, resumed, folder)
        assert contents(folder) == expected
        assert set(resumed.stub.scored) == {"a", "bad", "b"} - before


@pytest.mark.needs("mount", "umount")
def test_a_full_disk_is_one_sentence_and_finished_videos_are_kept(small_disk, tmp_path):
    videos = [f"v{number:02d}.mp4" for number in range(30)]
    folder = small_disk(64 << 10) / "found"
    with pytest.raises(InputError, match=r"cannot be written \(No space left on device\)$"):
        localize_videos(videos, handle(), folder)
    done = sorted(path.stem.split("-")[0] for path in folder.glob(f"{VIDEOS}/[!.]*.json"))
    assert 0 < len(done) < 30
    subprocess.run(["mount", "-o", "remount,size=1m", folder.parent], check=True)
    resumed = handle()
    localize_videos(videos, resumed, folder)
    assert sorted([*done, *resumed.stub.scored]) == [f"v{number:02d}" for number in range(30)]
    localize_videos(videos, handle(), tmp_path / "undisturbed")
    assert contents(folder) == contents(tmp_path / "undisturbed")


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
    assert [Path(path).name.split("-")[0] for path in read] == ["a", "b"]


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
    with pytest.raises(InputError, match="file: cannot be written"):
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
    assert set(scored(tmp_path / "found")) == {"none", "1", "2", "v"}


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
    assert list(dict.fromkeys(segments.video)) == ["ann", "cat"]
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
            sides.append(ops.convert_to_numpy(ops.softmax(logits))[:size, 0])
        scores += ((sides[0] + sides[1]) / 2).max(axis=1).tolist()
    return dict(zip(windows, scores, strict=True))
