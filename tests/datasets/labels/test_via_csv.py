"""The two tables that VIA 3 exports, shortened by hand."""

import pytest

from scnn_tf.errors import InputError
from tests.datasets.labels.spans import spans

ALL = r"""# Exported using VGG Image Annotator (http://www.robots.ox.ac.uk/~vgg/software/via)
# Notes:
# - spatial_coordinates of [2,10,20,50,80] denotes a rectangle (shape_id=2) of size 50x80 placed at (10,20)
# - temporal coordinate of [1.349,2.741] denotes a temporal segment from time 1.346 sec. to 2.741 sec.
# - temporal coordinate of [4.633] denotes a still video frame at 4.633 sec.
# - metadata of {""1"":""3""} indicates attribute with id "1" set to an attribute option with id "3"
# SHAPE_ID = {"POINT":1,"RECTANGLE":2,"CIRCLE":3,"ELLIPSE":4,"LINE":5,"POLYLINE":6,"POLYGON":7}
# FLAG_ID = {"RESERVED_1":1,"RESERVED_2":2,"RESERVED_3":4,"RESERVED_4":8,"RESERVED_5":16}
# ATTRIBUTE = {"1":{"aname":"TEMPORAL-SEGMENTS","anchor_id":"FILE1_Z2_XY0","type":4,"desc":"","options":{"1":"pour","2":"stir, slowly"},"default_option_id":""},"2":{"aname":"object","anchor_id":"FILE1_Z1_XY1","type":1,"desc":"","options":{},"default_option_id":""}}
# CSV_HEADER = metadata_id,file_list,flags,temporal_coordinates,spatial_coordinates,metadata
"1_j5s","[""kitchen, 1.mp4""]",0,"[1.124,5.31493]","[]","{""1"":""1""}"
"1_k9t","[""kitchen, 1.mp4""]",0,"[6,7.5]","[]","{""1"":""2""}"
"1_m2u","[""kitchen, 1.mp4""]",0,"[3]","[2,10,10,50,50]","{""2"":""cup""}"
"2_n3v","[""https://host/hall.mp4"",""side.mp4""]",0,"[0,2.25]","[]","{""1"":""1""}"
"""  # noqa: E501
SEGMENTS = """# Exported using VGG Image Annotator (http://www.robots.ox.ac.uk/~vgg/software/via)
# CSV_HEADER = metadata_id,file_list,temporal_segment_start,temporal_segment_end,metadata
"1_j5s","[""kitchen.mp4""]",1.124,5.31493,"{""action"":""pour""}"
"1_m2u","[""kitchen.mp4""]",3,,"{""object"":""cup""}"
"1_n3v","[""kitchen.mp4""]",6,7.5,"{""action"":""stir, slowly""}"
"""


def test_the_table_of_all_metadata_has_options_by_their_numbers(read, warnings):
    kitchen, hall = read("Kitchen02Mar2026_10h14m04s_export.csv", ALL)
    assert kitchen.file == "kitchen, 1.mp4"
    assert spans(kitchen) == [("pour", 1.124, 5.31493), ("stir, slowly", 6, 7.5)]
    assert kitchen.spans[0].where == "segment '1_j5s in line 11', 1.124 to 5.31493 s"
    assert (hall.file, spans(hall)) == ("https://host/hall.mp4", [("pour", 0, 2.25)])
    (text,) = warnings
    assert text.endswith("skipped labels that are no temporal segments: 1 region")


def test_the_first_versions_put_braces_around_each_value(read):
    lines = [
        line if line.startswith("#") else line.replace('"[', '"{[').replace(']"', ']}"')
        for line in ALL.replace('"{', '"{{').replace('}"\n', '}}"\n').splitlines()
    ]
    assert '"{[1.124,5.31493]}"' in lines[10] and '"{{""1"":""1""}}"' in lines[10]
    assert read("a.csv", "\n".join(lines)) == read("b.csv", ALL)


def test_the_table_of_segments_has_attributes_by_their_names(read, warnings):
    (kitchen,) = read("a.csv", SEGMENTS)
    assert spans(kitchen) == [("pour", 1.124, 5.31493), ("stir, slowly", 6, 7.5)]
    assert warnings[0].endswith("skipped labels that are no temporal segments: 1 picture attribute")
    both = SEGMENTS.replace('""action"":""pour""', '""action"":""pour"",""who"":""ann""')
    with pytest.raises(InputError, match="Found: action, who; name it .--attribute"):
        read("a.csv", both)
    assert spans(read("a.csv", both, "who")[0])[0] == ("ann", 1.124, 5.31493)


def test_numbers_of_options_that_nothing_names_are_warned_of(read, warnings):
    numbers = SEGMENTS.replace("pour", "1").replace("stir, slowly", "2").replace("cup", "0")
    (kitchen,) = read("a.csv", numbers)
    assert spans(kitchen) == [("1", 1.124, 5.31493), ("2", 6, 7.5)]
    assert "a.csv: the classes are the numbers of options, such as 1, because" in warnings[0]


def test_a_row_that_cannot_be_read_costs_that_row(read):
    lines = SEGMENTS.splitlines()
    bad = ['"1_a","[""kitchen.mp4""",1,2,"{}"', '"1_b","[]",1,2,"{}"', '"1_c"', *lines[2:]]
    *problems, kitchen = read("a.csv", "\n".join([*lines[:2], *bad]))
    assert [video.problem.split(":")[0] for video in problems] == ["line 3", "line 4", "line 5"]
    assert len(kitchen.spans) == 2
    times = SEGMENTS.replace("1.124", "soon")
    (kitchen,) = read("a.csv", times)
    assert kitchen.spans[0].problem == "expected two numbers. Received: 'soon' to 5.31493"


def test_other_columns_are_an_error(read):
    with pytest.raises(InputError, match="Found: filename,region_count; export it again"):
        read("a.csv", "# CSV_HEADER = filename,region_count\na.png,1\n")
    with pytest.raises(InputError, match="no valid JSON"):
        read("a.csv", ALL.replace('# ATTRIBUTE = {"1"', '# ATTRIBUTE = {"1'))
