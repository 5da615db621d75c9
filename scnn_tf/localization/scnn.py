"""S-CNN: a video to scored segments to detections (section 3.3), with three networks or one."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import keras
import numpy as np
from keras import ops

from scnn_tf.datasets.feature_files import read_features
from scnn_tf.datasets.video_files import without_ending
from scnn_tf.errors import InputError
from scnn_tf.io.files import PathLike, as_path, file_name
from scnn_tf.io.video import read_frames
from scnn_tf.localization.live import LiveSettings, find_live
from scnn_tf.localization.live_nms import LiveDetection, LiveRules
from scnn_tf.localization.postprocess import detections_from_segments
from scnn_tf.localization.sequences import (
    Counted,
    HeadOutputs,
    Judged,
    Scored,
    SequenceScorer,
    collected,
    segments_table,
)
from scnn_tf.localization.tables import Detections, RawSegments
from scnn_tf.models.checkpoints import StageInfo, default_scorer, load_stage
from scnn_tf.models.recipes import JOINT, STAGES, InferenceRecipe, Recipe
from scnn_tf.models.stages import LAST_LAYERS, context_windows
from scnn_tf.segments.labels import BACKGROUND
from scnn_tf.segments.pooling import pooled
from scnn_tf.segments.prior import WINDOW_PRIOR, WindowPrior, read_prior
from scnn_tf.segments.stretches import Part, num_windows, sequences
from scnn_tf.segments.windows import (
    SAMPLED_FRAMES,
    STRIDES_PER_WINDOW,
    Segment,
    stream_segments,
)
from scnn_tf.shards.frames import centre_crop

_LARGEST_BATCH = 32  # segments that a network scores at a time
_FEATURE_MAP_BYTES = 128 << 20  # limit of the largest feature map of a batch on a CPU
_LARGEST_PART = 1024  # samples of a sequence that the joint network takes at a time
_PART_BYTES = 1 << 30  # limit of its largest feature map
# Parts begin this many windows apart, or a multiple of it: so the pairs of frames that a
# convolution forms, and their rounding, are the same in each part (see `layers.Convolution`).
_PART_GRID = 4

Sampled = tuple[Segment, np.ndarray]
"""A segment and its 16 frames, uint8 `[16, crop, crop, 3]`."""


class Localizer:
    """Trained networks that find actions in videos of any length.

    Attributes:
        info: Description of the network that scores.
        prior: Window-length prior of the training data.
        inference: Thresholds, mirroring, and whether the prior is used.
    """

    info: StageInfo
    prior: WindowPrior
    inference: InferenceRecipe

    def localize(self, path: PathLike, video_id: str | None = None) -> Detections:
        """Returns the actions of a video file.

        Args:
            path: File or URL of the video.
            video_id: Id of the video in the detections; None: the file's name without extension.

        Returns:
            Detections by score, descending; times in seconds.

        Raises:
            VideoError: The video cannot be used.
            InputError: A network gives a score that is not finite.
        """
        if video_id is None:
            video_id = without_ending(file_name(path))
        return self.detections(self.score_video(path, video_id))

    def stream(
        self,
        source: PathLike | Iterable[np.ndarray],
        *,
        video_id: str | None = None,
        nms_threshold: float | None = None,
        **settings,
    ) -> Iterator[LiveDetection]:
        """Yields the actions of a live source, each as soon as nothing can change it any more.

        They are those that `localize` finds in a file of the same frames.

        Args:
            source: URL that FFmpeg knows, such as `rtsp://…`; a camera, `/dev/video0`; a pipe; `-`,
                the standard input; a file that may still grow; or frames like those of
                `score_frames`.
            video_id: Id of the source in the detections; None: its name.
            nms_threshold: tIoU; None: the recipe's.
            **settings: Of `live.LiveSettings`, such as `provisional=True`.

        Yields:
            Detections in seconds from the start of the source.

        Raises:
            VideoError: The source cannot be opened, or has no video.
            InputError: A network gives a score that is not finite, or a setting is out of its
                range.
        """
        shards = self.info.recipe.shards
        rules = LiveRules(
            shards.window_frames,
            self.info.frame_rate,
            self._applied_prior,
            self.inference.nms_threshold if nms_threshold is None else nms_threshold,
        )
        return find_live(
            source,
            lambda frames, skips: self.judged(frames, live=True, skips=skips),
            rules,
            frame_size=(shards.frame_height, shards.frame_width),
            video_id=video_id,
            settings=LiveSettings(**settings),
        )

    def detections(self, segments: RawSegments) -> Detections:
        """Post-processes scored segments: window-length prior, non-maximum suppression, order."""
        nms_threshold = self.inference.nms_threshold
        return detections_from_segments(segments, self._applied_prior, nms_threshold)

    @property
    def _applied_prior(self) -> WindowPrior | None:
        return self.prior if self.inference.window_prior else None

    def score_video(self, path: PathLike, video_id: str) -> RawSegments:
        """Returns the scored segments of a video file; see `score_frames`.

        Raises:
            VideoError: The video cannot be used.
            InputError: A network gives a score that is not finite.
        """
        shards = self.info.recipe.shards
        frames = read_frames(path, self.info.frame_rate, shards.frame_height, shards.frame_width)
        return self.score_frames(frames, video_id)

    def score_frames(self, frames: Iterable[np.ndarray], video_id: str) -> RawSegments:
        """Returns the scored segments of a video.

        Only the frames of the longest window, or of a part of each scale, and the rows are held, so
        a video may be of any length.

        Args:
            frames: uint8 `[frame_height, frame_width, 3]` each, at the networks' frame rate.
            video_id: Id of the video in the rows.

        Returns:
            A row for each segment that passes the proposal threshold: its best class and that
            class's score, ordered by window length, then by start. The best class may be
            background, except where the proposal head of a joint network scores it.

        Raises:
            InputError: A network gives a score that is not finite.
        """
        counted = Counted(frames)
        return collected(self.judged(counted), counted, video_id, self.info.frame_rate)

    def judged(
        self,
        frames: Iterable[np.ndarray],
        *,
        live: bool = False,
        skips: Callable[[int], bool] | None = None,
    ) -> Iterator[Judged]:
        """Yields the parts of a video, each as soon as its frames are there and it is scored.

        Args:
            frames: See `score_frames`.
            live: Whether parts are short, to be there soon, rather than efficient.
            skips: Whether to leave out the next part of a window length; it has no rows then.

        Raises:
            InputError: A network gives a score that is not finite.
        """
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class SCNN(Localizer):
    """Segment-CNN as in the paper, trained: finds actions in videos of any length.

    Attributes:
        proposal: Network that keeps or discards a segment; None: every segment is kept.
        localization: Network that scores the classes of a segment.
        info: Description of the localization network.
        prior: Window-length prior of the training data.
        inference: Thresholds, mirroring, and whether the prior is used.

    Example:
        >>> model = scnn_tf.load_scnn("model")
        >>> for action in model.localize("video.mp4"):
        ...     print(action)
    """

    proposal: keras.Model | None
    localization: keras.Model
    info: StageInfo
    prior: WindowPrior
    inference: InferenceRecipe

    def __post_init__(self):
        for network in filter(None, (self.proposal, self.localization)):
            network.jit_compile = False  # XLA makes 3D convolutions many times slower on a CPU

    def judged(
        self,
        frames: Iterable[np.ndarray],
        *,
        live: bool = False,
        skips: Callable[[int], bool] | None = None,
    ) -> Iterator[Judged]:
        """Runs the multi-scale windows of a video through the two networks; see `Localizer`.

        Live, the localization network does not wait until its batches are full.
        """
        recipe = self.info.recipe
        cropped = (centre_crop(frame, recipe.crop) for frame in frames)
        windows = stream_segments(cropped, recipe.shards.window_frames)
        size = _batch_size(recipe)
        kept: list[Sampled] = []
        reached: dict[int, int] = {}
        for batch in _batches(windows, size):
            reached |= {s.length: s.start + s.length // STRIDES_PER_WINDOW for s, _ in batch}
            scored = [each for each in batch if not (skips and skips(each[0].length))]
            kept += self._kept(scored, size)
            ready = len(kept) if live else len(kept) // size * size
            if live or ready:
                yield from self._judged(kept[:ready], size, reached, waiting=kept[ready:])
                kept = kept[ready:]
        yield from self._judged(kept, size, reached, waiting=[])

    def in_precision(self, precision: str) -> "SCNN":
        """Returns the same networks computing in another precision, their weights rounded to it.

        Args:
            precision: "float32" or "bfloat16". The scores stay float32.
        """
        return dataclasses.replace(
            self,
            proposal=self.proposal and _in_precision(self.proposal, precision),
            localization=_in_precision(self.localization, precision),
        )

    def _judged(
        self, kept: list[Sampled], size: int, reached: dict[int, int], waiting: list[Sampled]
    ) -> Iterator[Judged]:
        """Scores kept segments in batches of a size; yields a part for each window length.

        Args:
            kept: The segments.
            size: Number of segments of a batch.
            reached: Start of the first segment of each length that is neither kept nor discarded.
            waiting: Segments that are kept and will be scored later.
        """
        rows = [row for batch in _batches(kept, size) for row in self._scored(batch, size)]
        for length, start in reached.items():
            begun = [segment.start for segment, _ in waiting if segment.length == length]
            of_length = [row for row in rows if row.segment.length == length]
            yield Judged(length, min([start, *begun]), of_length)

    def _kept(self, batch: list[Sampled], size: int) -> list[Sampled]:
        """Returns the segments of a batch that the proposal network takes for an action."""
        if self.proposal is None or not batch:
            return batch
        action = _scores(self.proposal, "proposal", batch, size, mirror=False)[:, 1]
        threshold = self.inference.proposal_threshold
        return [each for each, score in zip(batch, action, strict=True) if score >= threshold]

    def _scored(self, batch: list[Sampled], size: int) -> Iterator[Scored]:
        """Yields the segments of a batch with their best class and its score."""
        names = (BACKGROUND, *self.info.class_names)
        scores = _scores(self.localization, self.info.stage, batch, size, self.inference.mirror)
        for (segment, _), row in zip(batch, scores, strict=True):
            best = int(row.argmax())
            yield Scored(segment, names[best], float(row[best]))


@dataclasses.dataclass(frozen=True)
class JointSCNN(Localizer):
    """One network with three heads: windows share its convolutions, and it gives boundaries.

    Attributes:
        network: Network with the heads "proposal", "classes" and "boundaries".
        info: Description of the network.
        prior: Window-length prior of the training data.
        inference: Thresholds, mirroring, and whether the prior is used.
        proposal: Whether proposal scores are used; else the class scores alone decide.
    """

    network: keras.Model
    info: StageInfo
    prior: WindowPrior
    inference: InferenceRecipe
    proposal: bool = True

    def __post_init__(self):
        self.network.jit_compile = False  # XLA makes 3D convolutions many times slower on a CPU

    def judged(
        self,
        frames: Iterable[np.ndarray],
        *,
        live: bool = False,
        skips: Callable[[int], bool] | None = None,
    ) -> Iterator[Judged]:
        """Runs the sequences of a video at all scales through the network; see `Localizer`."""
        cropped = (centre_crop(frame, self.info.recipe.crop) for frame in frames)
        scorer = self.sequences.prompt if live else self.sequences
        return scorer.judged(cropped, self._outputs, skips)

    @property
    def sequences(self) -> SequenceScorer:
        """How the sequences of a video are scored."""
        recipe = self.info.recipe
        if recipe.train_windows == 1:  # Trained without neighbors, it is run without them.
            part, context = 1, 0
        else:
            context = context_windows(recipe)
            precision = self.network.get_layer("normalization").compute_dtype
            value_bytes = 2 if precision == "bfloat16" else 4
            part = max(_part_windows(recipe, value_bytes), 4 * context)
            part -= (part - 2 * context) % _PART_GRID
        return SequenceScorer(
            class_names=self.info.class_names,
            window_frames=recipe.shards.window_frames,
            frame_rate=self.info.frame_rate,
            proposal_threshold=self.inference.proposal_threshold,
            part_windows=part,
            context_windows=context,
        )

    def in_precision(self, precision: str) -> "JointSCNN":
        """Returns the same network computing in another precision, its weights rounded to it.

        Args:
            precision: "float32" or "bfloat16". The scores stay float32.
        """
        return dataclasses.replace(self, network=_in_precision(self.network, precision))

    def _outputs(self, samples: list[np.ndarray], length: int) -> HeadOutputs:
        """Returns the outputs for a stretch, uint8 `[crop, crop, 3]` each sample."""
        frames = np.stack(samples)[None]
        outputs = self._run({"frames": frames}, length)
        if self.inference.mirror:  # Left and right change sides, start and end do not.
            mirrored = self._run({"frames": frames[:, :, :, ::-1]}, length)
            outputs = HeadOutputs(
                *((one + other) / 2 for one, other in zip(outputs, mirrored, strict=True))
            )
        return outputs

    def _run(self, inputs: dict[str, np.ndarray], length: int) -> HeadOutputs:
        """Returns the outputs for the inputs of one stretch, whose windows have a length."""
        if "window_frames" in self.network.input:
            inputs["window_frames"] = np.full(1, length, np.int32)
        outputs = self.network.predict_on_batch(inputs)
        multi_label = self.info.recipe.shards.multi_label
        scored = *joint_scores(outputs, self.proposal, multi_label), outputs["boundaries"]
        return HeadOutputs(*(ops.convert_to_numpy(output)[0] for output in scored))


@dataclasses.dataclass(frozen=True)
class FeatureSCNN(JointSCNN):
    """The three heads on features that another network computed of a video."""

    def score_video(self, path: PathLike, video_id: str) -> RawSegments:
        """Returns the scored segments of a video, by the file of its features.

        Raises:
            VideoError: The file cannot be read.
            InputError: The network gives a score that is not finite.
        """
        shards = self.info.recipe.shards
        return self.score_vectors(read_features(path, shards.feature_size), video_id)

    def judged(self, frames: Iterable[np.ndarray], **_) -> Iterator[Judged]:
        """Raises an `InputError`: the network sees features."""
        raise InputError(
            "expected the features of a video, since the network was trained on features. "
            "Received: frames"
        )

    def score_vectors(self, vectors: np.ndarray, video_id: str) -> RawSegments:
        """Returns the scored segments of a video; see `Localizer.score_frames`.

        Args:
            vectors: float `[T, F]`, its features, at the rate of the training's.
            video_id: Id of the video in the rows.

        Raises:
            InputError: The network gives a score that is not finite.
        """
        shards, rate = self.info.recipe.shards, self.info.frame_rate
        vector_frames = shards.feature_seconds * rate
        num_frames = round(len(vectors) * vector_frames)
        scorer, rows = self.sequences, []
        for stretch in sequences(num_frames, shards.window_frames, _LARGEST_PART):
            features = pooled(vectors, vector_frames, stretch.windows)[None]
            outputs = self._run({"features": features}, stretch.window_frames)
            rows += scorer.kept(Part(stretch, 0, stretch.count), outputs)
        return segments_table(video_id, rows, rate, num_frames)


def joint_localizer(
    network: keras.Model,
    info: StageInfo,
    prior: WindowPrior,
    inference: InferenceRecipe,
    proposal: bool = True,
) -> JointSCNN:
    """Returns the localizer of a network with three heads, of frames or of features."""
    kind = FeatureSCNN if info.recipe.takes_features else JointSCNN
    return kind(network, info, prior, inference, proposal)


def joint_scores(
    outputs: Mapping[str, object], proposal: bool = True, multi_label: bool = False
) -> tuple:
    """Returns the scores of windows: P(action), and P(action) · P(class | action) of each class.

    Background is what the proposal head says it is: column 0 of the class scores is 0. Of a
    multi-label network, whose classes do not exclude each other, P(class | action) is a sigmoid.

    Args:
        outputs: Logits of the heads "proposal", `[N, n, 2]`, and "classes", `[N, n, K + 1]`, or
            `[N, n, K]` of a multi-label network.
        proposal: False: class scores are those of the class head alone, background included.
        multi_label: Whether the network is one of several classes a window.

    Returns:
        Proposal scores, float32 `[N, n]`, and class scores, float32 `[N, n, K + 1]`.
    """
    action = ops.softmax(outputs["proposal"])[..., 1]
    if not (proposal or multi_label):
        return action, ops.softmax(outputs["classes"])
    if multi_label:
        scores = ops.sigmoid(outputs["classes"])
    else:  # Keras warns of a softmax over one class, of which there may be no more.
        scores = ops.exp(ops.log_softmax(outputs["classes"][..., 1:]))
    if proposal:
        scores = action[..., None] * scores
    return action, ops.pad(scores, [[0, 0], [0, 0], [1, 0]])


def load_scnn(
    model_dir: PathLike,
    *,
    scorer: str | None = None,
    proposal: bool = True,
    precision: str | None = None,
    proposal_threshold: float | None = None,
    mirror: bool | None = None,
    window_prior: bool | None = None,
    nms_threshold: float | None = None,
) -> Localizer:
    """Loads a folder of trained networks.

    Args:
        model_dir: Folder or URL that holds `joint/`, or `proposal/` and `localization/`, as `train`
            writes them.
        scorer: Sub-folder of the network that scores, such as "classification" for an ablation;
            None: "joint" if there is one, else "localization".
        proposal: Whether to filter by proposal scores; of a joint network, whether these are part
            of its class scores, too.
        precision: Precision to compute in, "float32" or "bfloat16"; None: the trained one.
        proposal_threshold: Segments whose proposal score is lower are discarded; None, here and
            below: the recipe's setting.
        mirror: Whether class scores are averaged over a segment and its mirror image.
        window_prior: Whether class scores are multiplied by the window-length prior.
        nms_threshold: tIoU above which the lower-scored of two detections is suppressed.

    Returns:
        The trained S-CNN.

    Raises:
        InputError: A stage is missing or is another stage, or the two do not belong together.

    Example:
        >>> print(scnn_tf.load_scnn("model").localize("video.mp4"))
    """
    folder = as_path(model_dir)
    scorer = scorer or default_scorer(folder)
    network, info = load_stage(folder / scorer, scorer if scorer in (*STAGES, JOINT) else None)
    if info.stage == "proposal":
        raise InputError(f"{folder / scorer}: a proposal network has no classes to score")
    prior = read_prior(
        folder / scorer / WINDOW_PRIOR, info.class_names, info.recipe.shards.window_frames
    )
    settings = {
        "proposal_threshold": proposal_threshold,
        "mirror": mirror,
        "window_prior": window_prior,
        "nms_threshold": nms_threshold,
    }
    given = {name: value for name, value in settings.items() if value is not None}
    inference = dataclasses.replace(info.recipe.inference, **given)
    if info.stage == JOINT:
        if not proposal:
            inference = dataclasses.replace(inference, proposal_threshold=0.0)
        model = joint_localizer(network, info, prior, inference, proposal)
    else:
        filtering = None
        if proposal:
            filtering, filter_info = load_stage(folder / "proposal", "proposal")
            _check_pair(folder, scorer, filter_info, info)
        model = SCNN(filtering, network, info, prior, inference)
    return model.in_precision(precision) if precision else model


def _in_precision(network: keras.Model, precision: str) -> keras.Model:
    """Returns a network computing in another precision, except for its last layers."""

    def clone(layer: keras.Layer) -> keras.Layer:
        config = layer.get_config()
        if layer.name not in LAST_LAYERS:
            config["dtype"] = precision
        return type(layer).from_config(config)

    other = keras.models.clone_model(network, clone_function=clone)
    for new, old in zip(other.weights, network.weights, strict=True):
        new.assign(old)
    return other


def _check_pair(folder: os.PathLike, scorer: str, proposal: StageInfo, scoring: StageInfo) -> None:
    """Checks that two networks see the same frames of the same windows, of the same dataset.

    Raises:
        InputError: Something is different.
    """
    for name, value in (
        ("class_names", lambda info: info.class_names),
        ("window_frames", lambda info: info.recipe.shards.window_frames),
        ("frame_rate", lambda info: info.frame_rate),
    ):
        if value(proposal) != value(scoring):
            raise InputError(
                f"{folder}: the proposal and the {scorer} network were trained on different data "
                f"sets ({name}: {value(proposal)} and {value(scoring)})"
            )
    sizes = [
        (info.recipe.shards.frame_height, info.recipe.shards.frame_width, info.recipe.crop)
        for info in (proposal, scoring)
    ]
    if sizes[0] != sizes[1]:
        raise InputError(
            f"{folder}: the proposal and the {scorer} network see frames of different sizes "
            f"(height, width, crop: {sizes[0]} and {sizes[1]}); train them with the same recipe"
        )


def _batch_size(recipe: Recipe) -> int:
    """Returns how many segments are scored at a time: on a CPU, as its memory allows."""
    if keras.distribution.list_devices("gpu"):
        return _LARGEST_BATCH
    feature_map = SAMPLED_FRAMES * _frame_bytes(recipe, 4)
    return max(1, min(_LARGEST_BATCH, int(_FEATURE_MAP_BYTES / feature_map)))


def _part_windows(recipe: Recipe, value_bytes: int) -> int:
    """Returns how many windows of a sequence are scored at a time: as memory allows."""
    samples = min(_LARGEST_PART, int(_PART_BYTES / _frame_bytes(recipe, value_bytes)))
    return num_windows(samples, SAMPLED_FRAMES)


def _frame_bytes(recipe: Recipe, value_bytes: int) -> float:
    """Returns the bytes of the largest feature map, that of conv1a, for each frame."""
    return recipe.crop**2 * 64 * recipe.width * value_bytes


def _batches(
    segments: Iterable[tuple[Segment, Sequence[np.ndarray]]], size: int
) -> Iterator[list[Sampled]]:
    """Yields segments `size` at a time; the last batch may be smaller."""
    batch = []
    for segment, frames in segments:
        batch.append((segment, np.asarray(frames)))
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _scores(
    network: keras.Model, stage: str, batch: list[Sampled], size: int, mirror: bool
) -> np.ndarray:
    """Returns softmax scores `[N, outputs]`; with `mirror`, means with those of mirror images.

    Raises:
        InputError: A score is not finite.
    """
    frames = np.zeros((size, *batch[0][1].shape), np.uint8)  # of one size: traced once
    lengths = np.full(size, batch[0][0].length, np.int32)
    for row, (segment, images) in enumerate(batch):
        frames[row], lengths[row] = images, segment.length

    def run(images: np.ndarray) -> np.ndarray:
        inputs = {"frames": images}
        if "window_frames" in network.input:
            inputs["window_frames"] = lengths
        return ops.convert_to_numpy(ops.softmax(network.predict_on_batch(inputs)))[:, 0]

    scores = run(frames)
    if mirror:
        scores = (scores + run(frames[:, :, :, ::-1])) / 2
    scores = scores[: len(batch)]
    if not np.isfinite(scores).all():  # a comparison with NaN would discard the segment
        segment, _ = batch[np.flatnonzero(~np.isfinite(scores).all(axis=1))[0]]
        raise InputError(
            f"expected finite scores of the {stage} network. Received: {scores.min()} for frames "
            f"{segment.start} to {segment.end}; train it again"
        )
    return scores
