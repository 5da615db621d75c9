"""Annotation files as ELAN 6 saves them, shortened by hand."""

import re

import pytest

from scnn_tf.errors import InputError
from tests.datasets.labels.spans import spans

# Two cameras and the sound of the first; the second one was started 1.5 s earlier.
MEDIA = """
        <MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/Users/Ann/My%20videos/hall_01.mp4"
            MIME_TYPE="video/mp4" RELATIVE_MEDIA_URL="./hall_01.mp4"/>
        <MEDIA_DESCRIPTOR MEDIA_URL="file:///home/ann/hall_02.mpg" MIME_TYPE="video/mpeg"
            RELATIVE_MEDIA_URL="../hall_02.mpg" TIME_ORIGIN="1500"/>
        <MEDIA_DESCRIPTOR EXTRACTED_FROM="file:///C:/Users/Ann/My%20videos/hall_01.mp4"
            MEDIA_URL="file:///C:/Users/Ann/My%20videos/hall_01.wav" MIME_TYPE="audio/x-wav"/>"""
# `steps` divides `gesture` in time: of its inner ends, ts3 and ts4 were not aligned. `part` divides
# it without times, and each annotation of `hand` belongs to one of `part`.
EAF = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" DATE="2026-03-02T10:14:04+01:00" FORMAT="3.0" VERSION="3.0"
    xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
    xsi:noNamespaceSchemaLocation="http://www.mpi.nl/tools/elan/EAFv3.0.xsd">
    <LICENSE LICENSE_URL=""/>
    <HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">MEDIA
        <PROPERTY NAME="lastUsedAnnotationId">12</PROPERTY>
    </HEADER>
    <TIME_ORDER>
        <TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="1800"/>
        <TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="2000"/>
        <TIME_SLOT TIME_SLOT_ID="ts3"/>
        <TIME_SLOT TIME_SLOT_ID="ts4"/>
        <TIME_SLOT TIME_SLOT_ID="ts5" TIME_VALUE="2400"/>
        <TIME_SLOT TIME_SLOT_ID="ts6" TIME_VALUE="3333"/>
        <TIME_SLOT TIME_SLOT_ID="ts7" TIME_VALUE="4200"/>
    </TIME_ORDER>
    <TIER LINGUISTIC_TYPE_REF="hand" PARENT_REF="part" TIER_ID="hand">
        <ANNOTATION>
            <REF_ANNOTATION ANNOTATION_ID="a9" ANNOTATION_REF="a8">
                <ANNOTATION_VALUE>left</ANNOTATION_VALUE>
            </REF_ANNOTATION>
        </ANNOTATION>
    </TIER>
    <TIER LINGUISTIC_TYPE_REF="gesture" PARTICIPANT="Ann" TIER_ID="gesture">
        <ANNOTATION>
            <ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" CVE_REF="cveid0" TIME_SLOT_REF1="ts1"
                TIME_SLOT_REF2="ts5">
                <ANNOTATION_VALUE>wave</ANNOTATION_VALUE>
            </ALIGNABLE_ANNOTATION>
        </ANNOTATION>
        <ANNOTATION>
            <ALIGNABLE_ANNOTATION ANNOTATION_ID="a2" TIME_SLOT_REF1="ts6" TIME_SLOT_REF2="ts7">
                <ANNOTATION_VALUE>point </ANNOTATION_VALUE>
            </ALIGNABLE_ANNOTATION>
        </ANNOTATION>
    </TIER>
    <TIER LINGUISTIC_TYPE_REF="steps" PARENT_REF="gesture" TIER_ID="steps">
        <ANNOTATION>
            <ALIGNABLE_ANNOTATION ANNOTATION_ID="a3" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts3">
                <ANNOTATION_VALUE>up</ANNOTATION_VALUE>
            </ALIGNABLE_ANNOTATION>
        </ANNOTATION>
        <ANNOTATION>
            <ALIGNABLE_ANNOTATION ANNOTATION_ID="a4" TIME_SLOT_REF1="ts3" TIME_SLOT_REF2="ts4">
                <ANNOTATION_VALUE>hold</ANNOTATION_VALUE>
            </ALIGNABLE_ANNOTATION>
        </ANNOTATION>
        <ANNOTATION>
            <ALIGNABLE_ANNOTATION ANNOTATION_ID="a5" TIME_SLOT_REF1="ts4" TIME_SLOT_REF2="ts5">
                <ANNOTATION_VALUE>down</ANNOTATION_VALUE>
            </ALIGNABLE_ANNOTATION>
        </ANNOTATION>
    </TIER>
    <TIER LINGUISTIC_TYPE_REF="part" PARENT_REF="gesture" TIER_ID="part">
        <ANNOTATION>
            <REF_ANNOTATION ANNOTATION_ID="a6" ANNOTATION_REF="a1">
                <ANNOTATION_VALUE>begin</ANNOTATION_VALUE>
            </REF_ANNOTATION>
        </ANNOTATION>
        <ANNOTATION>
            <REF_ANNOTATION ANNOTATION_ID="a7" ANNOTATION_REF="a1" PREVIOUS_ANNOTATION="a6">
                <ANNOTATION_VALUE>end</ANNOTATION_VALUE>
            </REF_ANNOTATION>
        </ANNOTATION>
        <ANNOTATION>
            <REF_ANNOTATION ANNOTATION_ID="a8" ANNOTATION_REF="a2">
                <ANNOTATION_VALUE>begin</ANNOTATION_VALUE>
            </REF_ANNOTATION>
        </ANNOTATION>
    </TIER>
    <TIER LINGUISTIC_TYPE_REF="default-lt" TIER_ID="remarks"/>
    <LINGUISTIC_TYPE GRAPHIC_REFERENCES="false" LINGUISTIC_TYPE_ID="gesture" TIME_ALIGNABLE="true"/>
    <LINGUISTIC_TYPE CONSTRAINTS="Time_Subdivision" GRAPHIC_REFERENCES="false"
        LINGUISTIC_TYPE_ID="steps" TIME_ALIGNABLE="true"/>
    <LINGUISTIC_TYPE CONSTRAINTS="Symbolic_Subdivision" GRAPHIC_REFERENCES="false"
        LINGUISTIC_TYPE_ID="part" TIME_ALIGNABLE="false"/>
    <LINGUISTIC_TYPE CONSTRAINTS="Symbolic_Association" GRAPHIC_REFERENCES="false"
        LINGUISTIC_TYPE_ID="hand" TIME_ALIGNABLE="false"/>
