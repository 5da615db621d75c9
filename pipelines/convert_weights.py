r"""Converts C3D weights, such as Sports-1M's, to a folder that training can start from.

    python -m pipelines.convert_weights --weights=conv3d_deepnetA_sport1m_iter_1900000 \
        --mean=train01_16_128_171_mean.binaryproto --output_dir=sports1m
    python -m pipelines.train --start_from=sports1m --recipe=thumos14 …

Reads C3D from Caffe's C3D v1.0, from PyTorch (a state dict, for which torch must be installed, or
.safetensors) and from Keras (.h5, .weights.h5 or .keras), and torchvision's video ResNets from
PyTorch; the content of the file decides, not its name. Reads the backbone of a trained stage too,
from its folder. Writes model.json, model.weights.h5 and provenance.json: what the weights are, what
they were trained on, their licence and figures, the source files with their checksums, and the
command. Last layers are left out: training starts its own.
"""

from absl import flags

from pipelines import _cli

_WEIGHTS = flags.DEFINE_string(
    "weights", None, "File of the weights to convert, or folder of a trained stage.", required=True
)
_MEAN = flags.DEFINE_string(
    "mean",
    None,
    "File of the mean volume that belongs to the weights, .binaryproto. Default: one mean colour.",
)
_POOL5 = flags.DEFINE_enum(
    "pool5",
    None,
    ["far", "both"],
    "Borders padded before the last pool of C3D: far, as in Caffe, or both, for weights that were "
    "trained so. Default: far; for a trained stage, its own.",
)
_TRAINED_ON = flags.DEFINE_string(
    "trained_on",
    None,
    "Dataset that the weights were trained on. Default: classes of a trained stage, or unknown.",
)
_LICENCE = flags.DEFINE_string("licence", None, "Licence of the weights. Default: unknown.")
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "Folder to write the converted weights to.", required=True
)


def main(argv: list[str]) -> None:
    """Converts the weights and prints the size of the network."""
    del argv
    from scnn_tf.training.pretrained import convert_weights

    done = convert_weights(
        input_path=_WEIGHTS.value,
        output_dir=_OUTPUT_DIR.value,
        mean_path=_MEAN.value,
        pool5=_POOL5.value,
        trained_on=_TRAINED_ON.value,
        licence=_LICENCE.value,
    )
    print(
        f"{done['network']} of width {done['width']:g}, {done['parameters']:,} parameters → "
        f"{_OUTPUT_DIR.value}"
    )


def run() -> None:
    """Entry point of the console script."""
    _cli.run(main)


if __name__ == "__main__":
    run()
