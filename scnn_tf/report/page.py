"""Detections as one HTML page that opens from disk, offline.

The page shows each video with a timeline of what happens and what was found, coloured by what is
wrong with it (the paper's Figures 5 and 6), and charts of what is known beside that: AP by class
(Figure 4), precision against recall, mAP against tIoU, training curves, the best κ detections
(Figure 7). The files in `assets/` are its parts. What comes from files is data of the page,
never markup, and a content security policy lets no other script run than the page's own.
"""

import base64
import gzip
import hashlib
import json
import math
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.resources import files

import numpy as np
from absl import logging

from scnn_tf.datasets.annotations import VideoAnnotation, class_names
from scnn_tf.errors import InputError
from scnn_tf.evaluation.evaluate import evaluate, of_known_videos
from scnn_tf.evaluation.judging import KINDS, best_threshold, judge
from scnn_tf.evaluation.protocols import match, ranks
from scnn_tf.io.files import write_text
from scnn_tf.localization.tables import Detections
from scnn_tf.report.videos import shown_video

TIOU = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
_SHOWN_TIOU = 0.5
_OWN = "these detections"
_MOST_EMBEDDED = 300_000_000  # characters of a page; browsers give up somewhere beyond
_SCRIPTS = ("timeline.js", "charts.js", "player.js", "page.js")


def write_report(
    path: str | os.PathLike,
    detections: Detections,
    ground_truth: Mapping[str, VideoAnnotation] | None = None,
    videos: Mapping[str, str | os.PathLike] | None = None,
    evaluations: Mapping[str, dict] | None = None,
    training: Mapping[str, dict] | None = None,
    ablation: dict | None = None,
    *,
    title: str = "Detections",
    tiou_thresholds: Sequence[float] = TIOU,
    protocol: str = "thumos14",
    score_threshold: float | None = None,
    embed_videos: bool = False,
) -> None:
    """Writes the page, a file or URL; the same input gives the same bytes.

    Args:
        path: of the page.
        detections: those of videos that the ground truth lacks are passed over, with a warning.
        ground_truth: video id → annotation; None: nothing is judged.
        videos: video id → file or URL. One that plays in browsers is referred to, as seen from
            the page; of another, key frames are put into it.
        evaluations: name → what `Evaluation.to_json` gave; they stand beside the evaluation of the
            page's own detections, if there is ground truth.
        training: what `training_curves.read_curves` gave.
        ablation: what `ablation.run` gave.
        title: of the page.
        tiou_thresholds: at which detections are judged; the reader chooses among them.
        protocol: `thumos14` or `activitynet`.
        score_threshold: at which the page begins; None: of the best F1 if there is ground truth,
            else all detections are shown.
        embed_videos: puts those that play into the page.

    Raises:
        InputError: nothing to show, a bad threshold, protocol or name, or the page cannot be
            written.
    """
    if score_threshold is not None and math.isnan(score_threshold):
        raise InputError("the score threshold is not a number")
    page = {
        "title": title,
        "kinds": KINDS,
        "tiou": [f"{threshold:g}" for threshold in tiou_thresholds],
        "protocol": protocol,
        "training": training or {},
        "ablation": ablation,
        "evaluations": dict(evaluations or {}),
    }
    kinds = None
    if ground_truth is not None:
        detections = of_known_videos(detections, ground_truth)
        kinds = judge(ground_truth, detections, tiou_thresholds, protocol)
        own = evaluate(ground_truth, detections, tiou_thresholds, protocol)
        if _OWN in page["evaluations"]:
            raise InputError(f"an evaluation cannot be called {_OWN!r}; that is the page's own")
        page["evaluations"] = {_OWN: own.to_json()} | page["evaluations"]
        page["precision"] = _precision(ground_truth, detections, tiou_thresholds, protocol)
        shown = int(np.argmin(np.abs(np.array(tiou_thresholds) - _SHOWN_TIOU)))
        page["shownTiou"] = shown
        if score_threshold is None:
            instances = sum(len(video.actions) for video in ground_truth.values())
            score_threshold = best_threshold(kinds[:, shown], detections.score, instances)
    # Rounded as the scores are, which it is compared with.
    page["threshold"] = None if score_threshold is None else _rounded(score_threshold)
    page["labels"], page["videos"] = _videos(
        detections, kinds, ground_truth, videos or {}, path, embed_videos
    )
    if not page["videos"]:
        raise InputError("nothing to show: there is no detection, no ground truth and no video")
    if not len(detections):
        logging.warning("there are no detections: the page has none")
    text = _assembled(page)
    if len(text) > _MOST_EMBEDDED:
        raise InputError(
            f"{path}: would have {len(text) / 1e6:.0f} MB, more than browsers open; do not embed "
            "the videos, or give fewer"
        )
    write_text(path, text)


def _videos(
    detections: Detections,
    kinds: np.ndarray | None,
    ground_truth: Mapping[str, VideoAnnotation] | None,
    videos: Mapping[str, str | os.PathLike],
    path: str | os.PathLike,
    embed: bool,
) -> tuple[list[str], list[dict]]:
    """All classes, and for each video all that the page knows of it, in columns.

    Detections of a video come best first, so that the page shows a prefix of them.
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
                (number.get(i.label, -1), round(i.start, 3), round(min(i.end, end), 3))
                for i in known.instances
            ]
            # A digit for each detection, a text for each threshold: what is wrong with it.
            entry["kind"] = ["".join(map(str, column)) for column in kinds[rows].T.tolist()]
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
    """Class → its instances, and for each threshold the precision at each step of recall."""
    detections = detections.take(ranks(detections, protocol))
    matches = match(ground_truth, detections, np.array(tiou_thresholds), protocol)
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
    """The HTML: the template with all parts put into it."""
    scripts = "\n".join(_part(name) for name in _SCRIPTS)
    parts = {"css": _part("page.css"), "scripts": scripts, "data": _json(page), "plotly": ""}
    allowed = [scripts]
    if page["evaluations"] or page["training"] or page["ablation"]:
        from plotly.offline import get_plotlyjs

        library = get_plotlyjs()
        allowed.append(library)
        # Packed it is a third as long, and unpacked only when a chart comes into view.
        packed = gzip.compress(library.encode(), mtime=0)
        parts["plotly"] = base64.b64encode(packed).decode("ascii")
    parts["hashes"] = " ".join(f"'sha256-{_hash(script)}'" for script in allowed)
    # In one pass, so that nothing is looked for in what was put in.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _part("page.html"))


def _json(content: object) -> str:
    """JSON that cannot end the element that it stands in, with null for what is no number."""
    text = json.dumps(_finite(content), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    text = text.encode("utf-8", "replace").decode("utf-8")  # names of files may be any bytes
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