</ANNOTATION_DOCUMENT>
""".replace("MEDIA\n", f"{MEDIA}\n")


def test_annotations_hold_for_each_video_at_the_times_of_its_file(read):
    first, second = read("hall.eaf", EAF, "gesture")
    assert first.file == "C:/Users/Ann/My videos/hall_01.mp4"
    assert spans(first) == [("wave", 1.8, 2.4), ("point", 3.333, 4.2)]
    assert first.spans[0].where == "tier 'gesture', annotation a1, 1.8 to 2.4 s"
    # What ELAN shows at 0 s is 1.5 s after the start of this file.
    assert second.file == "/home/ann/hall_02.mpg"
    assert spans(second) == [("wave", 3.3, 3.9), ("point", 4.833, 5.7)]


def test_a_type_stands_for_all_of_its_tiers(read):
    same = EAF.replace('TYPE_REF="steps"', 'TYPE_REF="kind"').replace(
        'TYPE_REF="gesture"', 'TYPE_REF="kind"'
    )
    first, _ = read("hall.eaf", same, "kind")
    assert [label for label, *_ in spans(first)] == ["wave", "point", "up", "hold", "down"]


def test_slots_without_a_time_divide_the_time_between_two_with_one(read):
    # From 1.8 s to 2.4 s in three parts.
    first, _ = read("hall.eaf", EAF, "steps")
    assert spans(first) == [("up", 1.8, 2.0), ("hold", 2.0, 2.2), ("down", 2.2, 2.4)]


def test_reference_annotations_have_the_times_of_their_parents(read):
    first, _ = read("hall.eaf", EAF, "part")
    assert spans(first) == [("begin", 1.8, 2.1), ("end", 2.1, 2.4), ("begin", 3.333, 4.2)]
    # Of a parent that has no times either, and whose tier comes later in the file.
    first, _ = read("hall.eaf", EAF, "hand")
    assert spans(first) == [("left", 3.333, 4.2)]


def test_a_tier_is_named_where_there_are_several(read):
    found = "Found: hand, gesture, steps, part; name it .--attribute., or give --attribute=TIER_ID"
    for attribute in (None, "Gesture"):
        with pytest.raises(InputError, match=found):
            read("hall.eaf", EAF, attribute)
    first, _ = read("hall.eaf", EAF, "remarks")
    assert (first.spans, first.labelled) == ((), False)


def test_the_names_of_the_tiers_may_be_the_classes(read):
    first, _ = read("hall.eaf", EAF, "TIER_ID")
    assert spans(first)[:3] == [
        ("hand", 3.333, 4.2),
        ("gesture", 1.8, 2.4),
        ("gesture", 3.333, 4.2),
    ]
    assert len(first.spans) == 9
    # So they are where no annotation has a text.
    empty = re.sub("<ANNOTATION_VALUE>.*</ANNOTATION_VALUE>", "<ANNOTATION_VALUE/>", EAF)
    assert read("hall.eaf", empty)[0] == first


def test_the_only_tier_with_annotations_needs_no_name(read):
    head, _, gesture, *_ = EAF.split("    <TIER ")
    only = f"{head}<TIER {gesture}</ANNOTATION_DOCUMENT>"
    first, _ = read("hall.eaf", only)
    assert spans(first) == [("wave", 1.8, 2.4), ("point", 3.333, 4.2)]


def test_an_annotation_without_times_or_text_is_kept_with_the_reason(read):
    odd = EAF.replace('TIME_VALUE="1800"', 'TIME_VALUE="soon"').replace(">point <", "><")
    first, _ = read("hall.eaf", odd, "gesture")
    assert [(span.label, span.problem) for span in first.spans] == [
        ("wave", "its start or its end has no time"), ("", ""),
    ]  # fmt: skip
    first, _ = read("hall.eaf", EAF.replace('REF="a8"', 'REF="a99"'), "hand")
    assert first.spans[0].problem == "its start or its end has no time"


@pytest.mark.parametrize(
    ("media", "file"),
    [
        ("", "hall"),
        ('<MEDIA_DESCRIPTOR MEDIA_URL="file:///home/a/take.2.wav" MIME_TYPE="audio/x-wav"/>',
         "/home/a/take.2"),
        ('<MEDIA_DESCRIPTOR MEDIA_URL="https://host/v.mp4" MIME_TYPE="unknown"/>',
         "https://host/v.mp4"),
        ('<MEDIA_DESCRIPTOR MEDIA_URL="" RELATIVE_MEDIA_URL="../in/v.mov" MIME_TYPE="video/*"/>',
         "in/v.mov"),
    ],
)  # fmt: skip
def test_the_video_is_named_after_the_media_or_the_file(read, media, file):
    (video,) = read("hall.eaf", EAF.replace(MEDIA, media), "gesture")
    assert (video.file, len(video.spans)) == (file, 2)


def test_other_times_than_milliseconds_are_not_taken_for_them(read):
    with pytest.raises(InputError, match="expected times in milliseconds. Found: PAL-frames"):
        read("a.eaf", EAF.replace('"milliseconds"', '"PAL-frames"'))
    first, second = read("a.eaf", EAF.replace('"1500"', '"1,5"'), "gesture")
    assert (len(first.spans), second.file) == (2, "")
    assert second.problem == (
        "video /home/ann/hall_02.mpg: expected a whole number of milliseconds as TIME_ORIGIN"
    )


def test_tiers_that_are_their_own_parents_are_read(read):
    circle = EAF.replace('TIER_ID="gesture"', 'PARENT_REF="hand" TIER_ID="gesture"')
    first, _ = read("hall.eaf", circle, "gesture")
    assert spans(first) == [("wave", 1.8, 2.4), ("point", 3.333, 4.2)]
