"""Segment-CNN (S-CNN; Shou, Wang and Chang, CVPR 2016) on Keras 3.

    import scnn_tf

    model = scnn_tf.load_scnn("model")  # a folder that training wrote, or a URL
    for action in model.localize("video.mp4"):
        print(action)

The public names and the packages are imported on first use: reading a file of detections does not
load TensorFlow.
"""

import importlib

__version__ = "0.1.0"

_PACKAGES = (
    "datasets",
    "evaluation",
    "experiments",
    "io",
    "jobs",
    "localization",
    "models",
    "report",
    "segments",
    "serving",
    "shards",
    "training",
)

_MODULES = {
    # Data.
    "Instance": "datasets.annotations",
    "VideoAnnotation": "datasets.annotations",
    "read_annotations": "datasets.formats",
    "write_annotations": "datasets.formats",
    "Segment": "segments.windows",
    # Training.
    "Recipe": "models.recipes",
    "build_shards": "shards.build",
    "train_stage": "training.train",
    # Localization.
    "SCNN": "localization.scnn",
    "load_scnn": "localization.scnn",
    "localize_videos": "localization.run",
    "RawSegments": "localization.tables",
    "Detections": "localization.tables",
    "read_detections": "localization.formats",
    "write_detections": "localization.formats",
    # Evaluation and results.
    "Evaluation": "evaluation.evaluate",
    "evaluate": "evaluation.evaluate",
    "diagnose": "evaluation.diagnosis",
    "write_report": "report.page",
    # Serving.
    "export_scnn": "serving.export",
    "Client": "serving.client",
    # Errors.
    "InputError": "errors",
    "VideoError": "errors",
}

__all__ = list(_MODULES)


def __getattr__(name: str):
    """Imports a package, or the module that holds a public name (PEP 562)."""
    if name in _PACKAGES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    """Returns the public names and the packages, loaded or not."""
    return sorted({*globals(), *_MODULES, *_PACKAGES})
