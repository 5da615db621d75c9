"""Shards to batches: the three training sets as views on one set of segments (section 3.2)."""

import tensorflow as tf

from scnn_tf.errors import InputError
from scnn_tf.io.files import as_path
from scnn_tf.io.stores import for_tensorflow
from scnn_tf.models.recipes import STAGES, Recipe
from scnn_tf.shards import records
from scnn_tf.shards.files import Manifest, read_manifest
from scnn_tf.shards.frames import decode_frames

_CACHE_BYTES = 4 << 30  # decoded segments that may stay in memory
_READ_BYTES = 1 << 22  # of a shard at a time: of a remote one, in one request
_OPEN_SHARDS = 16  # that are read side by side
_SHUFFLE = 2048  # segments; still encoded where they are not cached
_PARALLEL = tf.data.AUTOTUNE


def training_batches(
    data_dir: str,
    stage: str,
    recipe: Recipe,
    seed: int = 0,
    context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """An endless stream of shuffled, augmented batches of a stage's training set.

    The views: S_pro has all positive segments as class 1 and about as much background; S_cls has
    the classes, with background cut to a K-th; S_loc is S_cls with the overlaps.

    Args:
        data_dir: folder of shards with its manifest.
        stage: "proposal", "classification" or "localization".
        recipe: sizes, augmentation, and whether the background is redrawn.
        seed: of order and augmentation.
        context: of a `tf.distribute` strategy: each replica gets its rows of the very batches that
            one device would see. Every host reads all shards, but of what does not fit into
            memory it decodes its own rows only. None: one device.

    Returns:
        Batches of (inputs, targets): inputs a dict of `frames`, uint8 `[B, 16, crop, crop, 3]`,
        and, if the recipe says so, `window_frames`, int32 `[B]`; targets float32 `[B, 2]`, label
        and overlap. B is the recipe's batch size, or a replica's part of it.

    Raises:
        InputError: no data set, or one without the segments that the stage needs.
    """
    if stage not in STAGES:
        raise InputError(f"stage must be one of {', '.join(STAGES)}. Received: {stage!r}")
    manifest = read_manifest(data_dir)
    positives, pool = manifest.num_positives, manifest.num_backgrounds
    if not positives or not pool:
        raise InputError(
            f"{data_dir}: {positives} positive and {pool} background segments; training needs "
            "both: look at the annotations, or at the failures in the manifest"
        )
    share = recipe.background[STAGES.index(stage)] or 1.0 / len(manifest.class_names)

    segments = _read(data_dir, manifest, seed)
    if recipe.redraw_background:
        fits = _fits_in_memory(positives + pool, recipe)
        parts = [
            _stream(segments.filter(_is_positive), positives, recipe, fits, seed),
            _stream(segments.filter(lambda s: not _is_positive(s)), pool, recipe, fits, seed + 1),
        ]
        weights = [1.0 / (1.0 + share), share / (1.0 + share)]
        stream = tf.data.Dataset.sample_from_datasets(parts, weights, seed=seed)
    else:
        limit, count = share * positives / pool, int(positives * (1 + share))
        chosen = segments.filter(lambda s: s[records.BACKGROUND_DRAW] < limit)
        stream = _stream(chosen, count, recipe, _fits_in_memory(count, recipe), seed)

    context = context or tf.distribute.InputContext()
    rows = recipe.batch_size // context.num_input_pipelines  # of every batch, on this host
    options = tf.data.Options()
    options.deterministic = True
    options.autotune.ram_budget = 1 << 30
    return (
        stream.enumerate()
        .filter(lambda i, _: i % recipe.batch_size // rows == context.input_pipeline_id)
        .map(lambda i, segment: _example(segment, stage, recipe, tf.stack([seed, i])), _PARALLEL)
        .batch(context.get_per_replica_batch_size(recipe.batch_size), drop_remainder=True)
        .prefetch(2)
        .with_options(options)
    )


def _read(data_dir: str, manifest: Manifest, seed: int) -> tf.data.Dataset:
    """Parsed segments of all shards, some read side by side; their images still encoded."""
    folder = as_path(data_dir)
    files = [for_tensorflow(folder / shard["file"]) for shard in manifest.shards if shard["count"]]
    return (
        tf.data.Dataset.from_tensor_slices(files)
        .shuffle(len(files), seed)  # what is read side by side is other shards each time
        .interleave(
            lambda file: tf.data.TFRecordDataset(file, buffer_size=_READ_BYTES),
            cycle_length=min(_OPEN_SHARDS, len(files)),
            num_parallel_calls=_PARALLEL,
        )
        .map(records.parse, _PARALLEL)
    )


def _is_positive(segment: dict[str, tf.Tensor]) -> tf.Tensor:
    return segment[records.LABEL_INDEX] > 0


def _fits_in_memory(count: int, recipe: Recipe) -> bool:
    return count * 16 * recipe.frame_height * recipe.frame_width * 3 <= _CACHE_BYTES


def _stream(
    segments: tf.data.Dataset, count: int, recipe: Recipe, fits: bool, seed: int
) -> tf.data.Dataset:
    """Shuffles and repeats; what fits into memory is decoded here, once, the rest is not yet."""
    if fits:
        segments = segments.map(lambda segment: _decoded(segment, recipe), _PARALLEL).cache()
    return segments.shuffle(max(1, count) if fits else _SHUFFLE, seed).repeat()


def _decoded(segment: dict[str, tf.Tensor], recipe: Recipe) -> dict[str, tf.Tensor]:
    """Decodes the 16 JPEGs to uint8 `[16, frame_height, frame_width, 3]`."""
    frames = decode_frames(segment[records.IMAGE_ENCODED], recipe.frame_height, recipe.frame_width)
    rest = {key: value for key, value in segment.items() if key != records.IMAGE_ENCODED}
    return {**rest, "frames": frames}


def _example(
    segment: dict[str, tf.Tensor], stage: str, recipe: Recipe, lot: tf.Tensor
) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """A segment as a network's input and its target, `[2]`: label and overlap."""
    if records.IMAGE_ENCODED in segment:
        segment = _decoded(segment, recipe)
    label = tf.cast(segment[records.LABEL_INDEX], tf.float32)
    if stage == "proposal":
        label = tf.minimum(label, 1.0)
    inputs = {"frames": _augmented(segment["frames"], recipe, lot)}
    if recipe.window_input:
        inputs["window_frames"] = tf.cast(segment[records.WINDOW_FRAMES], tf.int32)
    return inputs, tf.stack([label, segment[records.OVERLAP]])


def _augmented(frames: tf.Tensor, recipe: Recipe, lot: tf.Tensor) -> tf.Tensor:
    """Random crop, scale, mirror and light: one draw for all frames of a segment."""
    draw = tf.random.stateless_uniform([6], lot)
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
