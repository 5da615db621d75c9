"""Bounds on what a request may cost, as ops of the graph: they hold in whatever server runs it."""

import tensorflow as tf

MAX_SEGMENTS = 1024  # in a request
MAX_FRAMES = 4096  # in a request; a longer video is sent in chunks
MAX_PIXELS = 1 << 23  # of an encoded image; a 4K frame has 8.3 million
MAX_SCANS = 100  # of a JPEG; encoders write 1 to 20
MAX_COMPRESSED_TEXTS = 16  # texts and color profiles of a PNG; libpng inflates each to 8 MB
_PNG_SLACK = 1 << 16  # bytes; a PNG's pixels may be compressed badly, but not much worse than raw

_PNG_START = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR"  # libpng allows another first chunk
_PNG_CHANNELS = (1, 0, 3, 1, 2, 0, 4)  # by color type
_JPEG_SCAN, _JPEG_END = b"\xff\xda", b"\xff\xd9"


def checked(value: tf.Tensor, condition: tf.Tensor, message: str) -> tf.Tensor:
    """Returns the same value, or ends the request with INVALID_ARGUMENT.

    `tf.debugging.Assert` imposes no order: without the control dependency, the guarded op could run
    before the check. Ops that use the returned value run after it.
    """
    with tf.control_dependencies([tf.debugging.Assert(condition, [message])]):
        return tf.identity(value)


def bounded(items: tf.Tensor, kind: str, limit: int) -> tf.Tensor:
    """Returns the same segments or frames, if there are neither zero nor too many."""
    count = tf.shape(items)[0]
    items = checked(items, count > 0, f"a request has no {kind}")
    message = f"more than {limit} {kind}s in a request; send several requests"
    return checked(items, count <= limit, message)


def harmless(image: tf.Tensor) -> tf.Tensor:
    """Returns an image that decodes to the same, if decoding it costs little.

    Args:
        image: string `[]`, JPEG or PNG.
    """
    is_jpeg = tf.strings.substr(image, 0, 3) == b"\xff\xd8\xff"
    is_png = tf.strings.substr(image, 0, len(_PNG_START)) == _PNG_START
    is_png &= tf.strings.length(image) >= 33  # the end of IHDR
    image = checked(image, is_jpeg | is_png, "an image is neither JPEG nor PNG")
    return tf.cond(is_jpeg, lambda: _harmless_jpeg(image), lambda: _harmless_png(image))


def _harmless_jpeg(image: tf.Tensor) -> tf.Tensor:
    """Returns the JPEG up to its last allowed scan.

    Each scan of a progressive JPEG visits all pixels, even if it has no data. All else costs time
    in proportion to the bytes.

    FF DA begins a scan. The two bytes may also be in a thumbnail, a color profile, or behind the
    picture, so a count could refuse a good picture; one that is cut keeps all it needs.
    """
    image = _few_pixels(image, tf.image.extract_jpeg_shape(image)[:2])
    parts = tf.strings.split(image, _JPEG_SCAN, maxsplit=MAX_SCANS + 1)
    first = tf.strings.reduce_join(parts[: MAX_SCANS + 1], separator=_JPEG_SCAN)
    ends = tf.size(tf.strings.split(first, _JPEG_END, maxsplit=1)) > 1
    few = tf.size(parts) <= MAX_SCANS + 1
    return checked(first, few | ends, f"a JPEG has more than {MAX_SCANS} scans")


def _harmless_png(image: tf.Tensor) -> tf.Tensor:
    """Returns the PNG, if its compressed parts are no bombs.

    libpng inflates pixels to their end, even behind the last row, and every compressed text.
    """
    size = tf.io.decode_raw(tf.strings.substr(image, 16, 8), tf.int32, little_endian=False)
    image = _few_pixels(image, size)
    depth, color = tf.unstack(
        tf.cast(tf.io.decode_raw(tf.strings.substr(image, 24, 2), tf.uint8), tf.int64), num=2
    )
    width, height = tf.unstack(tf.cast(size, tf.int64), num=2)
    bits = width * depth * tf.gather(tf.constant(_PNG_CHANNELS, tf.int64), color)
    raw = height * (bits // 8 + 4)  # a row has a byte for its filter; an interlaced one, two rows

    # The big-endian length of a chunk is before its type. Real chunks are all found, so that chance
    # finds can only add. Less than 4 bytes would be a length that overlaps a chance find.
    before = tf.strings.split(image, b"IDAT")[:-1]
    lengths = tf.strings.length(before)
    before = checked(before, tf.reduce_all(lengths >= 4), "a PNG is damaged")
    compressed = tf.io.decode_raw(
        tf.strings.substr(before, lengths - 4, tf.fill(tf.shape(lengths), 4)),
        tf.int32,
        little_endian=False,
    )
    compressed = tf.reduce_sum(tf.abs(tf.cast(compressed, tf.int64)))
    message = "the pixels of a PNG are larger compressed than raw"
    image = checked(image, compressed <= raw + raw // 8 + _PNG_SLACK, message)

    without = tf.strings.regex_replace(image, "zTXt|iTXt|iCCP", "")
    texts = (tf.strings.length(image) - tf.strings.length(without)) // 4
    message = f"a PNG has more than {MAX_COMPRESSED_TEXTS} compressed texts"
    return checked(image, texts <= MAX_COMPRESSED_TEXTS, message)


def _few_pixels(image: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    small = tf.reduce_prod(tf.cast(size, tf.int64)) <= MAX_PIXELS
    message = f"an image has more than {MAX_PIXELS} pixels"
    return checked(image, small & tf.reduce_all(size > 0), message)
