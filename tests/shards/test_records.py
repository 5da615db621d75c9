import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from scnn_tf.errors import InputError
from scnn_tf.shards import records

JPEGS = [b"\xff\xd8 no %d" % i for i in range(16)]  # nothing here looks into them
SEGMENT = records.SegmentRecord(
    video_id="v 1",
    data_path="some/v 1.mp4",
    start_frame=8,
    window_frames=32,
    frame_indices=np.arange(8, 40, 2),
    label=2,
    label_name="run",
    overlap=0.75,
    trimmed=False,
    background_draw=0.0,
    images=JPEGS,
    height=128,
    width=171,
    frame_rate=30.0,
    dataset_name="toy",
)


def changed(**fields) -> records.SegmentRecord:
    return dataclasses.replace(SEGMENT, **fields)


def values(feature: tf.train.Feature) -> list:
    return list(getattr(feature, feature.WhichOneof("kind")).value)


def test_keys_types_and_units():
    """A program that knows MediaSequence's keys finds their values."""
    example = tf.train.SequenceExample.FromString(records.encode(SEGMENT))
    context = {key: values(feature) for key, feature in example.context.feature.items()}
    assert context == {
        "example/id": [b"v 1:8+32"],
        "example/dataset_name": [b"toy"],
        "clip/media_id": [b"v 1"],
        "clip/data_path": [b"some/v 1.mp4"],
        "clip/start/timestamp": [266667],  # 8/30 s, µs
        "clip/end/timestamp": [1333333],  # 40/30 s
        "clip/label/index": [2],
        "clip/label/string": [b"run"],
        "image/format": [b"jpeg"],
        "image/height": [128],
        "image/width": [171],
        "image/frame_rate": [30.0],
        "scnn/window_frames": [32],
        "scnn/overlap": [0.75],
        "scnn/trimmed": [0],
        "scnn/background_draw": [0.0],
    }
    lists = {
        key: [values(feature)[0] for feature in feature_list.feature]
        for key, feature_list in example.feature_lists.feature_list.items()
    }
    assert lists.keys() == {"image/encoded", "image/timestamp"}
    assert lists["image/encoded"] == JPEGS
    assert lists["image/timestamp"][:4] == [266667, 333333, 400000, 466667]  # 8, 10, 12, 14 /30
    assert len(lists["image/timestamp"]) == 16
    assert all(type(time) is int for time in lists["image/timestamp"])


STRETCH = dataclasses.replace(
    SEGMENT,
    frame_indices=[8 + 2 * k for k in range(24)],
    images=[b"\xff\xd8 no %d" % i for i in range(24)],
    overlap=0.75,
    labels=(-1, 2, 0),
    overlaps=(1.0, 0.75, 1.0),
    offsets=((0.0, 0.0), (0.25, -0.125), (0.0, 0.0)),
)  # windows of 32 frames at 8, 16 and 24


def test_a_stretch_has_the_keys_of_a_segment_and_three_lists():
    example = tf.train.SequenceExample.FromString(records.encode(STRETCH))
    context = {key: values(feature) for key, feature in example.context.feature.items()}
    lists = {
        "scnn/windows/label": [-1, 2, 0],
        "scnn/windows/overlap": [1.0, 0.75, 1.0],
        "scnn/windows/offset": [0.0, 0.0, 0.25, -0.125, 0.0, 0.0],
    }
    assert {key: context.pop(key) for key in lists} == lists
    segment = tf.train.SequenceExample.FromString(records.encode(SEGMENT)).context.feature
    different = {key for key in segment if values(segment[key]) != context[key]}
    assert context.keys() == segment.keys()
    assert different == {"example/id", "clip/end/timestamp"}
    assert context["example/id"] == [b"v 1:8+32x3"]
    assert context["clip/end/timestamp"] == [1866667]  # 56/30 s: the end of the last window
    images = example.feature_lists.feature_list["image/encoded"].feature
    assert [values(image)[0] for image in images] == STRETCH.images


def test_a_stretch_survives_encoding():
    stretch = records.decode(records.encode(STRETCH))
    assert stretch == STRETCH
    assert stretch.stretch.windows == [(8, 32), (16, 32), (24, 32)]
    # Of a short video, a stretch is one window, and still no segment.
    one = dataclasses.replace(
        STRETCH, frame_indices=STRETCH.frame_indices[:16], images=STRETCH.images[:16],
        labels=(2,), overlaps=(0.5,), offsets=((0.5, 0.0),),
    )  # fmt: skip
    assert records.decode(records.encode(one)) == one
    assert records.segment_id(one) == "v 1:8+32x1" != records.segment_id(SEGMENT)


def test_a_stretch_is_parsed():
    parsed = records.parse(records.encode(STRETCH), stretches=True)
    assert parsed["image/encoded"].numpy().tolist() == STRETCH.images
    assert parsed["clip/label/index"].numpy() == 2
    for key, dtype, value in (
        ("scnn/windows/label", "int64", [-1, 2, 0]),
        ("scnn/windows/overlap", "float32", [1.0, 0.75, 1.0]),
        ("scnn/windows/offset", "float32", [[0.0, 0.0], [0.25, -0.125], [0.0, 0.0]]),
    ):
        assert (parsed[key].dtype, parsed[key].numpy().tolist()) == (dtype, value)


