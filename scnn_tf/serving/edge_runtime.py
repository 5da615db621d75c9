"""Runs an exported S-CNN: frames to actions, with NumPy and an interpreter of the networks alone.

An export for devices has a copy of this module and of everything that it uses, `scnn_edge.py`,
which runs without scnn_tf, TensorFlow and Keras.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from scnn_tf.errors import InputError
from scnn_tf.localization.postprocess import detections_from_segments
from scnn_tf.localization.sequences import HeadOutputs, SequenceScorer
from scnn_tf.localization.tables import Detections, RawSegments
from scnn_tf.segments.prior import WindowPrior

CARD = "card.json"

Network = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]
"""A network: takes its inputs by name, returns its outputs by name."""


def load(folder: str | Path, threads: int = 1) -> "EdgeModel":
    """Loads an exported model.

    Args:
        folder: Folder that `export --format=tflite` or `--format=onnx` wrote.
        threads: Number of threads that a network computes with.

    Raises:
        InputError: A file is missing or damaged, or the interpreter is not installed.

    Example:
        >>> model = scnn_edge.load("edge/tflite")
        >>> for action in model.localize(frames):
        ...     print(action)
    """
    folder = Path(folder)
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        formats = {"tflite": _litert, "onnx": _onnxruntime}
        opened = formats[card["format"]]
        networks = {
            name: opened(_checked(folder / network["file"], network["sha256"]), threads)
            for name, network in card["networks"].items()
        }
    except (OSError, KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(
            f"{folder}: expected an exported model, {CARD} and its networks. Found: {error!r}"
        ) from error
    return EdgeModel(card, networks)


class EdgeModel:
    """An exported S-CNN, which finds actions in the frames of a video.

    Args:
        card: Description of the model: the content of `card.json`.
        networks: "joint", or "proposal" and "localization".
    """

    def __init__(self, card: dict, networks: dict[str, Network]):
        self.card = card
        self.networks = networks
        names = ("class_names", "window_frames", "frame_rate", "proposal_threshold")
        parts = ("part_windows", "context_windows")
        self.sequences = SequenceScorer(**{name: card[name] for name in (*names, *parts)})

    def localize(self, frames: Iterable[np.ndarray], video_id: str = "video") -> Detections:
        """Returns the actions of a video, by score, descending; times in seconds.

        Args:
            frames: Frames of the video; see `score_frames`.
            video_id: Id of the video in the detections.

        Raises:
            InputError: A frame has another form, or a network gives a score that is not finite.
        """
        card = self.card["window_prior"]
        prior = WindowPrior(
            tuple(card["class_names"]),
            tuple(card["window_frames"]),
            np.array(card["counts"]),
            np.array(card["weights"]),
        )
        return detections_from_segments(
            self.score_frames(frames, video_id),
            prior if card["used"] else None,
            self.card["nms_threshold"],
        )

    def score_frames(self, frames: Iterable[np.ndarray], video_id: str = "video") -> RawSegments:
        """Returns the scored windows of a video, before post-processing.

        Only the frames of a part of each scale are held, so a video may be of any length.

        Args:
            frames: uint8 `[frame_height, frame_width, 3]` each, RGB, at the card's `frame_rate`.
            video_id: Id of the video in the rows.

        Raises:
            InputError: A frame has another form, or a network gives a score that is not finite.
        """
        outputs = self._joint if "joint" in self.networks else self._pair
        return self.sequences.score(self._checked(frames), video_id, outputs)

    def _checked(self, frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        shape = self.card["frame_height"], self.card["frame_width"], 3
        for number, frame in enumerate(frames):
            if frame.dtype != np.uint8 or frame.shape != shape:
                raise InputError(
                    f"expected frames of uint8 {list(shape)}. Received: {frame.dtype} "
                    f"{list(frame.shape)} as frame {number}; resize the video"
                )
            yield frame

    def _joint(self, samples: list[np.ndarray], length: int) -> HeadOutputs:
        """Returns the outputs for a stretch whose windows have a length."""
        outputs = self._run("joint", samples, length)
        return HeadOutputs(outputs["proposal_score"], outputs["class_scores"], outputs["offsets"])

    def _pair(self, samples: list[np.ndarray], length: int) -> HeadOutputs:
        """Returns the outputs for a segment, a stretch of one window without boundaries."""
        action = self._run("proposal", samples, length)["proposal_score"]
        classes = np.zeros([1, len(self.card["class_names"]) + 1], np.float32)
        if not action[0] < self.card["proposal_threshold"]:  # also NaN, which is reported
            classes = self._run("localization", samples, length)["class_scores"]
        return HeadOutputs(action, classes, np.zeros([1, 2], np.float32))

    def _run(self, name: str, samples: list[np.ndarray], length: int) -> dict[str, np.ndarray]:
        inputs = {"frames": np.stack(samples)[None]}
        if self.card["takes_length"]:
            inputs["window_frames"] = np.full(1, length, np.int32)
        return self.networks[name](inputs)


def _checked(path: Path, sha256: str) -> Path:
    """Returns the path of a file whose bytes are those that were exported."""
    if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise InputError(f"{path}: expected the file of {CARD}, but its checksum differs; copy it")
    return path


def _litert(path: Path, threads: int) -> Network:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise InputError(
            f"{path.name} needs LiteRT's interpreter; run pip install ai-edge-litert"
        ) from error
    runner = Interpreter(str(path), num_threads=threads).get_signature_runner()
    return lambda inputs: runner(**inputs)


def _onnxruntime(path: Path, threads: int) -> Network:
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError(f"{path.name} needs onnxruntime; run pip install onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(names, inputs), strict=True))
