import pytest

from benchmarks import evaluation


def test_the_evaluation_agrees_with_the_loop_over_rows():
    pytest.importorskip("pandas", reason="the loop over rows needs pandas")
    figures = evaluation.compare(num_videos=6, num_classes=3, num_detections=300)  # raises if not
    assert set(figures["seconds"]) == {"thumos14", "activitynet", "pandas loop"}
    videos, found = evaluation.random_case(6, 3, 300)
    ap = evaluation.evaluate(videos, found, tiou_thresholds=(0.5,), protocol="activitynet").ap
    assert 0.1 < ap.mean() < 0.9  # some detections are true positives, some false
