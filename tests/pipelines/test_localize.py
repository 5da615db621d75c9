import dataclasses
import functools
import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import unittest.mock
from urllib.parse import unquote

import numpy as np
import pytest

from scnn_tf.io.video import write_video
from scnn_tf.jobs import jobs
from scnn_tf.localization.formats import read_detections, read_segments
from scnn_tf.localization.run import ModelFolder
from scnn_tf.localization.scnn import SCNN
from scnn_tf.models.checkpoints import StageInfo
from scnn_tf.models.recipes import get_recipe
from scnn_tf.segments.labels import BACKGROUND
from scnn_tf.segments.prior import WINDOW_PRIOR, WindowPrior, write_prior
from scnn_tf.segments.windows import WINDOW_FRAMES
from scnn_tf.serving import client
from scnn_tf.serving.client import Client, ModelServer
from scnn_tf.training import train


@pytest.fixture(scope="module")
def models(tiny_dataset, tmp_path_factory):
    """A folder of stages, as `train` writes it, with random networks."""
    folder = tmp_path_factory.mktemp("models")
    recipe = get_recipe(str(tiny_dataset / "recipe.json"))
    weights = np.full((2, len(WINDOW_FRAMES)), 1 / len(WINDOW_FRAMES))
    prior = WindowPrior(("left", "right"), WINDOW_FRAMES, np.ones(weights.shape, int), weights)
    for stage in ("proposal", "localization"):
        info = StageInfo(stage, ("left", "right"), 25.0, 0, recipe)
        (folder / stage).mkdir()
        fields = json.dumps(dataclasses.asdict(info))
        (folder / stage / train.MODEL_JSON).write_text(fields)
        model = info.build()
        if stage == "localization":  # so that not everything is background
            model.get_layer("fc8").bias.assign([-9.0, 0.0, 0.0])
        model.save_weights(folder / stage / train.WEIGHTS)
        write_prior(folder / stage / WINDOW_PRIOR, prior)
    return folder


@pytest.fixture
def localize(run_binary, models, tmp_path, monkeypatch):
    """Runs the binary in this process, because a worker takes seconds to load TensorFlow."""
    monkeypatch.setattr("pipelines._cli.Processes", lambda workers, timeout_s: jobs.Here())

    def run(*arguments, **changes):
        options = {
            "model_dir": models, "output_dir": tmp_path / "found", "proposal_threshold": 0,
            **changes,
        }  # fmt: skip
        named = [f"--{name}={v}" for name, v in options.items() if v is not None]
        return run_binary("localize", *named, *arguments)

    return run


def failures(folder) -> list[str]:
    lines = (folder / "failures.jsonl").read_text().splitlines()
    return [json.loads(line)["video"] for line in lines]


def test_localize_writes_the_files_and_prints_the_best_detections(localize, tiny_dataset, tmp_path):
    videos = [tiny_dataset / "videos" / f"{name}.mp4" for name in ("cat", "clip")]
    code, out, err = localize(*videos)
    assert code == 0, err
    found = tmp_path / "found"
    segments = read_segments(found / "segments.csv")
    # 80 frames: 16 at 0, 4 … 64: 17; 32 at 0, 8 … 48: 7; 64 at 0, 16: 2. 40: 7 and 2.
    assert [int(sum(segments.video == name)) for name in ("cat", "clip")] == [26, 9]
    detections = read_detections(found / "detections.json")
    assert 0 < len(detections) <= 35
    lines = out.splitlines()
    assert lines[-1] == f"{len(detections)} detections in 2 videos → {found}"
    # The best twenty at most are shown, the best one first.
    assert len(lines) - 1 == min(20, len(detections))
    assert lines[0].startswith(f"{detections.score.max():.3f}")
    assert failures(found) == []


def test_a_joint_network_gives_the_boundaries_of_actions(
    localize, tiny_joint, tiny_dataset, tmp_path
):
    videos = [tiny_dataset / "videos" / f"{name}.mp4" for name in ("cat", "clip")]
    code, out, err = localize("--nms_threshold=1", *videos, model_dir=tiny_joint)
    assert code == 0, err
    segments = read_segments(tmp_path / "found" / "segments.csv")
    # All windows of 16, 32 and 64 frames: none is discarded.
    assert [int(sum(segments.video == name)) for name in ("cat", "clip")] == [26, 9]
    detections = read_detections(tmp_path / "found" / "detections.json")
    # Each is a detection of a class, with a low score if it is no action.
    assert BACKGROUND not in segments.label
    assert sorted(detections.start) == sorted(segments.action_start)
    assert sorted(detections.end) == sorted(segments.action_end)
    assert f"{len(detections)} detections in 2 videos" in out
    for name, seconds in (("cat", 3.2), ("clip", 1.6)):
        ends = segments.action_end[segments.video == name]
        assert (segments.action_start >= 0).all() and ends.max() <= seconds
    # Other networks do not continue the run.
    code, _, err = localize("--noproposal", *videos, model_dir=tiny_joint)
    assert code == 1 and "proposal" in err.splitlines()[-1]


