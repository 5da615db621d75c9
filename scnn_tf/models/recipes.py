"""Recipes: all settings of one experiment, from the shards to the detections.

`thumos14` and `mexaction2` are the paper's (section 4.2) and start from Sports-1M weights; from
random weights they do not move at all. `thumos14_res3d` is what the authors released later, with
a residual network that starts from Sports-1M too. `small`, the default, is one network with three
heads, one of which gives the boundaries of actions; it trains on a CPU, on an hour of video or
less, from weights that come with scnn_tf. `few_shot` is `small` for a handful of labels: a few
steps. `small_paper`, the paper's three networks at the same size, trains from scratch.
`features` is two layers and the same heads, for features that other networks computed of videos. A
JSON file with a `base` and the fields to change is a recipe too:

    {"base": "small", "mirror": false, "joint": {"steps": 500}, "inference": {"mirror": false}}
"""

import dataclasses
from collections.abc import Mapping

from scnn_tf.errors import InputError
from scnn_tf.io.files import PathLike, as_path, is_local, read_json
from scnn_tf.models.settings import CheckedSettings, merged, tuples
from scnn_tf.models.starts import start_names
from scnn_tf.segments.labels import BACKGROUND_TIOU, POSITIVE_TIOU
from scnn_tf.segments.pooling import pooled_size
from scnn_tf.segments.windows import SAMPLED_FRAMES, STRIDES_PER_WINDOW, WINDOW_FRAMES

STAGES = ("proposal", "classification", "localization")
"""The paper's three networks, in the order in which they are trained."""
JOINT = "joint"
"""The one network with three heads."""
HEADS = ("proposal", "classes", "boundaries")
"""The heads of the joint network."""


_MANY = 2**31 - 1  # for a count that no machine ever reaches
_MANY_WINDOWS = 32  # for windows that wait for those after them
_LARGE = 2**14  # for a size that takes memory


@dataclasses.dataclass(frozen=True)
class ShardRecipe(CheckedSettings):
    """How segments are cut out of videos and stored (sections 3.1 and 3.2).

    Attributes:
        frame_height: Height of the stored frames, in pixels.
        frame_width: Width of the stored frames, in pixels.
        window_frames: Lengths of the windows, in frames; at least 4, since the stride is a
            quarter. None given: of `WINDOW_FRAMES`, those that the training instances need
            (`segments.scales`), which the manifest of the shards then has.
        positive_tiou: A segment whose tIoU with an instance is above this is positive. The paper
            has .7; at .5 there are two to three times as many positives, badly placed ones among
            them, which the overlap loss learns to score lower.
        background_tiou: A segment whose tIoU with every instance is below this is background.
        margin: What is added to a segment on either side, in its lengths, before its tIoU with
            instances is taken; the paper: 0. With more, segments within a longer action are
            positive, too: their networks must give its boundaries.
        background_ratio: Background segments stored for each positive one, over all videos: the
            pool from which training draws. The paper needs 1. A stretch is positive if one of its
            windows is, and background if none is.
        stretch_windows: Number of windows in a record. 1: the paper's segments, for its three
            networks. More: stretches, for one network with three heads.
        multi_label: Of stretches: whether a window may be of several classes at once, each with a
            score and boundaries of its own.
        feature_seconds: Of a dataset of features of other networks: time from a feature vector to
            the next, in seconds; 0: it is given to the build, or the dataset is one of videos.
        feature_size: Length of these vectors; 0: as the build finds it.
    """

    frame_height: int = 128
    frame_width: int = 171
    window_frames: tuple[int, ...] = WINDOW_FRAMES
    positive_tiou: float = POSITIVE_TIOU
    background_tiou: float = BACKGROUND_TIOU
    margin: float = 0.0
    background_ratio: float = 1.0
    stretch_windows: int = 1
    multi_label: bool = False
    feature_seconds: float = 0.0
    feature_size: int = 0

    def _ranges(self) -> dict[str, bool]:
        shared = self.stretch_windows > 1  # Windows share samples only on one grid.
        return {
            "frame_height": 0 < self.frame_height <= _LARGE,
            "frame_width": 0 < self.frame_width <= _LARGE,
            "window_frames": all(STRIDES_PER_WINDOW <= each <= _MANY for each in self.window_frames)
            and not (shared and any(length % SAMPLED_FRAMES for length in self.window_frames)),
            "positive_tiou": 0 < self.positive_tiou < 1,
            "background_tiou": 0 <= self.background_tiou <= self.positive_tiou,
            "margin": 0 <= self.margin <= 1,
            "background_ratio": 0 <= self.background_ratio <= _LARGE,
            "stretch_windows": 0 < self.stretch_windows <= _LARGE,
            "multi_label": shared or not self.multi_label,
            "feature_seconds": 0 <= self.feature_seconds <= _LARGE,
            "feature_size": 0 <= self.feature_size <= _MANY,
        }


