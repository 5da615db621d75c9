import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scnn_tf.errors import InputError
from scnn_tf.localization.formats import (
    detections_writer,
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
    assert list(read_segments(path).rows()) == [("v", 16, 1.0, 2.0, "run", 0.5)]


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


def test_a_given_class_list_has_precedence_over_the_one_next_to_the_file(tmp_path):
    write_detections(tmp_path / "d.txt", DETECTIONS, CLASSES)
    read = read_detections(tmp_path / "d.txt", {9: "walk", 7: "hop"})
    assert read.label.tolist() == ["walk", "hop", "walk"]


HEADER = "video,start_s,end_s,class,score\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("d.csv", "", "lacks the column video, start_s, end_s, class, score"),
        ("d.csv", "video,start_s,end_s,score\n", "lacks the column class"),
        ("d.csv", HEADER + "v,1,2,run,.5\nv,1,2,run\n", "line 3: expected 5 values"),
        ("d.csv", HEADER + "v,1,two,run,.5\n", "column end_s"),
        ("d.csv", HEADER + "v,2,1,run,.5\n", "row 1 of video 'v' must end after its start"),
        ("d.csv", HEADER + "v,1,2,run,nan\n", "score nan"),
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