def test_unusable_videos_are_listed_and_decide_on_the_exit_code(
    localize, tiny_dataset, tmp_path, caplog
):
    good = tiny_dataset / "videos" / "clip.mp4"
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video" * 99)
    (tmp_path / "cut.mp4").write_bytes(good.read_bytes()[:500])
    write_video(tmp_path / "single.mp4", [np.zeros((16, 16, 3), np.uint8)], 25)
    bad = [tmp_path / name for name in ("empty.mp4", "text.mp4", "cut.mp4", "none.mp4")]
    (tmp_path / "notes.txt").write_text("no video either")
    videos = [bad[0], good, *bad[1:], tmp_path / "single.mp4", tmp_path / "notes.txt"]
    code, out, err = localize(*videos)
    assert code == 1 and "Traceback" not in err
    assert f"detections in 2 videos → {tmp_path / 'found'}" in out
    listed = [line for line in err.splitlines() if line.startswith("not used: ")]
    assert len(listed) == 5
    for path, line in zip(sorted([*bad, tmp_path / "notes.txt"]), listed, strict=True):
        assert line.startswith(f"not used: {path}: ")
    unusable = [str(path) for path in sorted([*bad, tmp_path / "notes.txt"])]
    assert failures(tmp_path / "found") == unusable
    segments = read_segments(tmp_path / "found" / "segments.csv")
    assert set(segments.video) == {"clip", "single"}
    assert "error: 5 of 7 videos could not be used, which exceeds --max_failure_fraction" in err
    assert localize("--max_failure_fraction=.7", *videos)[0] == 1
    assert localize("--max_failure_fraction=.72", *videos)[0] == 0
    # Failed videos are not tried again unless asked for, or another file is there.
    caplog.clear()
    localize(*videos)
    assert "cut.mp4 failed" not in caplog.text
    localize("--retry_failed", *videos)
    assert "cut.mp4 failed" in caplog.text
    shutil.copy(good, tmp_path / "none.mp4")
    localize(*videos)
    assert failures(tmp_path / "found") == [p for p in unusable if not p.endswith("none.mp4")]
    # A later run without a failure keeps the list of the earlier ones.
    assert localize(good)[0] == 0
    assert len(failures(tmp_path / "found")) == 4


def test_a_folder_of_videos_is_localized_in_a_worker_process(
    run_binary, models, tiny_dataset, tmp_path
):
    archive = shutil.copytree(tiny_dataset / "videos", tmp_path / "archive")
    (tmp_path / "list.txt").write_text(f"{archive}\n\n{tmp_path}/none.mp4\n")
    flags = (f"--model_dir={models}", f"--output_dir={tmp_path}/found", "--proposal_threshold=0")
    code, out, err = run_binary("localize", *flags, f"--video_list={tmp_path}/list.txt")
    assert code == 1 and f"not used: {tmp_path}/none.mp4" in err
    assert "detections in 4 videos" in out and "1 of 5 videos" in err
    segments = read_segments(tmp_path / "found" / "segments.csv")
    assert list(dict.fromkeys(segments.video)) == ["ann", "bob", "cat", "clip"]


def test_detections_as_thumos_text(localize, tiny_dataset, tmp_path):
    video = tiny_dataset / "videos" / "clip.mp4"
    assert localize("--detections_file=found.txt", "--nms_threshold=0", video)[0] == 0
    found = read_detections(tmp_path / "found" / "found.txt")
    assert set(found.video) == {"clip"} and set(found.label) <= {"left", "right"}


def test_the_report_shows_all_videos_with_their_detections(localize, tiny_dataset, tmp_path):
    video, bad = tiny_dataset / "videos" / "clip.mp4", tmp_path / "none.mp4"
    page = tmp_path / "new" / "found.html"
    code, out, err = localize(
        video, bad, "--report", page, "--detections_file=found.txt", "--max_failure_fraction=.5"
    )
    assert code == 0, err
    assert out.endswith(f"report → {page}\n")
    (text,) = re.findall('id="data">(.*?)</script>', page.read_text())
    clip, none = json.loads(text)["videos"]
    found = read_detections(tmp_path / "found" / "found.txt")
    assert sorted(clip["start"]) == sorted(found.start.round(3).tolist()) != []
    assert (page.parent / unquote(clip["src"])).resolve() == video.resolve()
    assert none["note"] == f"{bad} does not exist."


