"""Segment-CNN (S-CNN; Shou, Wang and Chang, CVPR 2016) on Keras 3.

The names below are imported when they are asked for: reading a file of detections must not load
TensorFlow.
"""

import importlib

__version__ = "0.1.0"

_MODULES = {
    "C3D": "scnn_tf.models",
    "Client": "scnn_tf.serving.client",
    "Detections": "scnn_tf.localization.tables",
    "Evaluation": "scnn_tf.evaluation.evaluate",
    "InputError": "scnn_tf.errors",
    "Instance": "scnn_tf.datasets.annotations",
    "LayerwiseSGD": "scnn_tf.models.optimizers",
    "ModelFolder": "scnn_tf.localization.run",
    "ModelServer": "scnn_tf.serving.client",
    "OverlapLoss": "scnn_tf.models.losses",
    "RawSegments": "scnn_tf.localization.tables",
    "Recipe": "scnn_tf.models.recipes",
    "ResNet3D18": "scnn_tf.models",
    "Segment": "scnn_tf.segments.windows",
    "SegmentLoss": "scnn_tf.models.losses",
    "ServingError": "scnn_tf.serving.client",
    "VideoAnnotation": "scnn_tf.datasets.annotations",
    "VideoError": "scnn_tf.errors",
    "WindowPrior": "scnn_tf.segments.prior",
    "detections_from_segments": "scnn_tf.localization.postprocess",
    "convert_weights": "scnn_tf.training.pretrained",
    "diagnose": "scnn_tf.evaluation.diagnosis",
    "evaluate": "scnn_tf.evaluation.evaluate",
    "evaluate_segments": "scnn_tf.evaluation.evaluate",
    "export_scnn": "scnn_tf.serving.export",
    "get_recipe": "scnn_tf.models.recipes",
    "label_segments": "scnn_tf.segments.labels",
    "load_scnn": "scnn_tf.localization.scnn",
    "load_stage": "scnn_tf.models.checkpoints",
    "localize_videos": "scnn_tf.localization.run",
    "network": "scnn_tf.models",
    "read_annotations": "scnn_tf.datasets.formats",
    "read_detections": "scnn_tf.localization.formats",
    "read_frames": "scnn_tf.io.video",
    "read_prior": "scnn_tf.segments.prior",
    "read_segments": "scnn_tf.localization.formats",
    "sliding_windows": "scnn_tf.segments.windows",
    "tiou": "scnn_tf.segments.labels",
    "train_stage": "scnn_tf.training.train",
    "write_annotations": "scnn_tf.datasets.formats",
    "write_detections": "scnn_tf.localization.formats",
    "write_report": "scnn_tf.report.page",
    "write_segments": "scnn_tf.localization.formats",
    "write_subtitles": "scnn_tf.report.subtitles",
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
