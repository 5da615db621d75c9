import gzip
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scnn_tf.errors import InputError
from scnn_tf.localization.formats import (
    check_detections_file,
    detections_writer,
    find_class_list,
    read_class_list,
    read_detections,
    read_segments,
    write_detections,
    write_segments,
)
from scnn_tf.localization.tables import Detections, RawSegments, concatenate
from scnn_tf.segments.labels import BACKGROUND

SEGMENTS = RawSegments(
    ["v 1", "v,2"], [16, 512], [0.1, 1 / 3], [0.2, 7.0], ["run", BACKGROUND], [0.1 + 0.2, 1e-9]
)
# The rows of the two videos alternate; JSON can only keep the order within each video.
DETECTIONS = Detections(
    ["b", "a", "b"], [0.1, 1 / 3, 2.0], [0.2, 7.0, 3.0], ["run", "jump", "run"], [0.9, 0.3, 0.5]
)
CLASSES = {7: "jump", 9: "run"}


@pytest.mark.parametrize("name", ["s.csv", "s.csv.gz"])
def test_segments_read_back_to_the_last_digit(tmp_path, name):
    write_segments(tmp_path / "new" / name, SEGMENTS)
    assert list(read_segments(tmp_path / "new" / name).rows()) == list(SEGMENTS.rows())


def test_gz_files_are_compressed_and_equal_for_equal_tables(tmp_path):
    write_segments(tmp_path / "a.csv", SEGMENTS)
    write_segments(tmp_path / "b.csv.gz", SEGMENTS)
    write_segments(tmp_path / "c.csv.gz", SEGMENTS)
    packed = (tmp_path / "b.csv.gz").read_bytes()
    assert gzip.decompress(packed) == (tmp_path / "a.csv").read_bytes()
    assert packed[:2] == b"\x1f\x8b"
    assert packed[4:8] == bytes(4)  # no time of writing in the header


def test_columns_may_be_in_any_order_and_further_columns_are_ignored(tmp_path):
    path = tmp_path / "s.csv"
    path.write_text("row,score,class,end_s,start_s,window_frames,video\n1,.5,run,2,1,16,v\n")
    # Without the times of the action, as in files of earlier versions, they are the window's.
    assert list(read_segments(path).rows()) == [("v", 16, 1.0, 2.0, "run", 0.5, 1.0, 2.0)]
    path.write_text(
        "action_end_s,row,score,class,end_s,start_s,window_frames,video,action_start_s\n"
        "2.5,1,.5,run,2,1,16,v,.75\n"
    )
    assert list(read_segments(path).rows()) == [("v", 16, 1.0, 2.0, "run", 0.5, 0.75, 2.5)]


def test_a_file_without_rows_is_an_empty_table(tmp_path):
    write_segments(tmp_path / "s.csv", SEGMENTS.take(np.zeros(2, bool)))
    assert len(read_segments(tmp_path / "s.csv")) == 0
    for name in ("d.json", "d.csv", "d.txt"):
        write_detections(tmp_path / name, DETECTIONS.take(np.zeros(3, bool)), CLASSES)
        assert len(read_detections(tmp_path / name)) == 0


@pytest.mark.parametrize("name", ["d.csv", "d.csv.gz", "d.txt", "d.txt.gz"])
def test_detections_read_back(tmp_path, name):
    write_detections(tmp_path / name, DETECTIONS, CLASSES)
    assert list(read_detections(tmp_path / name).rows()) == list(DETECTIONS.rows())


def test_detections_read_back_from_json_video_by_video(tmp_path):
    write_detections(tmp_path / "d.json", DETECTIONS)
    assert list(read_detections(tmp_path / "d.json").rows()) == list(
        DETECTIONS.take([0, 2, 1]).rows()
    )


def test_thumos_text_has_the_ids_of_the_list_next_to_it(tmp_path):
    write_detections(tmp_path / "d.txt", DETECTIONS, CLASSES)
    assert (tmp_path / "d.txt").read_text().splitlines()[0] == "b 0.1 0.2 9 0.9"
    assert read_class_list(tmp_path / "detclasslist.txt") == CLASSES
    with pytest.raises(InputError, match="lists other classes"):
        write_detections(tmp_path / "e.txt", DETECTIONS, {1: "jump", 2: "run"})


