import pytest

from benchmarks import building


@pytest.mark.needs("ffmpeg")
@pytest.mark.slow
def test_building_is_compared_with_ffmpeg(tiny_dataset):
    video = tiny_dataset / "videos" / "ann.mp4"
    figures = building.building(video, copies=2, instance_seconds=1.3)
    assert figures["frames"] == 200 and figures["times_ffmpeg"]["ffmpeg"] == 1.0
