"""A video to scored segments (section 3.3)."""

import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence

import keras
import numpy as np
from keras import ops

from scnn_tf.errors import InputError
from scnn_tf.io.files import as_path
from scnn_tf.io.video import read_frames
from scnn_tf.localization.tables import RawSegments
from scnn_tf.models.checkpoints import StageInfo, load_stage
from scnn_tf.models.recipes import STAGES, Recipe
from scnn_tf.segments.labels import BACKGROUND
from scnn_tf.segments.prior import WINDOW_PRIOR, WindowPrior, read_prior
from scnn_tf.segments.windows import SAMPLED_FRAMES, Segment, stream_segments
from scnn_tf.shards.frames import centre_crop

_LARGEST_BATCH = 32  # segments that a network scores at a time
_FEATURE_MAP_BYTES = 128 << 20  # and how large its largest feature map may get on a CPU


@dataclasses.dataclass(frozen=True)
class Networks:
    """What it takes to localize; an `archive.Scorer`.

    Attributes:
        proposal: keeps or drops a segment; None: every segment is kept.
        localization: scores its classes.
        info: what the localization network was trained on.
        prior: over classes and window lengths.
        proposal_threshold: a segment with less goes no further.
    """

    proposal: keras.Model | None
    localization: keras.Model
    info: StageInfo
    prior: WindowPrior
    proposal_threshold: float

    def __post_init__(self):
        for network in filter(None, (self.proposal, self.localization)):
            network.jit_compile = False  # XLA makes 3D convolutions many times slower on a CPU

    def in_precision(self, precision: str) -> "Networks":
        """The same networks, computing in another precision, with their weights rounded to it.

        Args:
            precision: "float32" or "bfloat16". The scores stay float32.
        """

        def converted(network: keras.Model) -> keras.Model:
            def clone(layer: keras.Layer) -> keras.Layer:
                config = layer.get_config()
                if layer is not network.layers[-1]:
                    config["dtype"] = precision
                return type(layer).from_config(config)

            other = keras.models.clone_model(network, clone_function=clone)
            for new, old in zip(other.weights, network.weights, strict=True):
                new.assign(old)
            return other

        return dataclasses.replace(
            self,
            proposal=self.proposal and converted(self.proposal),
            localization=converted(self.localization),
        )

    def score_video(self, path: str | os.PathLike, video_id: str) -> RawSegments:
        """`score_frames` of a file.

        Raises:
            VideoError: the file cannot be used.
        """
        recipe = self.info.recipe
        frames = read_frames(path, self.info.frame_rate, recipe.frame_height, recipe.frame_width)
        return score_frames(self, frames, video_id)


def load_networks(
    model_dir: str | os.PathLike,
    scorer: str = "localization",
    proposal: bool = True,
    proposal_threshold: float | None = None,
) -> Networks:
    """Loads a folder of trained stages.

    Args:
        model_dir: holds `proposal/` and `localization/`, as `train` writes them.
        scorer: folder of the network that scores; "classification" for an ablation.
        proposal: whether to filter by the proposal network.
        proposal_threshold: a segment with less goes no further; None: the recipe's.

    Raises:
        InputError: a stage is missing, is another one, or the two don't belong together.
    """
    folder = as_path(model_dir)
    model, info = load_stage(folder / scorer, scorer if scorer in STAGES else None)
    if info.stage == "proposal":
        raise InputError(f"{folder / scorer}: a proposal network has no classes to score")
    prior = read_prior(folder / scorer / WINDOW_PRIOR)
    if set(info.class_names) - set(prior.class_names) or set(info.window_frames) - set(
        prior.window_frames
    ):
        raise InputError(
            f"{folder / scorer / WINDOW_PRIOR}: lacks classes or window lengths that the network "
            "was trained on; copy the one of the data set that it was trained on"
        )
    if proposal_threshold is None:
        proposal_threshold = info.recipe.proposal_threshold
    if not proposal:
        return Networks(None, model, info, prior, proposal_threshold)
    filtering, filter_info = load_stage(folder / "proposal", "proposal")
    for field in ("class_names", "window_frames", "frame_rate"):
        if getattr(filter_info, field) != getattr(info, field):
            raise InputError(
                f"{folder}: the proposal and the {scorer} network were trained on different data "
                f"sets ({field}: {getattr(filter_info, field)} and {getattr(info, field)})"
            )
    sizes = [
        (i.recipe.frame_height, i.recipe.frame_width, i.recipe.crop) for i in (filter_info, info)
    ]
    if sizes[0] != sizes[1]:
        raise InputError(
            f"{folder}: the proposal and the {scorer} network see frames of different sizes "
            f"(height, width, crop: {sizes[0]} and {sizes[1]}); train them with the same recipe"
        )
    return Networks(filtering, model, info, prior, proposal_threshold)


