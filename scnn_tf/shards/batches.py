"""Shards to batches: training sets are views of one set of segments or stretches (section 3.2)."""

from collections.abc import Callable

import tensorflow as tf

from scnn_tf.errors import InputError
from scnn_tf.io.files import as_path
from scnn_tf.io.stores import for_tensorflow
from scnn_tf.models.losses import pack_targets, with_counts
from scnn_tf.models.recipes import HEADS, JOINT, Recipe
from scnn_tf.segments.stretches import SAMPLES_PER_STRIDE, num_samples
from scnn_tf.segments.windows import SAMPLED_FRAMES
from scnn_tf.shards import records
from scnn_tf.shards.files import Features, Manifest
from scnn_tf.shards.frames import decode_frames
from scnn_tf.shards.speed import WindowTargets, at_rate, random_rate

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
        stage: "proposal", "classification" or "localization"; or "joint", of stretches.
        recipe: Sizes, augmentation, and whether the background is redrawn.
        seed: Seed of order and augmentation.
        done: Number of batches to skip, of a training that is resumed.
        context: Input context of a `tf.distribute` strategy: each replica gets its rows of the
            very batches that one device would see. Every host reads all shards, but of segments
            that do not fit into memory it decodes its own rows only. None: one device.
        cache_bytes: Limit of the decoded segments that are cached in memory.

    Returns:
        Batches of (inputs, targets): inputs a dict of `frames`, uint8 `[B, T, crop, crop, 3]`,
        or `features`, float32 `[B, n, …]`, of a dataset of features; and, with the recipe's
        `window_input`, `window_frames`, int32 `[B]`; targets float32
        `[B, n, 2]` of `losses.pack_targets`, of "joint" `[B, n, 6]` of `losses.with_counts` for
        each of its heads, of a multi-label one `[B, n, K, 6]` for all but "proposal". B is the
        recipe's batch size, or a replica's part of it; n is 1 and T 16, or of "joint" the recipe's
        `train_windows` and 16 + 4 (n - 1).

    Raises:
        InputError: The dataset lacks the segments that the stage needs.
    """
    background = recipe.stage(stage).background
    positives, pool = manifest.num_positives, manifest.num_backgrounds
    if not manifest.is_trainable:
        raise InputError(
            f"{manifest.folder}: training needs positive and background segments. Found: "
            f"{positives} and {pool}; check the annotations, and the failures in the manifest"
        )
    share = background or 1.0 / len(manifest.class_names)

    segments = _read(manifest, seed)
    if recipe.redraw_background or stage == JOINT:
        windows = recipe.shards.stretch_windows
        fits = _decoded_bytes(positives + pool, manifest) <= cache_bytes
        segments = _cached(segments, recipe, fits)
        actions = _around(segments, lambda label: label > 0, stage)
        others = _around(segments, lambda label: tf.equal(label, 0), stage)
        parts = [
            _stream(actions, positives * windows, fits, seed),
            _stream(others, (positives + pool) * windows, fits, seed + 1),
        ]
        weights = [1.0 / (1.0 + share), share / (1.0 + share)]
        stream = tf.data.Dataset.sample_from_datasets(parts, weights, seed=seed)
    else:
        limit, count = share * positives / pool, int(positives * (1 + share))
        chosen = segments.filter(lambda s: s[records.BACKGROUND_DRAW] < limit)
        fits = _decoded_bytes(count, manifest) <= cache_bytes
        stream = _stream(_cached(chosen, recipe, fits), count, fits, seed)

    context = context or tf.distribute.InputContext()
    rows = recipe.batch_size // context.num_input_pipelines  # of every batch, on this host
    options = tf.data.Options()
    options.deterministic = True
    options.autotune.ram_budget = 1 << 30
    numbered = stream.enumerate().skip(done * recipe.batch_size)
    if stage == JOINT:
        numbered = (
            # Of the whole batch, since the losses are means over all its windows of a kind.
            numbered.map(lambda i, segment: (i, _part(segment, recipe, seed, i)), _PARALLEL)
            .batch(recipe.batch_size, drop_remainder=True)
            .map(lambda i, parts: (i, _counted(parts, context.num_replicas_in_sync)))
            .unbatch()
        )
    return (
        numbered.filter(lambda i, _: i % recipe.batch_size // rows == context.input_pipeline_id)
        .map(
            lambda i, segment: _example(
                segment, stage, recipe, manifest.features, tf.stack([seed, i])
            ),
            _PARALLEL,
        )
        .batch(context.get_per_replica_batch_size(recipe.batch_size), drop_remainder=True)
        .prefetch(2)
        .with_options(options)
    )


def _read(manifest: Manifest, seed: int) -> tf.data.Dataset:
    """Returns the parsed segments of all shards; their images are still encoded."""
    folder, features = as_path(manifest.folder), manifest.features
    files = [for_tensorflow(folder / shard["file"]) for shard in manifest.shards if shard["count"]]
    return (
        tf.data.Dataset.from_tensor_slices(files)
        .shuffle(len(files), seed)  # so that other shards are read in parallel each time
        .interleave(
            lambda file: tf.data.TFRecordDataset(file, buffer_size=_READ_BYTES),
            cycle_length=min(_OPEN_SHARDS, len(files)),
            num_parallel_calls=_PARALLEL,
        )
        .map(
            lambda record: _checked(
                records.parse(
                    record,
                    manifest.recipe.stretch_windows > 1,
                    features.values if features else 0,
                    len(manifest.class_names) if manifest.recipe.multi_label else 1,
                ),
                manifest,
            ),
            _PARALLEL,
        )
    )


def _checked(segment: dict[str, tf.Tensor], manifest: Manifest) -> dict[str, tf.Tensor]:
    """Returns the segment; reading it fails if its label or overlap would spoil the loss."""
    label, overlap = segment[records.LABEL_INDEX], segment[records.OVERLAP]
    classes = len(manifest.class_names)
    is_good = (label >= 0) & (label <= classes) & (overlap > 0.0) & (overlap <= 1.0)
    if records.WINDOW_LABELS in segment:
        labels, overlaps, offsets = (segment[key] for key in _TARGETS)
        for each in (
            (labels >= -1) & (labels <= classes),
            (overlaps > 0.0) & (overlaps <= 1.0),
            tf.math.is_finite(offsets),
        ):
            is_good &= tf.reduce_all(each)
    # `tf.debugging.Assert` imposes no order: without the control dependency the segment may be
    # used before its check.
    with tf.control_dependencies([tf.debugging.Assert(is_good, [label, overlap])]):
        return {**segment, records.LABEL_INDEX: tf.identity(label)}


def _decoded_bytes(count: int, manifest: Manifest) -> int:
    """Returns the size of decoded segments in memory."""
    recipe = manifest.recipe
    if manifest.features:
        return count * recipe.stretch_windows * manifest.features.values * 4
    samples = num_samples(recipe.stretch_windows)
    return count * samples * recipe.frame_height * recipe.frame_width * 3


def _cached(segments: tf.data.Dataset, recipe: Recipe, fits: bool) -> tf.data.Dataset:
    """Decodes segments here, once, if all fit into memory."""
    if not fits:
        return segments
    return segments.map(lambda segment: _decoded(segment, recipe), _PARALLEL).cache()


def _stream(segments: tf.data.Dataset, count: int, fits: bool, seed: int) -> tf.data.Dataset:
    """Shuffles and repeats segments."""
    return segments.shuffle(max(1, count) if fits else _SHUFFLE, seed).repeat()


def _around(
    segments: tf.data.Dataset, wanted: Callable[[tf.Tensor], tf.Tensor], stage: str
) -> tf.data.Dataset:
    """Returns each stretch once for each of its wanted windows, whose number is added.

    A segment is its only window: it is kept or left out.

    Args:
        segments: Records.
        wanted: Returns of labels whether windows of these labels are wanted.
        stage: Stage that is trained.
    """
    if stage != JOINT:  # Without a dataset for each record, reading is twice as fast.
        return segments.filter(lambda segment: wanted(segment[records.LABEL_INDEX]))

    def each(segment: dict[str, tf.Tensor]) -> tf.data.Dataset:
        windows = tf.where(wanted(_window_labels(segment[records.WINDOW_LABELS])))[:, 0]
        windows = tf.data.Dataset.from_tensor_slices(windows)
        return windows.map(lambda window: {**segment, _WINDOW: window})

    return segments.flat_map(each)


def _window_labels(labels: tf.Tensor) -> tf.Tensor:
    """Returns one label of each window, `[n]`: of several that of an action, if there is one.

    A window is background if it is for all classes.

    Args:
        labels: `[n]`, or `[n, K]` of a multi-label dataset.
    """
    if labels.shape.rank == 1:
        return labels
    highest, lowest = tf.reduce_max(labels, axis=1), tf.reduce_min(labels, axis=1)
    return tf.where(highest > 0, highest, lowest)


def _decoded(segment: dict[str, tf.Tensor], recipe: Recipe) -> dict[str, tf.Tensor]:
    """Decodes the JPEGs, if there are any, to uint8 `[T, frame_height, frame_width, 3]`."""
    if records.IMAGE_ENCODED not in segment:
        return segment
    frames = decode_frames(
        segment[records.IMAGE_ENCODED], recipe.shards.frame_height, recipe.shards.frame_width
    )
    rest = {key: value for key, value in segment.items() if key != records.IMAGE_ENCODED}
    return {**rest, "frames": frames}


def _example(
    segment: dict[str, tf.Tensor],
    stage: str,
    recipe: Recipe,
    features: Features | None,
    seed: tf.Tensor,
) -> tuple[dict[str, tf.Tensor], tf.Tensor | dict[str, tf.Tensor]]:
    """Returns a record as a network's input and its target, `[n, 2]`, or `[n, 6]` a head."""
    segment = _decoded(segment, recipe)
    if stage == JOINT:
        targets = segment[_PACKED]
    else:
        label = segment[records.LABEL_INDEX]
        label = tf.minimum(label, 1) if stage == "proposal" else label
        targets = pack_targets(label, segment[records.OVERLAP])[None]
    if features:
        inputs = {"features": _view(segment[records.WINDOW_FEATURES], features, seed)}
    else:
        inputs = {"frames": _augmented(segment["frames"], recipe, seed)}
    if recipe.window_input:
        inputs["window_frames"] = tf.cast(segment[records.WINDOW_FRAMES], tf.int32)
    return inputs, targets


