"""Networks, losses, optimizer and recipes of the three stages, for any Keras backend.

The names below are imported on first use, so that a recipe can be read without Keras.
"""

import importlib

_MODULES = {
    "BACKBONES": "stages",
    "C3D": "c3d",
    "ResNet3D18": "resnet3d",
    "STAGES": "recipes",
    "VideoResNet": "video_resnet",
    "network": "stages",
}

__all__ = sorted(_MODULES)


def __getattr__(name: str):
    """Imports the module that holds a public name (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    """Returns the public names, loaded or not."""
    return sorted({*globals(), *_MODULES})