def test_odd_files_cost_themselves_only(localize, tiny_dataset, tmp_path):
    clip = tiny_dataset / "videos" / "clip.mp4"
    archive = tmp_path / "archive"
    (archive / "bundle.mp4").mkdir(parents=True)
    names = ["clip", "l" * 245, "line\nbreak\r", "\x1b[31mred", "=1+1", "Clip", "t\tab"]
    for name in names:
        shutil.copy(clip, archive / f"{name}.mp4")
    shutil.copy(clip, os.fsencode(archive) + b"/\xff.mp4")
    os.mkfifo(archive / "pipe.mp4")
    for name in "xy":
        (archive / name).symlink_to(".")
    (archive / "dangling.mp4").symlink_to("nowhere.mp4")
    bad = ["bundle.mp4", "dangling.mp4", "\udcff.mp4"]
    given = [archive / "pipe.mp4", tmp_path / "none.mp4", tmp_path / f"{'n' * 300}.mp4", archive]
    page = tmp_path / "page.html"
    code, out, err = localize(*given, "--max_failure_fraction=.9", "--report", page)
    assert code == 0 and "Traceback" not in err and "bug" not in err
    found = tmp_path / "found"
    assert set(read_segments(found / "segments.csv").video) == set(names)
    assert set(failures(found)) == {str(archive / b) for b in bad} | set(map(str, given[:3]))
    assert sum(line.startswith("not used: ") for line in err.splitlines()) == 6
    assert "\x1b" not in out + err and f"detections in {len(names)} videos" in out
    # A second run finds all of it as it is.
    segments = (found / "segments.csv").read_bytes()
    code, _, err = localize(*given, "--max_failure_fraction=.9")
    assert code == 0 and "again" not in err
    assert (found / "segments.csv").read_bytes() == segments


def test_the_results_of_another_video_are_kept_and_named(localize, tiny_dataset, tmp_path):
    days = [tmp_path / "day1" / "cam.mp4", tmp_path / "day2" / "cam.mp4"]
    for path, name in zip(days, ("cat", "clip"), strict=True):
        path.parent.mkdir()
        shutil.copy(tiny_dataset / "videos" / f"{name}.mp4", path)
    localize(days[0])
    page = tmp_path / "page.html"
    code, out, err = localize(days[1], "--report", page)
    assert code == 0, err
    segments = read_segments(tmp_path / "found" / "segments.csv")
    assert [int(sum(segments.video == f"day{n}/cam")) for n in (1, 2)] == [26, 9]
    detections = read_detections(tmp_path / "found" / "detections.json")
    number = int(sum(detections.video == "day2/cam"))
    assert f"{number} detections in 1 videos → {tmp_path / 'found'}\n" in out
    assert "the files also hold the results of 1 video of earlier runs" in out
    (text,) = re.findall('id="data">(.*?)</script>', page.read_text())
    assert [video["id"] for video in json.loads(text)["videos"]] == ["day1/cam", "day2/cam"]


def test_nan_ends_the_run_with_a_sentence_and_keeps_what_is_finished(
    localize, tiny_dataset, tmp_path, monkeypatch
):
    videos = [tiny_dataset / "videos" / f"{name}.mp4" for name in ("cat", "clip", "ann")]
    assert localize("--proposal_threshold=nan", videos[0], proposal_threshold=None)[0] == 2
    once = SCNN.score_video

    def score_video(model, path, video_id):
        if video_id == "clip":
            weights = model.proposal.layers[-1].kernel
            weights.assign(weights * np.nan)
        return once(model, path, video_id)

    monkeypatch.setattr(SCNN, "score_video", score_video)
    code, _, err = localize(*videos)
    assert code == 1 and "Traceback" not in err
    assert "error: expected finite scores of the proposal network. Received: nan" in err
    assert set(read_segments(tmp_path / "found" / "segments.csv").video) == {"cat"}
    assert failures(tmp_path / "found") == []


def test_a_folder_without_videos_is_an_error_that_names_it(localize, tmp_path):
    (tmp_path / "empty").mkdir()
    code, _, err = localize(tmp_path / "empty")
    assert code == 1 and err == f"error: {tmp_path}/empty: no video was found\n"