def test_thumos_text_may_name_the_file_of_a_video(tmp_path):
    (tmp_path / "d.txt").write_text("a b.mp4 1 2 7 .5\nc 1 2 7 .5\n")
    assert read_detections(tmp_path / "d.txt", CLASSES).video.tolist() == ["a b", "c"]


def test_a_given_class_list_has_precedence_over_the_one_next_to_the_file(tmp_path):
    write_detections(tmp_path / "d.txt", DETECTIONS, CLASSES)
    read = read_detections(tmp_path / "d.txt", {9: "walk", 7: "hop"})
    assert read.label.tolist() == ["walk", "hop", "walk"]


def results(**item):
    item = {"label": "run", "score": 0.5, "segment": [1, 2]} | item
    return json.dumps({"results": {"v": [item]}})


def test_numbers_of_json_may_be_text_and_labels_numbers(tmp_path):
    (tmp_path / "d.json").write_text(results(label=7, score="5e-1", segment=["1", " 2.5 "]))
    assert list(read_detections(tmp_path / "d.json").rows()) == [("v", 1.0, 2.5, "7", 0.5)]


@pytest.mark.parametrize(
    ("row", "described"),
    [
        ("v,2,1,run,.5", "2 to 1 s, score 0.5"),
        ("v,2,2,run,.5", "2 to 2 s, score 0.5"),
        ("v,1,2,run,nan", "1 to 2 s, score nan"),
        ("v,nan,2,run,.5", "nan to 2 s, score 0.5"),
        ("v,1,inf,run,.5", "1 to inf s, score 0.5"),
    ],
)
def test_a_row_without_a_length_or_a_score_is_kept_and_counted_or_refused(
    tmp_path, row, described, caplog
):
    path = tmp_path / "d.csv"
    path.write_text(f"{HEADER}v,1,2,run,.5\n{row}\n{row}\n")
    assert read_detections(path).usable.tolist() == [True, False, False]
    assert caplog.messages == [
        f"{path}: 2 of 3 detections have no length or no score, and count as false; the first: "
        f"row 2 of video 'v', {described}"
    ]
    with pytest.raises(InputError) as error:
        read_detections(path, strict=True)
    times, score = described.split(", ")
    assert str(error.value) == (
        f"{path}: row 2 of video 'v' must end after its start and have a finite score. "
        f"Received: {times}, {score}"
    )


def test_infinite_scores_rank_like_all_others(tmp_path, caplog):
    (tmp_path / "d.csv").write_text(f"{HEADER}v,1,2,run,inf\nv,1,2,run,-inf\n")
    assert read_detections(tmp_path / "d.csv").usable.all() and caplog.messages == []


ODD_NAMES = (
    "a\rb", "a\nb", "a\r\nb", "\tb", '"', "", " a ", "\x1b[2J", "a\x85b", "a\u2028b", "a,b",
    "a\x00b", "=1+1", "+1", "@SUM(A1)", "-2+3", "-2 3", "'=1", "''=1", "'a", "-x1_Y-z", "-1.5",
    "ü", "🏃",
)  # fmt: skip


@pytest.mark.parametrize("name", ["d.csv", "d.csv.gz", "d.json"])
def test_any_name_reads_back(tmp_path, name):
    rows = [(odd, 1.0, 2.0, odd, 0.5) for odd in ODD_NAMES]
    write_detections(tmp_path / name, Detections(*zip(*rows, strict=True)))
    assert list(read_detections(tmp_path / name).rows()) == rows


def test_any_name_of_a_segment_reads_back(tmp_path):
    rows = [(odd, 16, 1.0, 2.0, odd, 0.5, 0.75, 2.5) for odd in ODD_NAMES]
    write_segments(tmp_path / "s.csv", RawSegments(*zip(*rows, strict=True)))
    assert list(read_segments(tmp_path / "s.csv").rows()) == rows


def test_bytes_of_a_name_that_are_no_utf_8_are_written_as_escapes(tmp_path):
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    for file in ("d.csv", "d.json"):
        write_detections(tmp_path / file, Detections([name], [1.0], [2.0], ["run"], [0.5]))
        assert read_detections(tmp_path / file).video.tolist() == [r"caf\udce9"]


