"""Recipes: all settings of a training run, in one flat and frozen record.

`thumos14` and `mexaction2` are the paper's (section 4.2) and start from Sports-1M weights; from
random weights they do not move at all. `thumos14_res3d` is what the authors released later, with
a residual network that starts from Sports-1M too. `small` trains from scratch, on a CPU, on an
hour of video or less. A file of JSON with the fields to change and a `base` is a recipe too.
"""

import dataclasses
import json
from typing import get_args

from scnn_tf.errors import InputError
from scnn_tf.io.files import as_path, read_text

STAGES = ("proposal", "classification", "localization")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """One training run.

    Attributes:
        name: of the recipe.
        frame_height: of the frames that crops are taken from, pixels.
        frame_width: likewise.
        crop: side of the square that the networks see, pixels.
        backbone: "c3d" or "resnet3d18" (`models.BACKBONES`).
        width: multiplies the filters of the backbone.
        hidden: "c3d": units of fc6 and fc7.
        dropout: "c3d": rate after fc6 and fc7.
        normalization: "mean", "mean128", "motion" or "still" (`models.layers.FrameNormalization`).
        initializer: "c3d": "caffe" or "he".
        precision: "float32" or "mixed_bfloat16"; half the memory, and faster where the hardware
            computes in it.
        window_input: tell the networks how long the segment is.
        batch_size: segments in a step, over all devices.
        steps: of the proposal, the classification and the localization network.
        optimizer: "sgd" (`optimizers.LayerwiseSGD`, learning rate in stairs) or "adam" (warm-up,
            then a cosine down to a tenth).
        learning_rate: of each stage.
        decay_factor: "sgd": what the learning rate is multiplied by, of each stage.
        decay_steps: "sgd": after how many steps each time, of each stage.
        weight_decay: "sgd": the L2 term's weight.
        fc8_factor: "sgd": by how much faster fc8 learns.
        warmup_steps: "adam".
        average: momentum of the running average of the weights that is kept in the end; 0: none.
        overlap_weight: λ.
        alpha: α.
        background: background segments for each positive one, in each stage's training set; 0:
            one K-th, as in the paper, so that no class outweighs another.
        redraw_background: take the background of every batch from the whole pool, rather
            than one fixed draw of it.
        mirror: mirror at random. Wrong where left and right are different actions.
        min_scale: the smallest crop at training, as a share of `crop`, resized to it; 1: none.
        brightness: largest shift, of 255.
        contrast: largest change of the factor.
        test_mirror: average the class scores of a segment and of its mirror image.
        proposal_threshold: a segment with less goes no further.
    """

    name: str
    frame_height: int = 128
    frame_width: int = 171
    crop: int = 112
    backbone: str = "c3d"
    width: float = 1.0
    hidden: int = 4096
    dropout: float = 0.5
    normalization: str = "mean"
    initializer: str = "caffe"
    window_input: bool = False
    precision: str = "float32"
    batch_size: int = 3
    steps: tuple[int, int, int] = (30_000, 30_000, 30_000)
    optimizer: str = "sgd"
    learning_rate: tuple[float, float, float] = (1e-4, 1e-4, 1e-4)
    decay_factor: tuple[float, float, float] = (0.1, 0.5, 0.5)
    decay_steps: tuple[int, int, int] = (10_000, 10_000, 10_000)
    weight_decay: float = 5e-4
    fc8_factor: float = 100.0
    warmup_steps: int = 20
    average: float = 0.0
    overlap_weight: float = 1.0
    alpha: float = 0.25
    background: tuple[float, float, float] = (1.0, 0.0, 0.0)
    redraw_background: bool = False
    mirror: bool = True
    min_scale: float = 1.0
    brightness: float = 0.0
    contrast: float = 0.0
    test_mirror: bool = False
    proposal_threshold: float = 0.7

    def __post_init__(self):
        """Raises an `InputError` for a value that could not be trained with."""
        wrong = [f.name for f in dataclasses.fields(self) if not _is_a(vars(self)[f.name], f.type)]
        if not wrong:
            good = {
                "crop": 0 < self.crop <= min(self.frame_height, self.frame_width),
                "width": self.width > 0,
                "dropout": 0 <= self.dropout < 1,
                "batch_size": self.batch_size > 0,
                "steps": min(self.steps) > 0,
                "optimizer": self.optimizer in ("sgd", "adam"),
                "learning_rate": min(self.learning_rate) > 0,
                "decay_steps": min(self.decay_steps) > 0,
                "weight_decay": self.weight_decay >= 0,
                "fc8_factor": self.fc8_factor > 0,
                "average": 0 <= self.average < 1,
                "alpha": 0 <= self.alpha <= 1,
                "background": min(self.background) >= 0,
                "min_scale": self.min_scale <= 1 <= self.min_scale * self.crop,
            }
            wrong = [name for name, is_good in good.items() if not is_good]
        if wrong:
            value = vars(self)[wrong[0]]
            raise InputError(f"recipe {self.name!r}: its {wrong[0]} cannot be {value!r}")


def _is_a(value: object, kind: type) -> bool:
    """Whether a value from JSON can stand for a field of that type."""
    if parts := get_args(kind):
        return (
            isinstance(value, tuple) and len(value) == len(parts) and all(map(_is_a, value, parts))
        )
    return type(value) is kind or (kind is float and type(value) is int)


_SMALL = Recipe(
    name="small",
    frame_height=48,
    frame_width=48,
    crop=40,
    width=0.125,
    hidden=512,
    dropout=0.2,
    normalization="motion",
    initializer="he",
    window_input=True,
    batch_size=32,
    steps=(200, 700, 250),
    optimizer="adam",
    learning_rate=(1e-3, 1e-3, 3e-4),
    average=0.95,
    alpha=1.0,
    redraw_background=True,
    min_scale=0.8,
    brightness=0.1,
    contrast=0.3,
    test_mirror=True,
)
# The authors' solver files are of proposal and localization; classification, of which there is
# none, has localization's training set, and gets its schedule.
_THUMOS14_RES3D = Recipe(
    name="thumos14_res3d",
    backbone="resnet3d18",
    normalization="mean128",
    batch_size=8,
    steps=(27_384, 14_704, 14_704),
    learning_rate=(1e-3, 1e-3, 1e-3),
    decay_factor=(0.5, 0.5, 0.5),
    decay_steps=(6_846, 3_676, 3_676),
    weight_decay=5e-5,
    fc8_factor=10.0,
)
RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(name="thumos14"),
        Recipe(name="mexaction2", steps=(30_000, 20_000, 20_000)),
        _THUMOS14_RES3D,
        _SMALL,
    )
}


def get_recipe(name: str) -> Recipe:
    """A recipe by name, or from a JSON file such as `{"base": "small", "mirror": false}`.

    Raises:
        InputError: no such recipe or file, or a field that recipes do not have.
    """
    if name in RECIPES:
        return RECIPES[name]
    path = as_path(name)
    if path.suffix != ".json" or not path.is_file():
        raise InputError(f"no recipe {name!r}: give one of {', '.join(RECIPES)}, or a .json file")
    try:
        fields = json.loads(read_text(path))
        base = get_recipe(fields.pop("base", "small"))
        return from_dict({**dataclasses.asdict(base), "name": path.stem, **fields})
    except (json.JSONDecodeError, AttributeError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: not a recipe ({error})") from error


def from_dict(fields: dict) -> Recipe:
    """The recipe that `dataclasses.asdict` was made from, also after a detour through JSON."""
    return Recipe(**{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()})
