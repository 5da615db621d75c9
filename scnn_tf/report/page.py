"""Writes detections as one HTML page that opens from disk, without a network.

The page shows each video above a timeline of its instances and detections, coloured by error type
(the paper's Figures 5 and 6), and charts of other results: AP by class (Figure 4), precision
against recall, mAP against tIoU, training curves, and the best κ detections (Figure 7). The files
in `assets/` are the parts of the page. Text from files becomes data of the page, never markup, and
a content security policy lets no other script run than the page's own.
"""

import base64
import dataclasses
import gzip
import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.resources import files

import numpy as np
from absl import logging

from scnn_tf.datasets.annotations import VideoAnnotation, class_names
from scnn_tf.errors import InputError
from scnn_tf.evaluation.error_types import ErrorType, best_threshold, classify
from scnn_tf.evaluation.evaluate import evaluate, of_known_videos
from scnn_tf.evaluation.protocols import get_protocol, tiou_array
from scnn_tf.io.files import PathLike, write_text
from scnn_tf.localization.tables import Detections
from scnn_tf.report.videos import shown_video

TIOU = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
_SHOWN_TIOU = 0.5
_OWN = "these detections"
_MAX_CHARACTERS = 300_000_000  # of a page; browsers fail to open much larger ones
_SCRIPTS = ("timeline.js", "charts.js", "player.js", "page.js")


def write_report(
    path: PathLike,
    detections: Detections,
    *,
    ground_truth: Mapping[str, VideoAnnotation] | None = None,
    videos: Mapping[str, PathLike] | None = None,
    evaluations: Mapping[str, dict] | None = None,
    training: Mapping[str, dict] | None = None,
    ablation: dict | None = None,
    title: str = "Detections",
    tiou_thresholds: Sequence[float] = TIOU,
    protocol: str = "thumos14",
    score_threshold: float | None = None,
    embed_videos: bool = False,
) -> None:
    """Writes the page; the same input gives the same bytes.

    With ground truth, the page evaluates its own detections: error types, AP and mAP on the page
    all belong to the same rows.

    Args:
        path: File or URL of the page.
        detections: Detections to show; those of videos that the ground truth lacks are skipped,
            and the log reports how many.
        ground_truth: Annotations by video id; None: detections are coloured by class.
        videos: Video id → file or URL. A video that browsers can play is referred to by its place
            relative to the page; of any other video, key frames are embedded.
        evaluations: Name → result of `Evaluation.to_json` for detections of other systems, shown
            next to the page's own evaluation.
        training: Result of `scnn_tf.training.curves.read_curves`.
        ablation: Result of `scnn_tf.experiments.ablation.run`.
        title: Title of the page.
        tiou_thresholds: tIoU thresholds in (0, 1] that the reader can choose from.
        protocol: `thumos14` or `activitynet`.
        score_threshold: Score threshold that the page starts with; None: that of the best F1 with
            ground truth, else all detections.
        embed_videos: Whether to embed the videos that browsers can play.

    Raises:
        InputError: There is nothing to show, a threshold, the protocol or a name is invalid, or
            the page cannot be written.

    Example:
        >>> walk = scnn_tf.Instance("walk", 12.0, 15.0)
        >>> truth = {"tour": scnn_tf.VideoAnnotation("tour", "test", 60.0, None, (walk,))}
        >>> found = scnn_tf.Detections(["tour"] * 2, [12.4, 30], [15, 32], ["walk"] * 2, [0.9, 0.4])
        >>> scnn_tf.write_report("page.html", found, ground_truth=truth, title="Tour")
    """
    if score_threshold is not None and math.isnan(score_threshold):
        raise InputError("expected a number as score threshold. Received: NaN")
    page = {
        "title": title,
        "errorTypes": [kind.label for kind in ErrorType],
        "tiou": [f"{threshold:g}" for threshold in tiou_thresholds],
        "protocol": protocol,
        "training": training or {},
        "ablation": ablation,
        "evaluations": dict(evaluations or {}),
    }
    types = None
    if ground_truth is not None:
        if _OWN in page["evaluations"]:
            raise InputError(f"expected another name for an evaluation than the page's own, {_OWN}")
        detections = of_known_videos(detections, ground_truth)
        options = {"tiou_thresholds": tiou_thresholds, "protocol": protocol}
        types = classify(ground_truth, detections, **options)
        page |= _evaluated(ground_truth, detections, page["evaluations"], **options)
        if score_threshold is None:
            instances = sum(len(video.actions) for video in ground_truth.values())
            shown = types[:, page["shownTiou"]]
            score_threshold = best_threshold(shown, detections.score, instances)
    # Rounded like the scores that it is compared with.
    page["threshold"] = None if score_threshold is None else _rounded(score_threshold)
    page["labels"], page["videos"] = _videos(
        _drawable(detections), types, ground_truth, videos or {}, path, embed_videos
    )
    if not page["videos"]:
        raise InputError("expected a detection, ground truth or a video to show. Received: none")
    if not len(detections):
        logging.warning("there are no detections: the page shows none")
    text = _assembled(page)
    if len(text) > _MAX_CHARACTERS:
        raise InputError(
            f"{path}: the page would have {len(text) / 1e6:.0f} MB, more than browsers open; do "
            "not embed the videos, or give fewer"
        )
    write_text(path, text)


