r"""Converts C3D weights, such as Sports-1M's, to a folder that training can start from.

    python -m pipelines.convert_weights --weights=conv3d_deepnetA_sport1m_iter_1900000 \
        --mean=train01_16_128_171_mean.binaryproto --output_dir=sports1m
    python -m pipelines.train --start_from=sports1m --recipe=thumos14 …

Reads a model of Caffe's C3D v1.0 and its mean volume, or the state dict of a PyTorch port (.pth,
.pt, .pickle or .pkl, for which torch must be installed; or .safetensors). Writes model.json,
provenance.json (source files and their checksums) and model.weights.h5. A layer fc8 is left out:
training starts its own.
"""

from absl import flags

from pipelines import _cli

_WEIGHTS = flags.DEFINE_string("weights", None, "File of the weights to convert.", required=True)
_MEAN = flags.DEFINE_string(
    "mean",
    None,
    "File of the mean volume that belongs to the weights, .binaryproto. Default: one mean colour.",
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "Folder to write the converted weights to.", required=True
)


def main(argv: list[str]) -> None:
    """Converts the weights and prints the size of the network."""
    del argv
    from scnn_tf.training.pretrained import convert_weights

    done = convert_weights(
        input_path=_WEIGHTS.value, output_dir=_OUTPUT_DIR.value, mean_path=_MEAN.value
    )
    print(f"C3D of width {done['width']:g}, fc6 and fc7 of {done['hidden']} → {_OUTPUT_DIR.value}")


def run() -> None:
    """Entry point of the console script."""
    _cli.run(main)


if __name__ == "__main__":
    run()
