import pytest

from scnn_tf.datasets.class_lists import read_class_names, with_names
from scnn_tf.datasets.labels.labelled import LabelledVideo, Span
from scnn_tf.errors import InputError


@pytest.mark.parametrize(
    ("text", "names"),
    [
        # MultiTHUMOS, Charades, EPIC-Kitchens
        ("1 BaseballPitch\n25 Run\n\n", {"1": "BaseballPitch", "25": "Run"}),
        ("c000 Holding a cup\nc092 Sit, or lie\n", {"0": "Holding a cup", "92": "Sit, or lie"}),
        (
            '"id","key","instances","category"\n'
            "0,\"tap\",\"['tap', 'tap:hot']\",\"kitchen\"\n1,spoon,['spoon'],cutlery\n",
            {"0": "tap", "1": "spoon"},
        ),
    ],
)
def test_lists_of_data_sets_are_read(tmp_path, text, names):
    (tmp_path / "classes").write_text(text)
    assert read_class_names(tmp_path / "classes") == names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 run\n2\n", "classes, line 2: expected `id name`. Received: '2'"),
        ("1 run\n01 sit\n", "classes, line 2: id 01 occurs twice"),
        ("id,key\n1\n", "classes, line 2: expected `id name`. Received: '1'"),
    ],
)
def test_an_invalid_line_is_an_error_that_names_it(tmp_path, text, message):
    (tmp_path / "classes").write_text(text)
    with pytest.raises(InputError, match=message):
        read_class_names(tmp_path / "classes")


def test_ids_become_names_and_others_are_problems():
    video = LabelledVideo(
        "v",
        tuple(
            Span(label, 1, 2, "line 1", problem)
            for label, problem in [
                ("c092", ""), ("92", ""), ("Run", ""), ("7", ""), ("7", "is broken"), ("", ""),
            ]
        ),
    )  # fmt: skip
    named = with_names(video, {"92": "Laugh", "1": "Run"})
    assert [(span.label, span.problem) for span in named.spans] == [
        ("Laugh", ""), ("Laugh", ""), ("Run", ""), ("7", "its class is not in the list of classes"),
        ("7", "is broken"), ("", ""),
    ]  # fmt: skip