@dataclasses.dataclass(frozen=True)
class StageRecipe(CheckedSettings):
    """The training of one stage.

    Attributes:
        steps: Number of training steps.
        learning_rate: Learning rate at the start ("sgd") or after the warm-up ("adam").
        decay_factor: "sgd": what the learning rate is multiplied by every `decay_steps`.
        decay_steps: "sgd": number of steps between two decays.
        background: Background segments for each positive one in the training set; 0: one K-th of
            the positives, as in the paper, so that no class outweighs another.
    """

    steps: int = 30_000
    learning_rate: float = 1e-4
    decay_factor: float = 0.5
    decay_steps: int = 10_000
    background: float = 0.0

    def _ranges(self) -> dict[str, bool]:
        return {
            "steps": 0 < self.steps <= _MANY,
            "learning_rate": self.learning_rate > 0,
            "decay_factor": self.decay_factor > 0,
            "decay_steps": 0 < self.decay_steps <= _MANY,
            "background": 0 <= self.background <= _LARGE,
        }


@dataclasses.dataclass(frozen=True)
class InferenceRecipe(CheckedSettings):
    """How trained networks are used (section 3.3); not part of a training run's identity.

    Attributes:
        proposal_threshold: Segments whose proposal score is lower are discarded; and, of several
            classes that a window may be of, those whose score is lower.
        mirror: Whether class scores are averaged over a segment and its mirror image.
        window_prior: Whether class scores are multiplied by the window-length prior.
        nms_threshold: tIoU above which the lower-scored of two detections is suppressed. The
            paper's is the evaluation's threshold less .1.
    """

    proposal_threshold: float = 0.7
    mirror: bool = False
    window_prior: bool = True
    nms_threshold: float = 0.4

    def _ranges(self) -> dict[str, bool]:
        return {
            "proposal_threshold": 0 <= self.proposal_threshold <= 1,
            "nms_threshold": 0 <= self.nms_threshold <= 1,
        }