def _evaluated(
    ground_truth: Mapping[str, VideoAnnotation],
    detections: Detections,
    others: Mapping[str, dict],
    tiou_thresholds: Sequence[float],
    protocol: str,
) -> dict:
    """Returns the part of the page's data that only ground truth gives."""
    options = {"tiou_thresholds": tiou_thresholds, "protocol": protocol}
    own = evaluate(ground_truth, detections, **options).to_json()
    return {
        "evaluations": {_OWN: own} | dict(others),
        "precision": _precision(ground_truth, detections, **options),
        "shownTiou": int(np.argmin(np.abs(np.array(tiou_thresholds) - _SHOWN_TIOU))),
    }


def _drawable(detections: Detections) -> Detections:
    """Returns the detections with finite numbers; those that are not usable have no length."""
    start = np.where(np.isfinite(detections.start), detections.start, 0.0)
    end = np.where(detections.usable, detections.end, start)
    score = np.where(np.isnan(detections.score), -np.inf, detections.score)
    finite = score[np.isfinite(score)]
    score = np.clip(score, finite.min(), finite.max()) if len(finite) else np.zeros(len(score))
    return dataclasses.replace(detections, start=start, end=end, score=score)


def _drawable_times(start: float, end: float) -> tuple[float, float]:
    """Returns start and end, rounded to milliseconds; the same time if there is no length."""
    if not math.isfinite(start):
        return 0.0, 0.0
    return round(start, 3), round(end if start < end else start, 3)


def _videos(
    detections: Detections,
    types: np.ndarray | None,
    ground_truth: Mapping[str, VideoAnnotation] | None,
    videos: Mapping[str, PathLike],
    path: PathLike,
    embed: bool,
) -> tuple[list[str], list[dict]]:
    """Returns all classes, and for each video the data that the page shows, in columns.

    Detections of a video are sorted best first, so that the page shows a prefix of them.
    """
    annotated = ground_truth or {}
    labels = sorted({*class_names(annotated.values()), *detections.label.tolist()})
    number = {label: n for n, label in enumerate(labels)}
    rows_of: dict[str, list[int]] = {key: [] for key in annotated}
    rows_of |= {key: [] for key in videos if ground_truth is None}
    for row in np.argsort(-detections.score, kind="stable"):
        rows_of.setdefault(str(detections.video[row]), []).append(row)
    content = []
    for key, rows in rows_of.items():
        rows = np.array(rows, int)
        found = detections.take(rows)
        known = annotated.get(key)
        shown = shown_video(videos[key], path, embed) if key in videos else {}
        duration = shown.pop("duration", None) or (known and known.duration)
        ends = [i.end for i in known.instances if i.end < math.inf] if known else []
        end = max([duration or 0.0, *ends, *found.end.tolist()], default=0.0) or 1.0
        entry = {
            "id": key,
            "duration": round(duration or end, 3),
            "end": round(end, 3),
            **shown,
            "label": [number[label] for label in found.label.tolist()],
            "start": found.start.round(3).tolist(),
            "stop": found.end.round(3).tolist(),
            "score": [_rounded(score) for score in found.score.tolist()],
        }
        if known:
            entry["instances"] = [
                (number.get(i.label, -1), *_drawable_times(i.start, min(i.end, end)))
                for i in known.instances
            ]
            # A text for each threshold, with a digit, the error type, for each detection.
            entry["errorType"] = ["".join(map(str, column)) for column in types[rows].T.tolist()]
        content.append(entry)
    return labels, content


def _rounded(score: float) -> float:
    return float(f"{score:.6g}")


def _precision(
    ground_truth: Mapping[str, VideoAnnotation],
    detections: Detections,
    tiou_thresholds: Sequence[float],
    protocol: str,
) -> dict[str, dict]:
    """Returns class → number of instances, and for each threshold precision at each recall."""
    rules = get_protocol(protocol)
    detections = detections.take(rules.ranks(detections))
    matches = rules.match(ground_truth, detections, tiou_array(tiou_thresholds))
    actions = Counter(i.label for video in ground_truth.values() for i in video.actions)
    curves = {}
    for name, count in sorted(actions.items()):
        hits = [
            instance[counted & (detections.label == name)] >= 0
            for instance, counted in zip(matches.instance.T, matches.counted.T, strict=True)
        ]
        precision = [(np.cumsum(hit) / np.arange(1, len(hit) + 1))[hit] for hit in hits]
        curves[name] = {
            "instances": count, "precision": [steps.round(4).tolist() for steps in precision]
        }  # fmt: skip
    return curves


def _assembled(page: dict) -> str:
    """Returns the HTML: the template with all parts filled in."""
    scripts = "\n".join(_part(name) for name in _SCRIPTS)
    parts = {"css": _part("page.css"), "scripts": scripts, "data": _json(page), "plotly": ""}
    allowed = [scripts]
    if page["evaluations"] or page["training"] or page["ablation"]:
        from plotly.offline import get_plotlyjs

        library = get_plotlyjs()
        allowed.append(library)
        # Compressed, Plotly is a third as long; the page unpacks it when a chart comes into view.
        packed = gzip.compress(library.encode(), mtime=0)
        parts["plotly"] = base64.b64encode(packed).decode("ascii")
    parts["hashes"] = " ".join(f"'sha256-{_hash(script)}'" for script in allowed)
    # In one pass, so that no text of a file is taken for a place to fill in.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _part("page.html"))


def _json(content: object) -> str:
    """Returns JSON that cannot end its HTML element, with null for NaN and infinity."""
    text = json.dumps(_finite(content), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    text = text.encode("utf-8", "replace").decode("utf-8")  # file names may contain any bytes
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _finite(content: object) -> object:
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return content


def _part(name: str) -> str:
    return (files("scnn_tf.report") / "assets" / name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
