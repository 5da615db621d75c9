import json
import re

import pytest

PNG = b"\x89PNG"
TRUTH = {
    "version": "1",
    "database": {
        name: {
            "subset": "test",
            "duration": 10.0,
            "annotations": [
                {"label": "run", "segment": [1, 3]},
                {"label": "sit", "segment": [5, 9]},
            ],
        }
        for name in ("ann", "bob")
    },
}
FOUND = {"results": {"ann": [{"label": "run", "score": 0.9, "segment": [1.2, 3.0]}]}}
EVALUATION = {
    "protocol": "thumos14", "videos": 2, "instances": 4, "map": {"0.5": 0.5},
    "ap": {"run": {"0.5": 0.75}, "sit": {"0.5": 0.25}},
}  # fmt: skip


@pytest.fixture
def plot(run_binary, tmp_path):
    """Runs the binary in a folder of result files; `@name` is a file there."""
    contents = {
        "truth": TRUTH, "found": FOUND, "ours": EVALUATION, "theirs": EVALUATION,
        "ablation": {"depths": [0.5, 1], "top_k": {"S-CNN": [[0.1, 0.2]]}},
    }  # fmt: skip
    for name, content in contents.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))

    def run(figure, *more, output="figure.svg"):
        flags = [re.sub(r"@(\w+)", rf"{tmp_path}/\1.json", flag) for flag in more]
        return run_binary("plot", f"--figure={figure}", f"--output={tmp_path / output}", *flags)

    return run


TIMELINE = ("--input=@found", "--ground_truth=@truth", "--video_id=ann")


@pytest.mark.parametrize(
    ("figure", "flags"),
    [
        (3, ["--alpha=1", "--overlaps=.5,1"]),
        (4, ["--input=@ours,@theirs"]),
        (4, ["--input=@ours,@ours", "--names=S-CNN,S-CNN again"]),
        (5, TIMELINE),
        (6, [*TIMELINE, "--instance=2"]),
        (7, ["--input=@ablation"]),
    ],
)
def test_each_figure(plot, tmp_path, figure, flags):
    code, _, err = plot(figure, *flags)
    assert code == 0, err
    svg = (tmp_path / "figure.svg").read_text()
    assert svg.startswith("<?xml") and svg.rstrip().endswith("</svg>")
    # Matplotlib writes what a text says beside its outlines.
    expected = {
        3: ["α = 1", "v = 0.5"], 4: ["run", "sit", "S-CNN again" if len(flags) > 1 else "theirs"],
        5: ["ann: 2 instance(s), 1 detection(s)", "run", "sit"], 6: ["sit"], 7: ["S-CNN"],
    }  # fmt: skip
    for text in expected[figure]:
        assert f"<!-- {text} -->" in svg


def test_key_frames_of_a_real_file(plot, tiny_dataset, tmp_path):
    video = tiny_dataset / "videos" / "cat.mp4"
    code, _, err = plot(5, *TIMELINE, f"--video={video}", output="new/figure.png")
    assert code == 0, err
    assert (tmp_path / "new" / "figure.png").read_bytes().startswith(PNG)


def test_mistakes_are_told_in_one_sentence(plot, tmp_path):
    def fails(message, figure, *flags, output="figure.svg"):
        code, _, err = plot(figure, *flags, output=output)
        assert code == 1 and "Traceback" not in err
        assert message in err.splitlines()[-1]
        assert not (tmp_path / output).exists()

    fails("--overlaps takes numbers. Received: a,b", 3, "--overlaps=a,b")
    fails("overlaps lie in (0, 1]", 3, "--overlaps=")
    fails("a figure is a .png or an .svg file", 3, output="figure.jpg")
    fails("give --input=FILE,…", 4)
    fails("Received: 2 files, names ours", 4, "--input=@ours,@ours", "--names=ours")
    fails("names ours, ours", 4, "--input=@ours,@ours")
    fails("ours was not evaluated at tIoU 0.7, but at 0.5", 4, "--input=@ours", "--tiou=.7")
    fails("not what `evaluate --output_json` writes", 4, "--input=@ablation")
    fails("give one file as --input. Received: 0", 7)
    fails("not what `ablate` writes", 7, "--input=@ours")
    fails("none.json: cannot be read", 7, "--input=@none")
    fails("figures 5 and 6 need --ground_truth and --video_id", 5, "--input=@found")
    fails("has no video 'eve', but 'ann' and 1 more", 5, *TIMELINE, "--video_id=eve")
    fails("ann has 2 instances. Received: number 3", 6, *TIMELINE, "--instance=3")
    fails("none.mp4 does not exist", 5, *TIMELINE, f"--video={tmp_path / 'none.mp4'}")