@dataclasses.dataclass(frozen=True)
class Recipe(CheckedSettings):
    """All settings of one experiment. The defaults are the paper's for THUMOS'14.

    Attributes:
        name: Name of the recipe.
        shards: How segments are cut out of videos.
        proposal: Training of the proposal network.
        classification: Training of the classification network.
        localization: Training of the localization network.
        joint: Training of the one network with three heads, of stretches; `background` is the
            number of draws around a background window for each one around an action.
        inference: How the trained networks are used.
        crop: Side of the square that the networks see, in pixels.
        backbone: "c3d", "resnet3d18", one of torchvision's: "r3d_18", "mc3_18", "r2plus1d_18",
            "r2plus1d_34" (`models.BACKBONES`); or "features" for a dataset of features.
        width: Factor on the number of filters of the backbone.
        hidden: "c3d": units of fc6 and fc7.
        dropout: "c3d": dropout rate after fc6 and fc7.
        normalization: Mode of `models.layers.FrameNormalization`, such as "mean"; "motion" and
            "still" are those of segments, not of stretches.
        pool5: "c3d": "far" or "both", the borders that are padded before the last pool.
        initializer: "c3d": "caffe" or "he".
        window_input: Whether the networks are given the length of the segment.
        start: Name of the weights that come with scnn_tf (`models.starts`) and from which training
            starts unless it is given others; "": fresh weights. A JSON file whose network is not
            that of its base does not inherit it.
        freeze: Name of the layer up to which all weights stay the initial ones; "": all learn.
        cache_features: "joint", with `freeze`: whether the features of that layer are computed
            once, of center crops and their mirror images, and kept next to the shards.
        depth_decay: Factor on the learning rate from each layer to the one before it; 1: all layers
            learn at the same rate.
        precision: "float32" or "mixed_bfloat16", which takes half the memory and is faster where
            the hardware computes in it.
        batch_size: Number of segments or stretches in a step, over all devices.
        train_windows: "joint": number of windows of a stretch in a step. Of 1, windows share no
            convolutions, in localization neither.
        overlap_from: "joint": fraction of the steps after which the overlap loss is added, where
            the paper would begin its localization network.
        boundary_weight: "joint": weight of the boundary loss.
        boundary_reach: "joint": number of windows on either side of a window among which its
            boundaries are looked for (`models.boundaries`), 2 or more; 0: they are computed from
            its own features alone.
        optimizer: "sgd" (`optimizers.LayerwiseSGD`, stepwise decay of the learning rate) or "adam"
            (warm-up, then a cosine decay to a tenth).
        weight_decay: "sgd": weight of the L2 term.
        fc8_factor: "sgd": factor on the learning rate of the last layers.
        warmup_steps: "adam": number of warm-up steps.
        average: Momentum of the running average of the weights that is kept at the end; 0: none.
        overlap_weight: λ, the weight of the overlap loss.
        alpha: α, the exponent of the overlap in the overlap loss.
        redraw_background: Whether each batch draws its background from the whole pool, rather
            than from one fixed draw of it; of stretches always.
        mirror: Whether training mirrors segments at random. Wrong where left and right are
            different actions.
        speed: "joint": the largest rate at which training shows a stretch; every second one at a
            rate from 1 to this, at most 2, at random (`shards.speed`). 1: all as they are, as those
            are whose features are computed once.
        min_scale: Smallest random crop, as a fraction of `crop`, resized to it; 1: none.
        brightness: Largest random shift of brightness, as a fraction of 255.
        contrast: Largest random change of the contrast factor.

    Example:
        >>> small = scnn_tf.models.recipes.get_recipe("small")
        >>> longer = small.with_stage("joint", steps=2000)
        >>> longer.joint.steps
        2000
    """

    name: str
    shards: ShardRecipe = ShardRecipe()
    proposal: StageRecipe = StageRecipe(decay_factor=0.1, background=1.0)
    classification: StageRecipe = StageRecipe()
    localization: StageRecipe = StageRecipe()
    joint: StageRecipe = StageRecipe(background=0.43)
    inference: InferenceRecipe = InferenceRecipe()
    crop: int = 112
    backbone: str = "c3d"
    width: float = 1.0
    hidden: int = 4096
    dropout: float = 0.5
    normalization: str = "mean"
    pool5: str = "far"
    initializer: str = "caffe"
    window_input: bool = False
    start: str = ""
    freeze: str = ""
    cache_features: bool = False
    depth_decay: float = 1.0
    precision: str = "float32"
    batch_size: int = 3
    train_windows: int = 9
    overlap_from: float = 0.6
    boundary_weight: float = 2.0
    boundary_reach: int = 0
    optimizer: str = "sgd"
    weight_decay: float = 5e-4
    fc8_factor: float = 100.0
    warmup_steps: int = 20
    average: float = 0.0
    overlap_weight: float = 1.0
    alpha: float = 0.25
    redraw_background: bool = False
    mirror: bool = True
    speed: float = 1.0
    min_scale: float = 1.0
    brightness: float = 0.0
    contrast: float = 0.0

    @property
    def _where(self) -> str:
        return f"recipe {self.name!r}: "

    def _ranges(self) -> dict[str, bool]:
        return {
            "crop": 0 < self.crop <= min(self.shards.frame_height, self.shards.frame_width),
            "width": 0 < self.width <= 8,
            "hidden": 0 <= self.hidden <= _LARGE,
            "dropout": 0 <= self.dropout < 1,
            "batch_size": 0 < self.batch_size <= _LARGE,
            "normalization": self.shards.stretch_windows == 1
            or self.normalization not in ("motion", "still"),
            "pool5": self.pool5 in ("far", "both"),
            "start": self.start in ("", *start_names()),
            "cache_features": not self.cache_features
            or (self.freeze != "" and self.stages == (JOINT,)),
            "depth_decay": 0 < self.depth_decay <= 1,
            "train_windows": 0 < self.train_windows <= _LARGE,
            "overlap_from": 0 <= self.overlap_from <= 1,
            # A window's own start and end are the middles of the windows two before and after it.
            "boundary_reach": self.boundary_reach == 0
            or STRIDES_PER_WINDOW // 2 <= self.boundary_reach <= _MANY_WINDOWS,
            "boundary_weight": 0 <= self.boundary_weight <= _LARGE,
            "optimizer": self.optimizer in ("sgd", "adam"),
            "weight_decay": self.weight_decay >= 0,
            "fc8_factor": self.fc8_factor > 0,
            "warmup_steps": 0 <= self.warmup_steps <= _MANY,
            "average": 0 <= self.average < 1,
            "overlap_weight": self.overlap_weight >= 0,
            "alpha": 0 <= self.alpha <= 1,
            "speed": 1 <= self.speed <= 2 and (self.speed == 1 or not self.takes_features),
            "min_scale": self.min_scale <= 1 <= self.min_scale * self.crop,
            "brightness": self.brightness >= 0,
            "contrast": self.contrast >= 0,
        }

    @property
    def stages(self) -> tuple[str, ...]:
        """The networks that this recipe trains, in their order."""
        return STAGES if self.shards.stretch_windows == 1 else (JOINT,)

    @property
    def network(self) -> tuple:
        """Settings that the weights depend on, besides the size of the frames and the classes."""
        names = ("backbone", "width", "hidden", "normalization", "pool5", "window_input")
        return self.stages, *(getattr(self, name) for name in names)

    @property
    def takes_features(self) -> bool:
        """Whether the recipe takes features that another network computed, instead of videos."""
        return self.backbone == "features"

    def stage(self, name: str) -> StageRecipe:
        """Returns the training settings of one stage.

        Raises:
            InputError: There is no such stage.
        """
        if name not in (*STAGES, JOINT):
            raise InputError(
                f"stage must be one of {', '.join(STAGES)}, {JOINT}. Received: {name!r}"
            )
        return getattr(self, name)

    def as_built(self, built: ShardRecipe) -> "Recipe":
        """Returns a copy with what the recipe leaves to the build of the shards."""
        names = ["window_frames"]
        if self.takes_features:
            names += ["feature_seconds", "feature_size"]
        left = {name: getattr(built, name) for name in names if not getattr(self.shards, name)}
        shards = dataclasses.replace(self.shards, **left)
        return dataclasses.replace(self, shards=shards)

    def with_stage(self, name: str, **changes: object) -> "Recipe":
        """Returns a copy with other training settings of one stage, such as `steps=100`."""
        return dataclasses.replace(self, **{name: dataclasses.replace(self.stage(name), **changes)})

    def backbone_arguments(self) -> dict:
        """Returns the arguments of the recipe's backbone, a key of `models.BACKBONES`."""
        if self.takes_features:
            return {
                "size": pooled_size(self.shards.feature_size),
                "hidden": self.hidden,
                "dropout": self.dropout,
                "window_input": self.window_input,
                "precision": self.precision,
            }
        arguments = {
            "width": self.width,
            "frame_shape": (self.crop, self.crop),
            "normalization": self.normalization,
            "window_input": self.window_input,
            "precision": self.precision,
        }
        if self.backbone == "c3d":
            arguments |= {
                "hidden": self.hidden,
                "dropout": self.dropout,
                "pool5": self.pool5,
                "initializer": self.initializer,
            }
        return arguments


