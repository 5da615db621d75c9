"""The survey must notice a file that is lost on the way."""

import json

import pytest

from benchmarks import dirt
from scnn_tf.errors import InputError


@pytest.mark.needs("ffmpeg", "ffprobe")
def test_segments_lost_on_the_way_get_a_wrong_verdict(tmp_path, monkeypatch, write_at):
    # 20 frames: windows of 16 frames at 0 and 4.
    for name in "abc":
        write_at(tmp_path / f"{name}.mkv", list(range(0, 800, 40)))
    (tmp_path / "text.mp4").write_text("no video")
    monkeypatch.setattr(dirt, "_build_and_localize", lambda *_: ({0: 1, 1: 2}, {0: 2, 1: 1, 2: 2}))
    rows = dirt.survey(sorted(tmp_path.iterdir()))
    verdicts = [row["verdict"].partition("; ") for row in rows]
    assert verdicts[:3] == [
        ("right", "", ""),
        ("right", "; ", "WRONG: of 2 windows 2 built, 1 localized"),
        ("right", "; ", "WRONG: of 2 windows None built, 2 localized"),
    ]
    assert rows[3]["frames"] == 0 and "WRONG" not in rows[3]["verdict"]
    folder = tmp_path.name
    assert f"| {folder} | 1 | right | 1 h264 | 20 | 1 | 2 |" in dirt.summary(rows)
    dirt.write_table(tmp_path / "files.csv", rows)
    lines = (tmp_path / "files.csv").read_text().splitlines()
    assert f"{folder}/a.mkv,h264,32×32,25.0,0.8,20,right,0.0,1.0,1,2" in lines


def test_an_empty_folder_and_a_missing_program_are_reported(run_binary, monkeypatch, tmp_path):
    code, _, err = run_binary("benchmarks.dirt", f"--video_dir={tmp_path}")
    assert code == 1 and f"error: --video_dir={tmp_path}: no file was found there" in err
    monkeypatch.setattr("shutil.which", lambda program: None)
    with pytest.raises(InputError, match="ffprobe is not installed"):
        dirt.survey([])


@pytest.mark.needs("ffmpeg", "ffprobe")
def test_the_program_writes_rows_and_prints_a_summary(run_binary, tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / "text.mp4").write_text("no video")
    code, out, err = run_binary(
        "benchmarks.dirt", f"--video_dir={folder}", f"--output_csv={tmp_path / 'files.csv'}"
    )
    assert code == 0, err
    (row,) = json.loads(out)["figures"]["files"]
    assert row["file"] == "videos/text.mp4" and row["frames"] == 0
    assert f"| videos | 1 | {row['verdict']} |" in err
    assert f"videos/text.mp4,,,,,0,{row['verdict']}," in (tmp_path / "files.csv").read_text()


@pytest.mark.needs("ffmpeg", "ffprobe")
def test_a_folder_without_a_readable_video_is_surveyed(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    (row,) = dirt.survey([tmp_path / "text.mp4"])
    assert row["built"] is row["localized"] is None and "WRONG" not in row["verdict"]
    with pytest.raises(InputError, match="expected a trained network"):
        dirt.survey([tmp_path / "text.mp4"], tmp_path)