def test_a_stretch_of_another_number_of_images_or_windows_is_refused():
    with pytest.raises(InputError, match="expected 24 images. Found: 16"):
        records.encode(dataclasses.replace(STRETCH, images=JPEGS))
    for key, message in (
        ("scnn/windows/label", "expected 20 images. Found: 24"),
        ("scnn/windows/overlap", "not the same number of labels, overlaps and offsets"),
        ("scnn/windows/offset", "a value in it is of another type"),
    ):
        example = tf.train.SequenceExample.FromString(records.encode(STRETCH))
        feature = example.context.feature[key]
        getattr(feature, feature.WhichOneof("kind")).value.pop()
        with pytest.raises(InputError, match=message):
            records.decode(example.SerializeToString())


def test_an_encoded_record_is_parsed():
    segment = records.parse(records.encode(changed(overlap=0.7, background_draw=0.25)))
    assert segment["image/encoded"].shape == [16]
    assert segment["image/encoded"].numpy().tolist() == JPEGS
    assert segment["example/id"].numpy() == b"v 1:8+32"
    for key, dtype, value in (
        ("scnn/window_frames", "int64", 32),
        ("clip/label/index", "int64", 2),
        ("scnn/overlap", "float32", np.float32(0.7)),
        ("scnn/background_draw", "float32", 0.25),
    ):
        assert (segment[key].dtype, segment[key].numpy()) == (dtype, value)


def test_readers_of_other_projects_parse_a_record():
    """The feature specification of DMVR and of Model Garden's video classification."""
    context, sequence = tf.io.parse_single_sequence_example(
        records.encode(SEGMENT),
        context_features={"clip/label/index": tf.io.VarLenFeature(tf.int64)},
        sequence_features={"image/encoded": tf.io.FixedLenSequenceFeature([], tf.string)},
    )
    assert tf.sparse.to_dense(context["clip/label/index"]).numpy().tolist() == [2]
    assert sequence["image/encoded"].numpy().tolist() == JPEGS


def test_parse_knows_its_shapes_inside_a_pipeline():
    dataset = tf.data.Dataset.from_tensors(records.encode(SEGMENT)).map(records.parse)
    shapes = {key: tuple(spec.shape) for key, spec in dataset.element_spec.items()}
    assert shapes.pop("image/encoded") == (16,)
    assert set(shapes.values()) == {()}


def test_numpy_numbers_and_other_alphabets_are_encoded():
    segment = changed(
        video_id="прыжок",
        start_frame=np.int64(8),
        label=np.int32(1),
        overlap=np.float64(1.0),
        trimmed=np.bool_(True),
        background_draw=np.float32(0.5),
        frame_rate=25,
    )
    context = tf.train.SequenceExample.FromString(records.encode(segment)).context.feature
    assert values(context["example/id"])[0].decode() == "прыжок:8+32"
    assert values(context["scnn/trimmed"]) == [1]
    assert values(context["image/frame_rate"]) == [25.0]
    assert values(context["clip/start/timestamp"]) == [320000]  # 8/25 s


@pytest.mark.parametrize("overlap", [0.0, -0.5, math.nan, 1.5, math.inf])
def test_an_overlap_that_the_loss_cannot_divide_by_is_refused(overlap):
    with pytest.raises(InputError) as error:
        records.encode(changed(overlap=overlap))
    assert str(error.value) == (
        "segment 8+32 of video 'v 1': expected the overlap with its instance in (0, 1]. "
        f"Received: {overlap}"
    )


def test_background_needs_no_overlap():
    segment = records.parse(records.encode(changed(label=0, overlap=0.0)))
    assert segment["scnn/overlap"] == 0.0


def test_another_number_of_images_is_refused():
    with pytest.raises(InputError, match="'v 1': expected 16 images. Found: 15"):
        records.encode(changed(images=JPEGS[1:]))


def decoded(**fields) -> records.SegmentRecord:
    """A segment there and back; sequences as lists, for comparison."""
    segment = records.decode(records.encode(changed(**fields)))
    return dataclasses.replace(segment, frame_indices=[int(i) for i in segment.frame_indices])


@given(
    start=st.integers(0, 10_000_000),
    length=st.integers(1, 512),
    rate=st.sampled_from([1.0, 12.5, 25.0, 30.0, 59.94]),
    label=st.integers(0, 3),
    trimmed=st.booleans(),
    name=st.text(max_size=10),
)
def test_decoding_inverts_encoding(start, length, rate, label, trimmed, name):
    fields = {
        "video_id": name, "start_frame": start, "window_frames": length, "label": label,
        "frame_indices": [start + k * length // 16 for k in range(16)], "trimmed": trimmed,
        "frame_rate": float(np.float32(rate)),
    }  # fmt: skip
    assert decoded(**fields) == changed(**fields)


def test_bytes_that_are_not_a_segment_are_refused():
    def fails(message, serialized):
        with pytest.raises(InputError, match=message):
            records.decode(serialized)

    good = tf.train.SequenceExample.FromString(records.encode(SEGMENT))
    fails("not a SequenceExample", b"\x0a\xff")
    fails("it lacks 'image/frame_rate'", b"")
    without = tf.train.SequenceExample.FromString(good.SerializeToString())
    del without.context.feature["scnn/overlap"]
    fails("it lacks 'scnn/overlap'", without.SerializeToString())
    short = tf.train.SequenceExample.FromString(good.SerializeToString())
    del short.feature_lists.feature_list["image/encoded"].feature[3]
    fails("expected 16 images. Found: 15", short.SerializeToString())
    other = tf.train.SequenceExample.FromString(good.SerializeToString())
    other.context.feature["image/height"].bytes_list.value.append(b"high")
    other.context.feature["clip/media_id"].Clear()
    fails("a value in it is of another type", other.SerializeToString())