_TARGETS = (records.WINDOW_LABELS, records.WINDOW_OVERLAPS, records.WINDOW_OFFSETS)


_WINDOW = "window"  # number of the window of a stretch that an example is cut around
_PACKED = "packed"  # the targets of an example's windows, for each head


def _part(
    segment: dict[str, tf.Tensor], recipe: Recipe, seed: int, number: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Cuts windows out of a stretch for a step, with the wanted one at a random place among them.

    A stretch with fewer windows, of a short video, is filled up: its last frame stands still, and
    the windows that it does not have are neither action nor background.
    """
    count, present = recipe.train_windows, tf.shape(segment[records.WINDOW_LABELS])[0]
    draw = tf.stack([seed + 1, number])
    before = tf.random.stateless_uniform([], draw, maxval=count, dtype=tf.int32)
    # So that a short stretch still has a window.
    most = tf.cast(num_samples(present), tf.float32) / SAMPLED_FRAMES
    has_features = records.WINDOW_FEATURES in segment  # They have their speed already.
    rate = tf.minimum(random_rate(1.0 if has_features else recipe.speed, draw), most)
    # In samples. At any rate, the wanted window keeps its middle.
    wanted, place = (
        tf.cast(SAMPLES_PER_STRIDE * window + SAMPLED_FRAMES // 2, tf.float32)
        for window in (tf.cast(segment[_WINDOW], tf.int32), before)
    )
    last = tf.cast(num_samples(present), tf.float32) - rate * num_samples(count)
    first = tf.round(tf.clip_by_value(wanted - rate * place, 0.0, tf.maximum(0.0, last)))
    if has_features:
        seen, samples = records.WINDOW_FEATURES, first / SAMPLES_PER_STRIDE + tf.range(float(count))
    else:
        seen = "frames" if "frames" in segment else records.IMAGE_ENCODED
        samples = first + rate * tf.range(float(num_samples(count)))
    samples = tf.minimum(tf.cast(samples, tf.int32), tf.shape(segment[seen])[0] - 1)
    stored = WindowTargets(*(segment[key] for key in _TARGETS))
    labels, overlaps, offsets = at_rate(stored, rate, first, count, recipe.shards)
    exists = first + rate * tf.cast(num_samples(1 + tf.range(count)), tf.float32)
    exists = exists <= tf.cast(num_samples(present), tf.float32) + 0.5
    exists = tf.reshape(exists, [-1] + [1] * (labels.shape.rank - 1))
    labels = tf.where(exists, labels, -1)
    targets = dict.fromkeys(HEADS, pack_targets(labels, overlaps, offsets))
    # The boundaries of an action are learned from any window that belongs to it, such as one
    # within a long action, which is background to the other heads.
    belongs = exists & ((labels > 0) | (overlaps < 1.0))
    targets["boundaries"] = pack_targets(belongs, overlaps, offsets)
    if labels.shape.rank > 1:  # An action of any class is a proposal; its overlap does not matter.
        window = _window_labels(labels)
        targets["proposal"] = pack_targets(window, tf.ones_like(window), tf.zeros([count, 2]))
    return {
        seen: tf.gather(segment[seen], samples),
        _PACKED: targets,
        records.WINDOW_FRAMES: tf.round(rate * tf.cast(segment[records.WINDOW_FRAMES], tf.float32)),
    }


def _counted(parts: dict, devices: int) -> dict:
    """Returns a batch of parts with the numbers of windows, of which the losses are means."""
    targets = {head: with_counts(packed, devices) for head, packed in parts[_PACKED].items()}
    return {**parts, _PACKED: targets}


def _view(values: tf.Tensor, features: Features, seed: tf.Tensor) -> tf.Tensor:
    """Returns the features of one view of a stretch's windows, drawn at random: `[n, …]`.

    Args:
        values: float32 `[n, M · F]`.
        features: Shape and number of the views.
        seed: Seed of the draw, int `[2]`.
    """
    views = tf.reshape(values, [-1, features.views, *features.shape])
    view = tf.random.stateless_uniform([], seed, maxval=features.views, dtype=tf.int32)
    return tf.ensure_shape(tf.gather(views, view, axis=1), [None, *features.shape])


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
    return tf.ensure_shape(frames, [None, recipe.crop, recipe.crop, 3])