def test_a_spreadsheet_computes_no_name_of_a_csv_file(tmp_path):
    names = ["=1+1", "+1", "@a", "-2+3", "\t=1", "-x1_Y-z"]
    found = Detections(names, [1.0] * 6, [2.0] * 6, ["=2"] * 6, [0.5] * 6)
    write_detections(tmp_path / "d.csv", found)
    rows = [line.split(",") for line in (tmp_path / "d.csv").read_text().splitlines()[1:]]
    assert [row[0] for row in rows] == ["'=1+1", "'+1", "'@a", "'-2+3", "'\t=1", "-x1_Y-z"]
    assert {row[3] for row in rows} == {"'=2"}


@pytest.mark.parametrize("odd", ["a\nb", "a\rb", "a\x85b", " a", "a ", "", "a\u2028b"])
def test_thumos_text_leaves_out_a_video_whose_name_it_cannot_hold(tmp_path, odd, caplog):
    names = ["a b", odd, "c"]
    found = Detections(names, [1.0] * 3, [2.0] * 3, ["run"] * 3, [0.5] * 3)
    write_detections(tmp_path / "d.txt", found, CLASSES)
    assert read_detections(tmp_path / "d.txt").video.tolist() == ["a b", "c"]
    assert "left out 1 detections of 1 video(s) such as" in caplog.text and repr(odd) in caplog.text


@pytest.mark.parametrize("odd", ["a\nb", "a\rb", "a ", " "])
def test_thumos_text_refuses_a_class_that_it_cannot_hold_before_anything_is_written(tmp_path, odd):
    with pytest.raises(InputError, match="expected classes on one line"):
        write_detections(tmp_path / "d.txt", DETECTIONS, CLASSES | {10: odd})
    with pytest.raises(InputError, match="expected classes on one line"):
        check_detections_file(tmp_path / "d.txt", CLASSES | {10: odd})
    assert not list(tmp_path.iterdir())
    check_detections_file(tmp_path / "d.json", CLASSES | {10: odd})


def test_the_list_of_classes_is_searched_for_thumos_text_only(tmp_path):
    (tmp_path / "detclasslist.txt").write_text("7 run\n")
    truth = tmp_path / "truth"
    truth.mkdir()
    (truth / "detclasslist.txt").write_text("8 jump\n")
    elsewhere = tmp_path / "found" / "d.txt"
    assert find_class_list(None, tmp_path / "d.txt.gz", truth) == {7: "run"}
    assert find_class_list(None, elsewhere, truth) == {8: "jump"}
    assert find_class_list(None, elsewhere, truth / "a.json") == {8: "jump"}
    assert find_class_list(None, elsewhere, None) is None
    (tmp_path / "detclasslist.txt").write_text("run\n")
    assert find_class_list(None, tmp_path / "d.json", truth) is None
    with pytest.raises(InputError, match="line 1: expected `id name`"):
        find_class_list(None, tmp_path / "d.txt", truth)


HEADER = "video,start_s,end_s,class,score\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("d.csv", "", "lacks the column video, start_s, end_s, class, score"),
        ("d.csv", "video,start_s,end_s,score\n", "lacks the column class"),
        ("d.csv", HEADER + "v,1,2,run,.5\nv,1,2,run\n", "line 3: expected 5 values"),
        ("d.csv", HEADER + "v,1,two,run,.5\n", "column end_s"),
        ("d.csv", HEADER + "v,1,1_2,run,.5\n", "line 2, column end_s: expected a number"),
        ("d.csv.gz", HEADER, "cannot be read"),
        ("d.json", "{\n", "line 2"),
        ("d.json", "[]", "results"),
        ("d.json", '{"results": {"v": [{"label": "run", "score": 1}]}}', "'v': expected"),
        ("d.json", '{"results": {"v": 3}}', "video 'v': expected"),
        (
            "d.json",
            '{"results": {"v": [{"label": "run", "score": 1, "segment": ["a", "b"]}]}}',
            "'v': expected a list",
        ),
        (
            "d.json",
            '{"results": {"v": [{"label": "run", "score": 1, "segment": [[1], 2]}]}}',
            "'v': expected a list",
        ),
        ("d.json", results(label=["run"]), "Received as number 1: {'label': ['run']"),
        ("d.json", results(label=None), "'v': expected a list"),
        ("d.json", results(label=True), "'v': expected a list"),
        ("d.json", results(score=None), "'v': expected a list"),
        ("d.json", results(score="1_2"), "'v': expected a list"),
        ("d.json", results(segment="12"), "'v': expected a list"),
        ("d.json", results(segment=[1]), "'v': expected a list"),
        ("d.json", results(label=json.loads("[" * 50 + "]" * 50)), "'v': expected a list"),
        ("d.json", '{"results": ' + "[" * 9999 + "]" * 9999 + "}", "nested too deeply"),
        ("d.csv", f"{HEADER}v,1,2,run,.5\n".replace("\n", "\r"), "no valid CSV after line 0"),
        ("d.csv", HEADER + 'v,1,2,"' + "run,.5\n" * 20_000, "no valid CSV after line 1 (field"),
        ("d.txt", "v 1 2 7 .5\nv 1 2 7\n", "line 2: expected `video start"),
        ("d.txt", "v 1 2 8 .5\n", "class id 8 is not in the list of classes (7, 9)"),
        ("d.xml", "", ".json, .csv"),
    ],
)
def test_an_invalid_file_of_detections_is_an_error_that_names_the_file(
    tmp_path, name, content, message
):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(InputError) as error:
        read_detections(path, CLASSES)
    assert str(path) in str(error.value)
    assert message in str(error.value)