def score_frames(networks: Networks, frames: Iterable[np.ndarray], video_id: str) -> RawSegments:
    """Runs the multi-scale windows of a video through the proposal and localization networks.

    Only the longest window's frames, one batch and the rows are held, so a video may be of any
    length.

    Args:
        networks: of `load_networks`.
        frames: uint8 `[frame_height, frame_width, 3]` each, at the networks' frame rate.
        video_id: for the rows.

    Returns:
        A row for each segment that the proposal network kept: its best class (which may be
        background) and that class's score, ordered by window length, then by start.
    """
    recipe, info = networks.info.recipe, networks.info
    threshold = networks.proposal_threshold
    names = [BACKGROUND, *info.class_names]
    batch_size = _batch_size(recipe)
    rows: list[tuple[Segment, str, float]] = []
    cropped = (centre_crop(frame, recipe.crop) for frame in frames)
    kept: list[tuple[Segment, np.ndarray]] = []

    def score(batch: list[tuple[Segment, np.ndarray]]) -> None:
        scores = _scores(networks.localization, batch, batch_size, recipe.test_mirror)
        for (segment, _), row in zip(batch, scores, strict=True):
            best = int(row.argmax())
            rows.append((segment, names[best], float(row[best])))

    for batch in _batches(stream_segments(cropped, info.window_frames), batch_size):
        if networks.proposal is None:
            kept += batch
        else:
            action = _scores(networks.proposal, batch, batch_size, mirror=False)[:, 1]
            kept += [s for s, p in zip(batch, action, strict=True) if p >= threshold]
        while len(kept) >= batch_size:
            score(kept[:batch_size])
            del kept[:batch_size]
    if kept:
        score(kept)
    rows.sort(key=lambda row: (row[0].length, row[0].start))
    return segments_table(video_id, rows, info.frame_rate)


def segments_table(
    video_id: str, rows: Sequence[tuple[Segment, str, float]], frame_rate: float
) -> RawSegments:
    """A video's segments, each with its label and score, as a table.

    Args:
        video_id: for all rows.
        rows: (segment, label, score) each, in their order.
        frame_rate: Hz, of the segments' frames.
    """
    return RawSegments(
        video=[video_id] * len(rows),
        window_frames=[segment.length for segment, _, _ in rows],
        start=[segment.start / frame_rate for segment, _, _ in rows],
        end=[segment.end / frame_rate for segment, _, _ in rows],
        label=[label for _, label, _ in rows],
        score=[value for _, _, value in rows],
    )


def _batch_size(recipe: Recipe) -> int:
    """How many segments are scored at a time: on a CPU as many as its memory should bear."""
    if keras.distribution.list_devices("gpu"):
        return _LARGEST_BATCH
    feature_map = SAMPLED_FRAMES * recipe.crop**2 * 64 * recipe.width * 4  # bytes, of conv1a
    return max(1, min(_LARGEST_BATCH, int(_FEATURE_MAP_BYTES / feature_map)))


def _batches(
    segments: Iterator[tuple[Segment, list[np.ndarray]]], batch_size: int
) -> Iterator[list[tuple[Segment, np.ndarray]]]:
    batch = []
    for segment, frames in segments:
        batch.append((segment, np.stack(frames)))
        if len(batch) == batch_size:
            yield batch
            batch = []
    if batch:
        yield batch


def _scores(
    network: keras.Model,
    batch: list[tuple[Segment, np.ndarray]],
    batch_size: int,
    mirror: bool,
) -> np.ndarray:
    """Softmax scores `[N, outputs]`; averaged with those of the mirror images if so wished."""
    frames = np.zeros((batch_size, *batch[0][1].shape), np.uint8)  # one size: compiled once
    lengths = np.full(batch_size, batch[0][0].length, np.int32)
    for row, (segment, images) in enumerate(batch):
        frames[row], lengths[row] = images, segment.length

    def run(images: np.ndarray) -> np.ndarray:
        inputs = {"frames": images}
        if "window_frames" in network.input:
            inputs["window_frames"] = lengths
        return ops.convert_to_numpy(ops.softmax(network.predict_on_batch(inputs)))

    scores = run(frames)
    if mirror:
        scores = (scores + run(frames[:, :, :, ::-1])) / 2
    return scores[: len(batch)]
