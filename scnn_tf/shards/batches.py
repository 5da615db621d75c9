"""Shards to batches: the three training sets are views of one set of segments (section 3.2)."""

import tensorflow as tf

from scnn_tf.errors import InputError
from scnn_tf.io.files import as_path
from scnn_tf.io.stores import for_tensorflow
from scnn_tf.models.losses import pack_targets
from scnn_tf.models.recipes import Recipe
from scnn_tf.segments.windows import SAMPLED_FRAMES
from scnn_tf.shards import records
from scnn_tf.shards.files import Manifest
from scnn_tf.shards.frames import decode_frames

_READ_BYTES = 1 << 22  # read from a shard at a time; from a remote shard, in one request
_OPEN_SHARDS = 16  # shards that are read in parallel
_SHUFFLE = 2048  # segments in the shuffle buffer where they are not cached, still encoded
_PARALLEL = tf.data.AUTOTUNE


def training_batches(
    manifest: Manifest,
    stage: str,
    recipe: Recipe,
    seed: int = 0,
    done: int = 0,
    context: tf.distribute.InputContext | None = None,
    cache_bytes: int = 4 << 30,
) -> tf.data.Dataset:
    """Returns an endless stream of shuffled, augmented batches of a stage's training set.

    The views: S_pro has all positive segments as class 1 and about as much background; S_cls has
    the classes, with background cut to a K-th; S_loc is S_cls with the overlaps.

    Args:
        manifest: Description of the dataset, from `read_manifest`.
        stage: "proposal", "classification" or "localization".
        recipe: Sizes, augmentation, and whether the background is redrawn.
        seed: Seed of order and augmentation.
        done: Number of batches to skip, of a training that is resumed.
        context: Input context of a `tf.distribute` strategy: each replica gets its rows of the
            very batches that one device would see. Every host reads all shards, but of segments
            that do not fit into memory it decodes its own rows only. None: one device.
        cache_bytes: Limit of the decoded segments that are cached in memory.

    Returns:
        Batches of (inputs, targets): inputs a dict of `frames`, uint8 `[B, 16, crop, crop, 3]`,
        and, with the recipe's `window_input`, `window_frames`, int32 `[B]`; targets float32
        `[B, 2]` of `losses.pack_targets`. B is the recipe's batch size, or a replica's part of it.

    Raises:
        InputError: The dataset lacks the segments that the stage needs.
    """
    background = recipe.stage(stage).background
    positives, pool = manifest.num_positives, manifest.num_backgrounds
    if not positives or not pool:
        raise InputError(
            f"{manifest.folder}: training needs positive and background segments. Found: "
            f"{positives} and {pool}; check the annotations, and the failures in the manifest"
        )
    share = background or 1.0 / len(manifest.class_names)

    segments = _read(manifest, seed)
    if recipe.redraw_background:
        fits = _decoded_bytes(positives + pool, recipe) <= cache_bytes
        parts = [
            _stream(segments.filter(_is_positive), positives, recipe, fits, seed),
            _stream(segments.filter(lambda s: not _is_positive(s)), pool, recipe, fits, seed + 1),
        ]
        weights = [1.0 / (1.0 + share), share / (1.0 + share)]
        stream = tf.data.Dataset.sample_from_datasets(parts, weights, seed=seed)
    else:
        limit, count = share * positives / pool, int(positives * (1 + share))
        chosen = segments.filter(lambda s: s[records.BACKGROUND_DRAW] < limit)
        stream = _stream(chosen, count, recipe, _decoded_bytes(count, recipe) <= cache_bytes, seed)

    context = context or tf.distribute.InputContext()
    rows = recipe.batch_size // context.num_input_pipelines  # of every batch, on this host
    options = tf.data.Options()
    options.deterministic = True
    options.autotune.ram_budget = 1 << 30
    return (
        stream.enumerate()
        .skip(done * recipe.batch_size)
        .filter(lambda i, _: i % recipe.batch_size // rows == context.input_pipeline_id)
        .map(lambda i, segment: _example(segment, stage, recipe, tf.stack([seed, i])), _PARALLEL)
        .batch(context.get_per_replica_batch_size(recipe.batch_size), drop_remainder=True)
        .prefetch(2)
        .with_options(options)
    )


def _read(manifest: Manifest, seed: int) -> tf.data.Dataset:
    """Returns the parsed segments of all shards; their images are still encoded."""
    folder = as_path(manifest.folder)
    files = [for_tensorflow(folder / shard["file"]) for shard in manifest.shards if shard["count"]]
    return (
        tf.data.Dataset.from_tensor_slices(files)
        .shuffle(len(files), seed)  # so that other shards are read in parallel each time
        .interleave(
            lambda file: tf.data.TFRecordDataset(file, buffer_size=_READ_BYTES),
            cycle_length=min(_OPEN_SHARDS, len(files)),
            num_parallel_calls=_PARALLEL,
        )
        .map(lambda serialized: _checked(records.parse(serialized), manifest), _PARALLEL)
    )


def _checked(segment: dict[str, tf.Tensor], manifest: Manifest) -> dict[str, tf.Tensor]:
    """Returns the segment; reading it fails if its label or overlap would spoil the loss."""
    label, overlap = segment[records.LABEL_INDEX], segment[records.OVERLAP]
    is_good = (
        (label >= 0) & (label <= len(manifest.class_names)) & (overlap > 0.0) & (overlap <= 1.0)
    )
    # `tf.debugging.Assert` imposes no order: without the control dependency the segment may be
    # used before its check.
    with tf.control_dependencies([tf.debugging.Assert(is_good, [label, overlap])]):
        return {**segment, records.LABEL_INDEX: tf.identity(label)}


def _is_positive(segment: dict[str, tf.Tensor]) -> tf.Tensor:
    return segment[records.LABEL_INDEX] > 0


def _decoded_bytes(count: int, recipe: Recipe) -> int:
    """Returns the size of decoded segments in memory."""
    return count * SAMPLED_FRAMES * recipe.shards.frame_height * recipe.shards.frame_width * 3


def _stream(
    segments: tf.data.Dataset, count: int, recipe: Recipe, fits: bool, seed: int
) -> tf.data.Dataset:
    """Shuffles and repeats segments; if all fit into memory, decodes them here, once."""
    if fits:
        segments = segments.map(lambda segment: _decoded(segment, recipe), _PARALLEL).cache()
    return segments.shuffle(max(1, count) if fits else _SHUFFLE, seed).repeat()


def _decoded(segment: dict[str, tf.Tensor], recipe: Recipe) -> dict[str, tf.Tensor]:
    """Decodes the 16 JPEGs to uint8 `[16, frame_height, frame_width, 3]`."""
    frames = decode_frames(
        segment[records.IMAGE_ENCODED], recipe.shards.frame_height, recipe.shards.frame_width
    )
    rest = {key: value for key, value in segment.items() if key != records.IMAGE_ENCODED}
    return {**rest, "frames": frames}


def _example(
    segment: dict[str, tf.Tensor], stage: str, recipe: Recipe, seed: tf.Tensor
) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """Returns a segment as a network's input and its target, `[2]`."""
    if records.IMAGE_ENCODED in segment:
        segment = _decoded(segment, recipe)
    label = segment[records.LABEL_INDEX]
    if stage == "proposal":
        label = tf.minimum(label, 1)
    inputs = {"frames": _augmented(segment["frames"], recipe, seed)}
    if recipe.window_input:
        inputs["window_frames"] = tf.cast(segment[records.WINDOW_FRAMES], tf.int32)
    return inputs, pack_targets(label, segment[records.OVERLAP])


def _augmented(frames: tf.Tensor, recipe: Recipe, seed: tf.Tensor) -> tf.Tensor:
    """Crops, scales, mirrors and lights a segment at random, all its frames alike."""
    draw = tf.random.stateless_uniform([6], seed)
    size = tf.cast(recipe.crop * (recipe.min_scale + (1 - recipe.min_scale) * draw[0]), tf.int32)
    room = tf.cast(tf.shape(frames)[1:3] - size + 1, tf.float32)
    top, left = tf.unstack(tf.cast(draw[1:3] * room, tf.int32))
    frames = frames[:, top : top + size, left : left + size]
    if recipe.mirror:
        frames = tf.cond(draw[3] < 0.5, lambda: frames, lambda: tf.reverse(frames, [2]))
    if recipe.min_scale < 1 or recipe.brightness or recipe.contrast:
        pixels = tf.image.resize(frames, [recipe.crop, recipe.crop])
        mean = tf.reduce_mean(pixels)
        pixels = (pixels - mean) * (1 + recipe.contrast * (2 * draw[4] - 1)) + mean
        pixels += 255 * recipe.brightness * (2 * draw[5] - 1)
        frames = tf.saturate_cast(pixels, tf.uint8)
    return tf.ensure_shape(frames, [16, recipe.crop, recipe.crop, 3])