def test_a_truncated_gz_file_is_an_error_that_names_the_file(tmp_path):
    write_segments(tmp_path / "s.csv.gz", SEGMENTS)
    data = (tmp_path / "s.csv.gz").read_bytes()
    (tmp_path / "s.csv.gz").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"s\.csv\.gz: cannot be read"):
        read_segments(tmp_path / "s.csv.gz")


def test_text_without_a_list_of_classes_asks_for_one(tmp_path):
    (tmp_path / "d.txt").write_text("v 1 2 7 .5\n")
    with pytest.raises(InputError, match="class_list"):
        read_detections(tmp_path / "d.txt")
    with pytest.raises(ValueError, match="class_list"):
        write_detections(tmp_path / "e.txt", DETECTIONS)
    with pytest.raises(InputError, match="no id for run"):
        write_detections(tmp_path / "e.txt", DETECTIONS, {7: "jump"})


@pytest.mark.parametrize("content", ["7\n", "x run\n", "7 run\n7 jump\n"])
def test_an_invalid_class_list_is_an_error_that_names_file_and_line(tmp_path, content):
    (tmp_path / "detclasslist.txt").write_text(content)
    with pytest.raises(InputError, match=r"detclasslist\.txt, line"):
        read_class_list(tmp_path / "detclasslist.txt")


def test_a_file_that_cannot_be_written_is_an_error_that_names_it(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"s\.csv: cannot be written"):
        write_segments(tmp_path / "file" / "s.csv", SEGMENTS)


@pytest.mark.parametrize("name", ["d.csv", "d.json", "d.txt.gz"])
def test_tables_that_are_written_one_by_one_give_the_file_of_one_table(tmp_path, name):
    tables = [Detections([f"v{i}"], [1.0], [2.0], ["run"], [0.5]) for i in range(9)]
    with detections_writer(tmp_path / name, CLASSES) as write:
        for table in tables:
            write(table)
        assert not (tmp_path / name).exists()
    write_detections(tmp_path / f"all_{name}", concatenate(tables), CLASSES)
    assert (tmp_path / name).read_bytes() == (tmp_path / f"all_{name}").read_bytes()
    assert read_detections(tmp_path / name).video.tolist() == [f"v{i}" for i in range(9)]


def test_an_interrupted_writer_leaves_the_old_file(tmp_path):
    write_detections(tmp_path / "d.txt", DETECTIONS, CLASSES)
    unknown = Detections(["v"], [1.0], [2.0], ["walk"], [0.5])
    with pytest.raises(InputError, match="has no id for walk"):
        with detections_writer(tmp_path / "d.txt", CLASSES) as write:
            write(DETECTIONS)
            write(unknown)
    assert list(read_detections(tmp_path / "d.txt").rows()) == list(DETECTIONS.rows())
    assert {path.name for path in tmp_path.iterdir()} == {"d.txt", "detclasslist.txt"}


@given(st.floats(0, 1e5), st.floats(1e-3, 1e5), st.floats(0, 1, width=32))
def test_every_number_reads_back_exactly(tmp_path_factory, start, length, score):
    table = Detections(["v"], [start], [start + length], ["run"], [score])
    folder = tmp_path_factory.mktemp("numbers")
    for name in ("d.csv", "d.json", "d.txt"):
        write_detections(folder / name, table, CLASSES)
        assert list(read_detections(folder / name).rows()) == list(table.rows())
