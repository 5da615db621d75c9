"""Exports of CVAT, shortened by hand."""

import pytest

from tests.datasets.labels.spans import spans

# CVAT for video 1.1. Frames are those of the source.
CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta>
    <task>
      <id>5</id><name>kitchen</name><size>100</size><mode>interpolation</mode>
      <start_frame>0</start_frame><stop_frame>99</stop_frame><frame_filter></frame_filter>
      <labels><label><name>pour</name><color>#2080c0</color><type>any</type></label></labels>
      <original_size><width>320</width><height>240</height></original_size>
      <source>kitchen_01.mp4</source>
    </task>
    <dumped>2023-11-14 12:00:00.000000+00:00</dumped>
  </meta>
  <track id="0" label="pour" source="manual">
    <box frame="10" keyframe="1" outside="0" occluded="0" xtl="1.00" ytl="1.00" xbr="9.00"
         ybr="9.00" z_order="0"><attribute name="hand">left</attribute></box>
    <box frame="11" keyframe="0" outside="0" occluded="0" xtl="1.00" ytl="1.00" xbr="9.00"
         ybr="9.00" z_order="0"></box>
    <box frame="12" keyframe="1" outside="1" occluded="0" xtl="1.00" ytl="1.00" xbr="9.00"
         ybr="9.00" z_order="0"></box>
    <box frame="40" keyframe="1" outside="0" occluded="0" xtl="1.00" ytl="1.00" xbr="9.00"
         ybr="9.00" z_order="0"></box>
    <box frame="44" keyframe="1" outside="0" occluded="0" xtl="1.00" ytl="1.00" xbr="9.00"
         ybr="9.00" z_order="0"></box>
  </track>
  <track id="1" label="stir" source="manual">
    <polygon frame="5" keyframe="1" outside="0" occluded="0" points="1,1;2,2;3,1"></polygon>
    <polygon frame="8" keyframe="1" outside="1" occluded="0" points="1,1;2,2;3,1"></polygon>
  </track>
</annotations>
"""

# CVAT for images 1.1 of a video of which every second frame was labelled.
TAGS = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><job><id>9</id><size>50</size><mode>annotation</mode>
    <frame_filter>step=2</frame_filter></job></meta>
  <image id="4" name="frame_000004" width="320" height="240">
    <tag label="pour" source="manual"></tag>
    <box label="cup" source="manual" occluded="0" xtl="1" ytl="1" xbr="2" ybr="2"></box>
  </image>
  <image id="6" name="frame_000006" width="320" height="240">
    <tag label="pour" source="manual"></tag>
    <tag label="stir" source="manual"></tag>
  </image>
  <image id="8" name="frame_000008" width="320" height="240"></image>
  <image id="10" name="frame_000010" width="320" height="240">
    <tag label="pour" source="manual"></tag>
  </image>
</annotations>
"""


def test_cvat_tracks_are_actions_while_their_shapes_are_visible(read):
    (video,) = read("a.xml", CVAT)
    assert (video.file, video.in_frames, video.own_rate) == ("kitchen_01.mp4", True, True)
    # [10, 12) ends where it is outside; the second part of the track with its last picture.
    assert spans(video) == [("stir", 5, 8), ("pour", 10, 12), ("pour", 40, 45)]


def test_cvat_tags_are_joined_over_labelled_frames(read):
    (video,) = read("hall_03.xml", TAGS)
    assert video.file == "hall_03"  # the export of a job names no source
    assert spans(video) == [("pour", 4, 8), ("stir", 6, 8), ("pour", 10, 12)]


def test_cvat_without_tracks_and_tags_is_not_labelled(read, warnings):
    (video,) = read("hall_03.xml", TAGS.replace("<tag", "<box").replace("</tag>", "</box>"))
    assert (video.spans, video.labelled) == ((), False)
    assert warnings[0].endswith("hall_03.xml: skipped labels that are no tracks or tags: 5 box")


@pytest.mark.parametrize("number", ["", "one", "1_0", f"1{'0' * 400}"])
def test_a_track_that_cannot_be_read_costs_that_track(read, number):
    (video,) = read("a.xml", CVAT.replace('frame="11"', f'frame="{number}"'))
    good, bad = video.spans
    assert (good.label, good.problem) == ("stir", "")
    assert bad.problem.startswith(f"expected a frame number. Received: '{number[:20]}")
    assert len(bad.problem) < 80
