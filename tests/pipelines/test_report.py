import json
import re

import pytest

from scnn_tf.localization.formats import write_detections
from scnn_tf.localization.tables import Detections

FOUND = Detections(
    ["cat", "cat", "eve"], [0.3, 2.5, 1.0], [1.6, 3.2, 2.0], ["left", "left", "left"],
    [0.9, 0.5, 0.1],
)  # fmt: skip
EVALUATION = {
    "protocol": "thumos14", "videos": 1, "instances": 2, "map": {"0.5": 0.5},
    "ap": {"left": {"0.5": 0.75}, "right": {"0.5": 0.25}},
}  # fmt: skip


@pytest.fixture
def report(run_binary, tmp_path):
    """Runs the binary on `FOUND`; `@name` is a file of the temporary folder."""
    write_detections(tmp_path / "found.csv", [FOUND])
    (tmp_path / "map.json").write_text(json.dumps(EVALUATION))
    ablation = {"depths": [0.5, 1], "top_k": {"S-CNN": [[0.1, 0.2]]}}
    (tmp_path / "ablation.json").write_text(json.dumps(ablation))

    def run(*flags, detections="@found.csv"):
        flags = [re.sub(r"@([\w.]+)", rf"{tmp_path}/\1", str(flag)) for flag in flags]
        return run_binary("report", f"--detections={detections.replace('@', f'{tmp_path}/')}",
                          *flags)  # fmt: skip

    return run


def page(path) -> dict:
    (text,) = re.findall('id="data">(.*?)</script>', path.read_text())
    return json.loads(text)


def test_all_of_it(report, tiny_dataset, tiny_models, tmp_path, caplog):
    code, out, err = report(
        f"--ground_truth={tiny_dataset}/annotations.json", "--subset=test",
        f"--videos={tiny_dataset}/videos", "--evaluations=@map.json,@map.json", "--names=a,b",
        f"--model_dir={tiny_models}", "--ablation=@ablation.json", "--tiou=.3,.5",
        "--output=@new/r.html",
    )  # fmt: skip
    assert code == 0, err
    assert out == f"report → {tmp_path}/new/r.html\n"
    shown = page(tmp_path / "new" / "r.html")
    (video,) = shown["videos"]
    passed_over = "1 of 3 detections are of 1 videos outside the ground truth: passed over"
    assert passed_over in caplog.text
    assert video["src"].endswith("videos/cat.mp4") and video["kind"] == ["03", "03"]
    assert list(shown["evaluations"]) == ["these detections", "a", "b"]
    assert list(shown["training"]) == ["proposal", "localization"]
    assert shown["ablation"]["depths"] == [0.5, 1] and shown["title"] == "found.csv"


def test_only_detections(report, tmp_path):
    code, _, err = report("--output=@r.html", "--title=mine", "--score_threshold=.4")
    assert code == 0, err
    shown = page(tmp_path / "r.html")
    assert shown["title"] == "mine" and shown["threshold"] == 0.4
    assert [video["id"] for video in shown["videos"]] == ["cat", "eve"]


def test_subtitles(report, tmp_path):
    code, out, err = report("--subtitles=@subs", "--subtitles_form=vtt", "--score_threshold=.5")
    assert code == 0, err
    assert out == f"subtitles of 2 videos → {tmp_path}/subs\n"
    assert (tmp_path / "subs" / "cat.vtt").read_text().count("-->") == 2
    assert (tmp_path / "subs" / "eve.vtt").read_text() == "WEBVTT\n\n"
    report("--subtitles=@subs")
    assert (tmp_path / "subs" / "eve.srt").read_text() == (
        "1\n00:00:01,000 --> 00:00:02,000\nleft (0.1)\n\n"
    )


def test_mistakes_are_told_in_one_sentence(report, tiny_dataset, tmp_path):
    def fails(message, *flags, **options):
        code, _, err = report(*flags, **options)
        assert code == 1 and "Traceback" not in err
        (last,) = [line for line in err.splitlines() if line.startswith("error: ")]
        assert message in last
        assert not (tmp_path / "r.html").exists()

    out, truth = "--output=@r.html", f"--ground_truth={tiny_dataset}/annotations.json"
    fails("give --output, a page to write, or --subtitles, a folder for them")
    fails("none.json: cannot be read", out, detections="@none.json")
    (tmp_path / "nan.csv").write_text("video,start_s,end_s,class,score\nv,1,2,run,nan\n")
    fails("have a finite score; received 1 to 2 s, score nan", out, detections="@nan.csv")
    (tmp_path / "empty.csv").write_text("video,start_s,end_s,class,score\n")
    fails("nothing to show: there is no detection", out, detections="@empty.csv")
    (tmp_path / "eve.csv").write_text("video,start_s,end_s,class,score\neve,1,2,run,1\n")
    fails("none of the 1 detections is of a video", out, truth, detections="@eve.csv")
    fails("--tiou=a: expected numbers", out, truth, "--tiou=a")
    fails("a tIoU threshold lies in (0, 1]", out, truth, "--tiou=2")
    fails("Received: 2 files, names map", out, "--evaluations=@map.json,@map.json")
    fails("found.csv: no valid JSON", out, "--evaluations=@found.csv")
    fails("map.json: not what `ablate` writes", out, "--ablation=@map.json")
    fails("there is no video in it", out, "--videos=@none")
    fails("none of the 4 annotated videos is in it", out, truth, "--videos=@none")
    fails("no such folder of trained networks", out, "--model_dir=@none")
    fails("cannot be written", "--output=@found.csv/r.html")
    fails("cannot be written", "--subtitles=@found.csv")
