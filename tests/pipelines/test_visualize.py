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
def visualize(run_binary, tmp_path):
    """Runs the binary; `@name` is a file of the temporary folder."""
    write_detections(tmp_path / "found.csv", FOUND)
    contents = {
        "map": EVALUATION, "ours": EVALUATION, "theirs": EVALUATION,
        "ablation": {"depths": [0.5, 1], "top_k": {"S-CNN": [[0.1, 0.2]]}},
    }  # fmt: skip
    for name, content in contents.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))

    def run(*flags):
        return run_binary(
            "visualize", *(re.sub(r"@([\w.]+)", rf"{tmp_path}/\1", str(flag)) for flag in flags)
        )

    return run


@pytest.fixture
def fails(visualize, tmp_path):
    """Checks that the binary fails with one sentence and writes nothing."""

    def run(message, *flags):
        before = sorted(tmp_path.rglob("*"))
        code, _, err = visualize(*flags)
        assert code == 1 and "Traceback" not in err
        (last,) = [line for line in err.splitlines() if line.startswith("error: ")]
        assert message in last
        assert sorted(tmp_path.rglob("*")) == before

    return run


def data_of(path) -> dict:
    (text,) = re.findall('id="data">(.*?)</script>', path.read_text())
    return json.loads(text)


def test_a_page_of_everything(visualize, tiny_dataset, tiny_models, tmp_path, caplog):
    code, out, err = visualize(
        "--detections=@found.csv", f"--annotations={tiny_dataset}/annotations.json",
        "--subset=test", f"--video_dir={tiny_dataset}/videos",
        "--evaluations=@map.json,@map.json", "--names=a,b", f"--model_dir={tiny_models}",
        "--ablation=@ablation.json", "--tiou=.3,.5", "--output=@new/r.html",
    )  # fmt: skip
    assert code == 0, err
    assert out == f"page → {tmp_path}/new/r.html\n"
    shown = data_of(tmp_path / "new" / "r.html")
    (video,) = shown["videos"]
    assert "skipped 1 of 3 detections: their 1 videos are not in the ground truth" in caplog.text
    assert video["src"].endswith("videos/cat.mp4") and video["errorType"] == ["02", "02"]
    assert list(shown["evaluations"]) == ["these detections", "a", "b"]
    assert list(shown["training"]) == ["proposal", "localization"]
    assert shown["ablation"]["depths"] == [0.5, 1] and shown["title"] == "found.csv"


def test_a_page_of_detections_alone(visualize, tmp_path):
    code, _, err = visualize(
        "--detections=@found.csv", "--output=@r.html", "--title=mine", "--score_threshold=.4"
    )
    assert code == 0, err
    shown = data_of(tmp_path / "r.html")
    assert shown["title"] == "mine" and shown["threshold"] == 0.4
    assert [video["id"] for video in shown["videos"]] == ["cat", "eve"]


def test_the_list_of_classes_is_found_like_by_evaluate(visualize, run_binary, tmp_path):
    truth = tmp_path / "truth" / "temporal_annotations_test"
    truth.mkdir(parents=True)
    (truth / "left_test.txt").write_text("cat 0.0 1.5\n")
    (truth.parent / "detclasslist.txt").write_text("7 left\n")
    (tmp_path / "found.txt").write_text("cat 0 1.5 7 .9\n")
    flags = ["--detections=@found.txt", f"--annotations={truth}", "--subset=test", "--tiou=.5"]
    code, _, err = visualize(*flags, "--output=@r.html")
    assert code == 0, err
    page = data_of(tmp_path / "r.html")["evaluations"]["these detections"]
    flags[0] = f"--detections={tmp_path}/found.txt"
    assert run_binary("evaluate", *flags, f"--output_json={tmp_path}/e.json")[0] == 0
    assert page == json.loads((tmp_path / "e.json").read_text())
    # A list that cannot be read does not matter to detections that need none.
    (tmp_path / "detclasslist.txt").write_text("left\n")
    assert visualize("--detections=@found.csv", "--output=@r.html")[0] == 0


def test_labels(visualize, tiny_dataset, tmp_path):
    truth = f"--annotations={tiny_dataset}/annotations.json"
    code, out, err = visualize(
        "--labels=label_studio", "--detections=@found.csv", truth, "--title=mine",
        f"--video_dir={tiny_dataset}/videos", "--video_url=/d/", "--output=@new/tasks.json",
    )  # fmt: skip
    assert code == 0, err
    # Of the two detections of cat, the one of .9 is true.
    assert out == (
        f"1 of 3 detections, with a score of 0.9 or more, in 2 videos → {tmp_path}/new/tasks.json\n"
    )
    cat, eve = json.loads((tmp_path / "new" / "tasks.json").read_text())
    assert cat["data"]["video"] == "/d/cat.mp4" and len(cat["annotations"][0]["result"]) == 2
    (prediction,) = cat["predictions"]
    assert prediction["model_version"] == "mine" and len(prediction["result"]) == 1
    assert eve["predictions"][0]["result"] == []