def test_a_report_that_cannot_be_written_loses_no_results(localize, tiny_dataset, tmp_path):
    video, bad = tiny_dataset / "videos" / "clip.mp4", tmp_path / "none.mp4"
    code, _, err = localize(video, bad, "--report", tmp_path)
    assert code == 1 and "expected a page to write (.html), found a folder" in err
    assert not (tmp_path / "found").exists()  # reported before hours of work
    (tmp_path / "file").touch()
    code, out, err = localize(video, bad, "--report", tmp_path / "file" / "page.html")
    assert code == 1 and "detections in 1 videos" in out
    *_, failure, error = err.splitlines()
    assert failure.startswith(f"not used: {bad}") and "page.html: cannot be written" in error


def test_invalid_inputs_are_refused_in_one_sentence(localize, tiny_dataset, models, tmp_path):
    video = tiny_dataset / "videos" / "clip.mp4"
    (tmp_path / "file").touch()

    def fails(message, *arguments, **changes):
        code, _, err = localize(*arguments, **changes)
        assert code == 1 and "Traceback" not in err
        (last,) = [line for line in err.splitlines() if line.startswith("error: ")]
        assert message in last

    fails("expected one or more videos after the flags, or --video_list")
    fails("two videos are named 'clip'", video, video)
    fails("none/localization: expected a trained network", video, model_dir=tmp_path / "none")
    fails("classification: expected a trained network", video, scorer="classification")
    fails("proposal network has no classes", video, scorer="proposal")
    fails("cannot be written", video, output_dir=tmp_path / "file")
    fails("detections are .json, .csv", video, detections_file="found.xml")


def test_flags_out_of_range_are_refused(localize, tmp_path):
    for flag in ("--nms_threshold=2", "--proposal_threshold=-1", "--nms_threshold=much", "--x"):
        code, _, err = localize(flag, "v.mp4")
        assert code == 2 and err.startswith("error: "), err


SERVED = {"model_dir": None, "proposal_threshold": None}


@pytest.mark.slow
def test_a_server_gives_the_files_of_local_networks(
    localize, models, tiny_dataset, tmp_path, monkeypatch
):
    asked = []

    def local_networks(*arguments, **options):
        asked.append(ModelServer(*arguments, **options))
        return ModelFolder(models, proposal_threshold=0.0)

    monkeypatch.setattr(client, "ModelServer", local_networks)
    video, bad = tiny_dataset / "videos" / "cat.mp4", tmp_path / "none.mp4"
    flags = ("--nms_threshold=.2", "--detections_file=found.csv", video, bad)
    here = localize(*flags, output_dir=tmp_path / "here")
    code, out, _ = localize("--server=host:8500", *flags, output_dir=tmp_path / "served", **SERVED)
    assert code == here[0] == 1  # there is a bad video
    assert out == here[1].replace(str(tmp_path / "here"), str(tmp_path / "served"))
    for name in ("segments.csv", "found.csv", "failures.jsonl"):
        content = (tmp_path / "served" / name).read_bytes()
        assert content and content == (tmp_path / "here" / name).read_bytes()
    assert asked == [ModelServer("host:8500")]

    options = ("--model_name=m", "--model_version=3", "--deadline_s=9", "--encoding=png")
    localize("--server=h:1", *options, video, **SERVED)
    localize("--server=h:1", "--version_label=canary", "--tls_ca=ca.pem", video, **SERVED)
    assert asked[1:] == [
        ModelServer("h:1", model="m", version=3, deadline_s=9.0, encoding="png"),
        ModelServer("h:1", label="canary", tls_ca="ca.pem"),
    ]