_SMALL_PAPER = Recipe(
    name="small_paper",
    shards=ShardRecipe(
        frame_height=48,
        frame_width=48,
        positive_tiou=0.5,
        background_ratio=4.0,
    ),
    proposal=StageRecipe(steps=200, learning_rate=1e-3, background=1.0),
    classification=StageRecipe(steps=700, learning_rate=1e-3),
    localization=StageRecipe(steps=250, learning_rate=3e-4),
    inference=InferenceRecipe(mirror=True),
    crop=40,
    width=0.125,
    hidden=512,
    dropout=0.2,
    normalization="motion",
    initializer="he",
    window_input=True,
    batch_size=32,
    optimizer="adam",
    average=0.95,
    alpha=1.0,
    redraw_background=True,
    min_scale=0.8,
    brightness=0.1,
    contrast=0.3,
)

_SMALL = dataclasses.replace(
    _SMALL_PAPER,
    name="small",
    shards=dataclasses.replace(
        _SMALL_PAPER.shards,
        background_tiou=0.5,
        margin=0.25,
        background_ratio=0.5,
        stretch_windows=41,
    ),
    joint=StageRecipe(steps=900, learning_rate=1e-3, background=0.43),
    inference=InferenceRecipe(proposal_threshold=0.1, mirror=True, window_prior=False),
    normalization="local_motion",
    start="motion",
    batch_size=8,
    boundary_reach=8,
    overlap_weight=0.0,
    speed=2.0,
)

_FEW_SHOT = dataclasses.replace(
    _SMALL,
    name="few_shot",
    joint=dataclasses.replace(_SMALL.joint, steps=250),
    speed=1.0,
)

