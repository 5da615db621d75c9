"""Files of which no form can be read."""

import pytest

from scnn_tf.errors import InputError


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "run from 1 to 2", "or an export of a labelling tool"),
        ("a.csv", "", "lacks the column video, label, start, end"),
        ("a.csv", "video,start,end\n", "lacks the column label"),
        ("a.json", '{"a":\n', "no valid JSON, line 2"),
        ("a.json", "[]", "expected a project of VIA 3"),
        ("a.json", [{"id": 1, "video": "v.mp4", "tl": []}], "not JSON-MIN"),
        ("a.xml", "<annotations>", "no valid XML"),
        ("a.xml", "<x/>", "expected an export of CVAT"),
        ("a.json", {"behaviors_conf": [], "observations": {}}, "a part of another form"),
        ("a.xml", "<annotations><meta><project/></meta></annotations>", "that of a project"),
    ],
)  # fmt: skip
def test_an_invalid_export_is_an_error_that_names_the_file(read, tmp_path, name, content, message):
    with pytest.raises(InputError) as error:
        read(name, content)
    assert str(error.value).startswith(str(tmp_path / name))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