def test_invalid_servers_are_refused_in_one_sentence(localize, tmp_path, monkeypatch):
    impatient = functools.partial(Client, retry_wait_s=0.01)
    monkeypatch.setattr(client, "Client", impatient)

    def fails(message, *flags, **changes):
        code, out, err = localize(*flags, "v.mp4", **{**SERVED, **changes})
        assert (code, out) == (1, "") and "Traceback" not in err
        (last,) = [line for line in err.splitlines() if line.startswith("error: ")]
        assert message in last

    server = "--server=127.0.0.1:1"
    either = "give either --model_dir, to run the networks here, or --server"
    fails("expected --model_dir, a folder that train wrote, or --server; three commands train")
    fails(either, server, model_dir=tmp_path)
    for flag in ("--scorer=classification", "--noproposal", "--proposal_threshold=.5"):
        name = flag.split("=")[0].replace("--no", "--")
        fails(f"{name} can only be given together with --model_dir", server, flag)
    for flag in (
        "--model_name=m", "--model_version=1", "--deadline_s=1", "--tls_ca=x", "--encoding=png"
    ):  # fmt: skip
        name = flag.split("=")[0]
        fails(f"{name} can only be given together with --server", flag, model_dir=tmp_path)
    fails("version or its label, not both", server, "--model_version=1", "--version_label=x")
    fails("no.pem: cannot be read", server, f"--tls_ca={tmp_path}/no.pem")
    (tmp_path / "empty.pem").touch()
    fails("empty.pem: expected a certificate", server, f"--tls_ca={tmp_path}/empty.pem")
    fails("127.0.0.1:1, model 'scnn': cannot be reached", server)


# --- --live -----------------------------------------------------------------------------------


class Webhook(http.server.BaseHTTPRequestHandler):
    """A web server that keeps what is posted; its first answer is that it is busy."""

    posted: list = []
    busy = True

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if Webhook.busy:
            Webhook.busy = False
            self.send_response(503)
        else:
            Webhook.posted.append((self.headers["Content-Type"], json.loads(body)))
            self.send_response(204)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def test_live_writes_what_a_file_gives_as_lines(localize, tiny_dataset, tmp_path):
    video = tiny_dataset / "videos" / "cat.mp4"
    assert localize(video)[0] == 0
    expected = {row[1:4] for row in read_detections(tmp_path / "found" / "detections.json")}

    def same(lines):
        assert {line["status"] for line in lines} == {"final"}
        rows = {(line["label"], line["start"], line["end"]) for line in lines}
        return sorted(rows) == pytest.approx(sorted(expected))

    code, out, _ = localize("--live", "--outage_s=0.3", video, output_dir=None)
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and {line["video"] for line in lines} == {"cat"}
    assert len(lines) == len(expected) > 0
    assert lines[0]["utc"].endswith("+00:00")

    file = tmp_path / "lines.jsonl"
    file.write_text("{}\n")
    localize("--live", "--outage_s=0.3", f"--lines={file}", video, output_dir=None)
    assert [json.loads(line) for line in file.read_text().splitlines()][1:] == [
        {**line, "utc": unittest.mock.ANY} for line in lines
    ]

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Webhook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/found"
        localize("--live", "--outage_s=0.3", f"--lines={url}", video, output_dir=None)
        server.shutdown()
    assert Webhook.posted == [
        ("application/json", {**line, "utc": unittest.mock.ANY}) for line in lines
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--live"], "expected one live source after the flags. Received: none"),
        (["--live", "a", "b"], "expected one live source after the flags. Received: a, b"),
        (["--live", "--output_dir=x", "a"], "--output_dir can only be given together with videos"),
        (["--when_slow=wait", "a"], "expected --output_dir, the folder of the results, or --live"),
        (["--output_dir=x", "--lines=b", "a"], "--lines can only be given together with --live"),
        (["--live", "missing.ts"], "missing.ts cannot be read as a live video: No such file"),
        (["--live", "--lines=ftp://b/c", "a"], "expected a file, or a URL of http or https"),
    ],
)
def test_wrong_use_of_live(localize, arguments, message):
    code, _, err = localize(*arguments, output_dir=None)
    assert code == 1 and message in err and len(err.splitlines()) == 1


@pytest.mark.needs("ffmpeg")
def test_sigterm_ends_live_with_everything_written(models, tiny_dataset, tmp_path):
    """A pipe stays open for ever: SIGTERM ends the program as the end of the pipe would."""
    pipe, video = tmp_path / "pipe.ts", tiny_dataset / "videos" / "cat.mp4"
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "pipelines.localize", f"--model_dir={models}"]
    command += ["--proposal_threshold=0", "--live", str(pipe)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as live:
        with pipe.open("wb", buffering=0) as file:
            arguments = ["-loglevel", "error", "-i", str(video), "-c", "copy", "-f", "mpegts", "-"]
            file.write(subprocess.check_output(["ffmpeg", *arguments]))
            time.sleep(20)
            live.send_signal(signal.SIGTERM)
            out, err = live.communicate(timeout=60)
    assert live.returncode == 0, err
    lines = [json.loads(line) for line in out.splitlines()]
    assert {line["video"] for line in lines} == {"pipe"}
    # The longest window that fits is the last one to be judged.
    assert max(line["end"] for line in lines) > 2.5
