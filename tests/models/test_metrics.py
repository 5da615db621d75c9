import keras
import numpy as np
import pytest

from scnn_tf.models.losses import SegmentLoss
from scnn_tf.models.metrics import MultiLabelAccuracy, SegmentAccuracy

# The highest logits are of 0, 2, 1, 1; labels 0, 2, 1, 2: three are right. The overlaps say
# nothing: read as labels, none of them would be right.
TARGETS = np.array([[0, 1], [2, 0.7], [1, 0.8], [2, 0.9]], np.float32)
LOGITS = np.array([[3, 0, 1], [-1, -2, 0], [0, 9, 8], [1, 5, 4]], np.float32)


def test_accuracy_by_hand():
    metric = SegmentAccuracy()
    metric.update_state(TARGETS, LOGITS)
    assert float(metric.result()) == 3 / 4


def test_batches_accumulate_until_reset():
    metric = SegmentAccuracy()
    metric.update_state(TARGETS[:3], LOGITS[:3])
    metric.update_state(TARGETS[3:], LOGITS[3:])
    assert float(metric.result()) == 3 / 4
    metric.reset_state()
    metric.update_state(TARGETS[3:], LOGITS[3:])
    assert float(metric.result()) == 0


def test_accuracy_by_sample_weights():
    # Right: 1, 1, 2 of 1 + 1 + 2 + 4.
    metric = SegmentAccuracy()
    metric.update_state(TARGETS, LOGITS, sample_weight=[1, 1, 2, 4])
    assert float(metric.result()) == 4 / 8


def test_windows_that_are_neither_do_not_count():
    # Of a stretch of four windows: right, wrong, neither, right.
    targets = np.array([[[0, 1, 0, 0], [1, 0.7, 0, 0], [-1, 1, 0, 0], [2, 0.9, 0, 0]]], np.float32)
    logits = np.array([[[3, 0, 1], [-1, -2, 0], [9, 0, 0], [1, 4, 5]]], np.float32)
    metric = SegmentAccuracy()
    metric.update_state(targets, logits)
    assert float(metric.result()) == pytest.approx(2 / 3)
    metric.reset_state()
    metric.update_state(targets[:, 2:3], logits[:, 2:3])
    assert float(metric.result()) == 0


def test_accuracy_in_a_compiled_model():
    model = keras.Sequential([keras.Input([3]), keras.layers.Activation("linear")])
    model.compile(loss=SegmentLoss(), metrics=[SegmentAccuracy()])
    result = model.evaluate(LOGITS, TARGETS, batch_size=2, verbose=0, return_dict=True)
    assert result["accuracy"] == 3 / 4
    assert result["loss"] == pytest.approx(float(SegmentLoss()(TARGETS, LOGITS)))


def test_accuracy_of_several_classes_by_hand():
    # Positive pairs: one of two is right; background: two of three; the sixth pair is neither.
    labels = np.array([[[1, 0, 0], [0, 2, -1]]])
    targets = np.stack([labels, np.ones([1, 2, 3])], axis=-1).astype("float32")
    logits = np.array([[[2, -1, -2], [3, -1, 5]]], np.float32)
    metric = MultiLabelAccuracy()
    metric.update_state(targets, logits)
    assert float(metric.result()) == pytest.approx((1 / 2 + 2 / 3) / 2)
    metric.reset_state()
    metric.update_state(targets[:, :, 2:], logits[:, :, 2:])
    assert float(metric.result()) == pytest.approx((0 + 1) / 2)


def test_from_config_rebuilds_the_metric():
    copy = keras.metrics.deserialize(keras.metrics.serialize(SegmentAccuracy(name="mine")))
    assert type(copy) is SegmentAccuracy
    assert copy.name == "mine"
    copy.update_state(TARGETS, LOGITS)
    assert float(copy.result()) == 3 / 4