def test_labels_in_a_folder(visualize, tmp_path):
    flags = ["--labels=srt", "--detections=@found.csv", "--output=@subs", "--score_threshold=.2"]
    code, out, err = visualize(*flags)
    assert code == 0, err
    assert out.startswith("2 of 3 detections, with a score of 0.2 or more, in 2 videos → ")
    assert (tmp_path / "subs" / "cat.srt").read_text().count("-->") == 2
    assert (tmp_path / "subs" / "eve.srt").read_text() == ""


@pytest.mark.parametrize(
    ("figure", "flags", "texts"),
    [
        ("loss", ["--alpha=1", "--overlaps=.5,1"], ["α = 1", "v = 0.5"]),
        ("ap", ["--evaluations=@ours.json,@theirs.json"], ["left", "right", "theirs"]),
        (
            "ap",
            ["--evaluations=@ours.json,@ours.json", "--names=S-CNN,S-CNN again", "--tiou=.5"],
            ["S-CNN again"],
        ),
        ("top_k", ["--ablation=@ablation.json"], ["S-CNN"]),
    ],
)
def test_each_figure(visualize, tmp_path, figure, flags, texts):
    code, out, err = visualize(f"--figure={figure}", *flags, "--output=@new/figure.svg")
    assert code == 0, err
    assert out == f"figure → {tmp_path}/new/figure.svg\n"
    svg = (tmp_path / "new" / "figure.svg").read_text()
    assert svg.startswith("<?xml") and svg.rstrip().endswith("</svg>")
    for text in texts:  # matplotlib writes each text as a comment next to its outlines
        assert f"<!-- {text} -->" in svg


def test_each_mistake_on_a_page_is_reported_in_one_sentence(fails, tiny_dataset, tmp_path):
    found, output = "--detections=@found.csv", "--output=@r.html"
    truth = f"--annotations={tiny_dataset}/annotations.json"
    fails("expected --output: the page to write, with --figure an image, with --labels a file")
    fails("a page and labels need --detections", output)
    fails("none.json: cannot be read", output, "--detections=@none.json")
    (tmp_path / "bad.csv").write_text("video,start_s,end_s,class,score\nv,1,2,run,x\n")
    fails("line 2, column score: expected a number", output, "--detections=@bad.csv")
    (tmp_path / "empty.csv").write_text("video,start_s,end_s,class,score\n")
    fails("expected a detection, ground truth or a video", output, "--detections=@empty.csv")
    (tmp_path / "eve.csv").write_text("video,start_s,end_s,class,score\neve,1,2,run,1\n")
    fails("Received: 1 detections of other videos", output, truth, "--detections=@eve.csv")
    fails("--tiou: expected numbers", found, output, truth, "--tiou=a")
    fails("expected tIoU thresholds in (0, 1]", found, output, truth, "--tiou=2")
    evaluations = "--evaluations=@map.json,@map.json"
    fails("Received: 2 files, names map", found, output, evaluations)
    fails("found.csv: no valid JSON", found, output, "--evaluations=@found.csv")
    fails("map.json: expected the results of an ablation", found, output, "--ablation=@map.json")
    fails("no video was found", found, output, "--video_dir=@none")
    fails("none of the 4 annotated videos was found", found, output, truth, "--video_dir=@none")
    fails("no such folder of trained networks", found, output, "--model_dir=@none")
    fails("cannot be written", found, "--output=@found.csv/r.html")
    labels = "--labels=vtt"
    fails("give --score_threshold, or --annotations of some", found, labels, "--output=@x")
    score = "--score_threshold=0"
    fails("cannot be written", found, labels, score, "--output=@found.csv")
    fails("none of the 2 videos", found, labels, score, "--output=@x", f"--video_dir={tmp_path}")
    fails(
        "expected detections to write labels of", "--detections=@empty.csv", labels, score, output
    )


def test_each_mistake_in_a_figure_is_reported_in_one_sentence(fails):
    output = "--output=@figure.svg"
    fails("expected --output", "--figure=loss")
    fails("--overlaps: expected numbers", "--figure=loss", output, "--overlaps=a,b")
    fails("expected overlaps in (0, 1]", "--figure=loss", output, "--overlaps=")
    fails("expected a .png or .svg file", "--figure=loss", "--output=@figure.jpg")
    ours = "--evaluations=@ours.json"
    fails("--figure=ap needs --evaluations", "--figure=ap", output)
    fails(
        "--figure=ap: expected one --tiou. Received: 2", "--figure=ap", output, ours, "--tiou=1,2"
    )
    both = "--evaluations=@ours.json,@ours.json"
    fails("Received: 2 files, names ours", "--figure=ap", output, both, "--names=ours")
    fails("names ours, ours", "--figure=ap", output, both)
    fails("Received: at 0.5", "--figure=ap", output, ours, "--tiou=.7")
    fails("expected a file that `evaluate", "--figure=ap", output, "--evaluations=@ablation.json")
    fails("--figure=top_k needs --ablation", "--figure=top_k", output)
    fails("expected the results of an ablation", "--figure=top_k", output, "--ablation=@ours.json")
    fails("none.json: cannot be read", "--figure=top_k", output, "--ablation=@none.json")
