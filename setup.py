"""Packaging of scnn_tf: ranges here, the exact environment in requirements.lock."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
BINARIES = (
    "prepare_dataset",
    "import_annotations",
    "check_dataset",
    "build_tfrecords",
    "convert_weights",
    "train",
    "localize",
    "evaluate",
    "visualize",
    "experiment",
    "export",
)

setup(
    name="scnn_tf",
    # Read, not imported: packaging must not need the packages it is about to ask for.
    version=re.search(r'__version__ = "(.+)"', (ROOT / "scnn_tf/__init__.py").read_text())[1],
    description="Segment-CNN: temporal action localization in untrimmed video, on Keras 3",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["scnn_tf", "scnn_tf.*", "pipelines"]),
    package_data={"scnn_tf.models": ["starts/*/*"], "scnn_tf.report": ["assets/*"]},
    install_requires=[
        "absl-py>=2.0",
        "aiohttp>=3.9",  # what fsspec reads web servers with
        "av>=14.0",
        "fsspec>=2024.2",
        "grpcio>=1.60",
        "h5py>=3.8",
        "keras>=3.10,<4",
        "matplotlib>=3.8",
        "numpy>=1.26",
        "pillow>=10.0",
        "plotly>=6.0",  # its JavaScript goes into a report's page
        "protobuf>=4.22",
        "safetensors>=0.4",
        "tenacity>=8.2",
        "tensorboard>=2.16",  # TensorFlow asks for it up to 2.20 only
        "tensorflow>=2.16",
        # It installs with every TensorFlow and loads into 2.16 only; scnn_tf.io reports that.
        "tensorflow-io>=0.37",
        "tensorflow-serving-api>=2.16",
        "tqdm>=4.66",
    ],
    extras_require={
        "beam": ["apache-beam>=2.60"],
        "benchmark": ["pandas>=2", "torch>=2"],
        "dev": [
            "hypothesis",
            "ipykernel>=6",
            "moto[server]>=5.0",
            "nbclient>=0.10",
            "pandas>=2",
            "pytest>=8",
            "pytest-xdist",
            "ruff",
            "selenium>=4.20",
        ],
        "docs": ["pdoc>=15"],
        # Models for devices. Later versions of onnx need a newer ml_dtypes than TensorFlow 2.16.
        "edge": ["ai-edge-litert>=2", "onnx>=1.14,<1.19", "onnxruntime>=1.17", "tf2onnx>=1.16"],
    },
    entry_points={"console_scripts": [f"scnn-{name} = pipelines.{name}:run" for name in BINARIES]},
)
