"""Files of labels in the tools' own code, where it is installed."""

import itertools
import json
from xml.etree import ElementTree

import pytest

from scnn_tf.report.labels.write import write_labels


def imported(name: str):
    """A module of a tool; skips, with the reason, where it is absent."""
    return pytest.importorskip(name, reason=f"{name}, the tool's own code, is not installed")


def test_pympi_reads_elan(drafts, tmp_path):
    elan = imported("pympi").Elan
    for draft, path in zip(drafts, write_labels(tmp_path, "elan", drafts), strict=True):
        document = elan.Eaf(str(path))
        assert document.get_linked_files()[0]["MEDIA_URL"].endswith(draft.file)
        for kind, intervals in (("detections", draft.found), ("ground truth", draft.truth or ())):
            tiers = document.get_tier_ids_for_linguistic_type(kind)
            rows = [row for tier in tiers for row in document.get_annotation_data_for_tier(tier)]
            assert sorted(rows) == sorted((*i.milliseconds, i.label) for i in intervals)


def test_label_studio_accepts_tasks(drafts, tmp_path):
    interface = imported("label_studio_sdk.label_interface").LabelInterface
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Video", name="video", value="$video", frameRate="$fps")
    labels = ElementTree.SubElement(view, "TimelineLabels", name="label", toName="video")
    classes = {i.label for draft in drafts for i in (*draft.found, *(draft.truth or ()))}
    for label in classes:
        ElementTree.SubElement(labels, "Label", value=label)
    interface = interface(ElementTree.tostring(view, "unicode"))
    (path,) = write_labels(tmp_path / "tasks.json", "label_studio", drafts)
    for task in json.loads(path.read_text()):
        assert interface.validate_task({"data": task["data"]}, validate_regions_only=False)
        for prediction in task["predictions"]:
            assert interface.validate_prediction(prediction, return_errors=True) == []
        for annotation in task.get("annotations", []):
            assert interface.validate_annotation(annotation)


def test_datumaro_reads_cvat(drafts, tmp_path):
    datumaro = imported("datumaro")
    for draft, path in zip(drafts, write_labels(tmp_path, "cvat", drafts), strict=True):
        dataset = datumaro.Dataset.import_from(str(path), "cvat")
        names = [label.name for label in dataset.categories()[datumaro.AnnotationType.label]]
        boxes = [
            (
                box.attributes["track_id"],
                item.attributes["frame"],
                box.attributes["outside"],
                names[box.label],
            )
            for item in dataset
            for box in item.annotations
        ]
        rate = draft.frame_rate
        tracks = []
        for _, track in itertools.groupby(sorted(boxes), key=lambda box: box[0]):
            (_, start, hidden, label), (_, end, outside, _) = track
            assert not hidden
            tracks.append((label, start / rate, (end + (not outside)) / rate))
        expected = [(i.label, i.start, i.end) for i in draft.in_one_layer()]
        for track, real in zip(tracks, expected, strict=True):
            assert track[0] == real[0]
            assert track[1:] == pytest.approx(real[1:], abs=0.5 / rate + 1e-9)
