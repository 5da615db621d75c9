"""Segment-CNN (S-CNN; Shou, Wang and Chang, CVPR 2016) on Keras 3.

The names below are imported when they are asked for: reading a file of detections must not load
TensorFlow.
"""

import importlib

__version__ = "0.1.0"

_MODULES = {
    "C3D": "scnn_tf.models",
    "Client": "scnn_tf.serving",
    "Detections": "scnn_tf.results",
    "Evaluation": "scnn_tf.evaluation",
    "InputError": "scnn_tf.errors",
    "Instance": "scnn_tf.annotations",
    "LayerwiseSGD": "scnn_tf.optimizers",
    "ModelServer": "scnn_tf.model_server",
    "NetworksAt": "scnn_tf.archive",
    "OverlapLoss": "scnn_tf.losses",
    "RawSegments": "scnn_tf.results",
    "Recipe": "scnn_tf.recipes",
    "ResNet3D18": "scnn_tf.models",
    "Segment": "scnn_tf.segments",
    "SegmentLoss": "scnn_tf.losses",
    "ServerAt": "scnn_tf.serving",
    "ServingError": "scnn_tf.errors",
    "VideoAnnotation": "scnn_tf.annotations",
    "VideoError": "scnn_tf.errors",
    "WindowPrior": "scnn_tf.priors",
    "detections_from_segments": "scnn_tf.postprocessing",
    "convert_weights": "scnn_tf.weight_conversion",
    "evaluate": "scnn_tf.evaluation",
    "evaluate_segments": "scnn_tf.evaluation",
    "get_recipe": "scnn_tf.recipes",
    "judge": "scnn_tf.judging",
    "label_segments": "scnn_tf.segments",
    "load_networks": "scnn_tf.localization",
    "load_stage": "scnn_tf.training",
    "localize": "scnn_tf.archive",
    "network": "scnn_tf.models",
    "read_annotations": "scnn_tf.annotations",
    "read_detections": "scnn_tf.results",
    "read_frames": "scnn_tf.video",
    "read_prior": "scnn_tf.priors",
    "read_segments": "scnn_tf.results",
    "sliding_windows": "scnn_tf.segments",
    "tiou": "scnn_tf.segments",
    "train_stage": "scnn_tf.training",
    "write_activitynet": "scnn_tf.annotations",
    "write_detections": "scnn_tf.results",
    "write_report": "scnn_tf.report",
    "write_segments": "scnn_tf.results",
    "write_subtitles": "scnn_tf.subtitles",
}

__all__ = sorted(_MODULES)


def __getattr__(name: str):
    """Imports the module that holds a public name (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    """The public names, loaded or not."""
    return sorted({*globals(), *_MODULES})