_FEATURES = dataclasses.replace(
    _SMALL,
    name="features",
    joint=dataclasses.replace(_SMALL.joint, steps=1500),
    inference=dataclasses.replace(_SMALL.inference, mirror=False),
    backbone="features",
    start="",
    dropout=0.5,
    mirror=False,
    speed=1.0,
    min_scale=1.0,
    brightness=0.0,
    contrast=0.0,
)

# The authors' solver files are of proposal and localization; classification, of which there is
# none, has localization's training set, and gets its schedule.
_THUMOS14_RES3D = Recipe(
    name="thumos14_res3d",
    proposal=StageRecipe(steps=27_384, learning_rate=1e-3, decay_steps=6_846, background=1.0),
    classification=StageRecipe(steps=14_704, learning_rate=1e-3, decay_steps=3_676),
    localization=StageRecipe(steps=14_704, learning_rate=1e-3, decay_steps=3_676),
    backbone="resnet3d18",
    normalization="mean128",
    batch_size=8,
    weight_decay=5e-5,
    fc8_factor=10.0,
)

_THUMOS14 = Recipe(name="thumos14")

_MEXACTION2 = dataclasses.replace(
    _THUMOS14,
    name="mexaction2",
    classification=StageRecipe(steps=20_000),
    localization=StageRecipe(steps=20_000),
)

RECIPES = {
    recipe.name: recipe
    for recipe in (
        _THUMOS14,
        _MEXACTION2,
        _THUMOS14_RES3D,
        _SMALL,
        _SMALL_PAPER,
        _FEW_SHOT,
        _FEATURES,
    )
}


def get_recipe(recipe: PathLike | Recipe) -> Recipe:
    """Returns a recipe by its name, or from a JSON file of a base and changes.

    Args:
        recipe: A key of `RECIPES`, a `.json` file or URL, or a `Recipe`, which is returned.

    Raises:
        InputError: There is no such recipe or file, or it has an unknown field or a bad value.
    """
    if isinstance(recipe, Recipe):
        return recipe
    if recipe in RECIPES:
        return RECIPES[recipe]
    path = as_path(recipe)
    if path.suffix != ".json" or not path.is_file():
        raise InputError(
            f"expected a recipe: one of {', '.join(RECIPES)}, or a .json file. Received: {recipe!r}"
        )
    changes = read_json(path)
    if not isinstance(changes, dict):
        raise InputError(f'{path}: expected an object such as {{"base": "small", "crop": 32}}')
    try:
        base = changes.pop("base", "small")
        known = base in RECIPES or not is_local(base)
        base = get_recipe(base if known else path.parent / base)
        mine = from_dict(merged(dataclasses.asdict(base), {"name": path.stem, **changes}))
    except (TypeError, RecursionError) as error:
        raise InputError(f"{path}: not a recipe ({error})") from error
    # Another network than the base's does not start from the weights that the base starts from.
    keeps_start = "start" in changes or mine.network == base.network
    return mine if keeps_start else dataclasses.replace(mine, start="")


# The fields of `Recipe` that hold settings of their own.
_SECTIONS = {
    "shards": ShardRecipe,
    **dict.fromkeys((*STAGES, JOINT), StageRecipe),
    "inference": InferenceRecipe,
}


def from_dict(fields: Mapping[str, object]) -> Recipe:
    """Returns the recipe of which `dataclasses.asdict` made a dict, also read back from JSON.

    Raises:
        InputError: A field is unknown, or a value is of another type or out of its range.
    """
    values, where = tuples(fields), f"recipe {fields.get('name')!r}: "
    for section, kind in _SECTIONS.items():
        if isinstance(values.get(section), dict):
            _check_names(kind, values[section], f"{where}{section}.")
            try:
                values[section] = kind(**tuples(values[section]))
            except InputError as error:
                raise InputError(f"{where}{section}.{error}") from error
    _check_names(Recipe, values, where)
    return Recipe(**values)


def _check_names(kind: type, values: Mapping[str, object], where: str) -> None:
    """Raises an `InputError` for the first field that a class of settings does not have."""
    for name in values:
        if name not in kind.__dataclass_fields__:
            homes = [key for key, other in _SECTIONS.items() if name in other.__dataclass_fields__]
            hint = f"; it belongs to {', '.join(homes)}" if homes else ""
            raise InputError(f"{where}{name} is not a field of a recipe{hint}")
