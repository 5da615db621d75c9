"""Pictures that cost much are refused; good pictures of every kind decode as without bounds."""

import io
import itertools
import re
import struct
import time
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from scnn_tf.serving.bounds import MAX_COMPRESSED_TEXTS, MAX_PIXELS, MAX_SCANS, harmless

PICTURE = np.random.default_rng(0).integers(0, 256, (24, 40, 4), np.uint8)
SCAN, END = b"\xff\xda", b"\xff\xd9"
SIGNATURE = b"\x89PNG\r\n\x1a\n"


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def decoded(image):
    return tf.io.decode_jpeg(harmless(image), channels=3)


def saved(picture, kind, **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def pil(mode):
    return Image.fromarray(PICTURE, "RGBA").convert(mode)


def jpeg(mode="RGB", **options):
    return saved(pil(mode), "jpeg", **options)


def chunk(kind, data):
    check = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + check


def ihdr(width, height, depth=8, color=2, interlace=0):
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlace))


def png(idat, *header, before=b"", after=b""):
    """A PNG of 8 × 8 pixels, RGB, unless `header` says otherwise."""
    parts = (ihdr(*(header or (8, 8))), before, chunk(b"IDAT", idat), after, chunk(b"IEND", b""))
    return SIGNATURE + b"".join(parts)


def segment(marker, data):
    return b"\xff" + marker + struct.pack(">H", len(data) + 2) + data


def after_soi(image, inserted):
    return image[:2] + inserted + image[2:]


def with_empty_scans(image, count):
    """A progressive JPEG whose last scan is repeated."""
    last = image[image.rindex(SCAN) : -2]
    return image[:-2] + count * last + END


SMALL = zlib.compress(bytes(8 * 25))  # 8 rows of a filter byte and 8 pixels
BOMB = zlib.compress(bytes(200_000_000), 9)  # 194 kB
RGB16 = np.random.default_rng(0).integers(0, 256, 24 * (40 * 6 + 1), np.uint8)
RGB16[:: 40 * 6 + 1] = 0  # the rows' filters
THUMBNAIL = jpeg(progressive=True)
FLAT = saved(Image.new("RGB", (64, 64), (90, 120, 50)), "jpeg", progressive=True)
# A chance FF DA in every 50 bytes: a color profile, or a video behind the picture.
RANDOM = bytes(48) + SCAN

GOOD = {
    "RGB": jpeg(),
    "gray": jpeg("L"),
    "CMYK, Adobe": jpeg("CMYK"),
    "noise, quality 100, 4:4:4": jpeg(quality=100, subsampling=0),
    "progressive": jpeg(progressive=True),
    "progressive CMYK": jpeg("CMYK", progressive=True),
    "restart markers": jpeg(restart_marker_blocks=1),
    "thumbnail": after_soi(jpeg(), segment(b"\xe1", b"Exif\0\0" + THUMBNAIL)),
    "large color profile": jpeg(icc_profile=90 * RANDOM + bytes(500_000)),
    "a video behind the picture": jpeg(progressive=True) + 5000 * RANDOM,
    "many pictures in one file": 50 * jpeg(progressive=True),
    "as many scans as are allowed": with_empty_scans(FLAT, MAX_SCANS - FLAT.count(SCAN)),
    "fill bytes": re.sub(SCAN, b"\xff\xff\xff\xda", jpeg(progressive=True)),
    "PNG": saved(pil("RGB"), "png"),
    "PNG, stored": saved(pil("RGB"), "png", compress_level=0),
    "PNG, Huffman only": saved(pil("RGB"), "png", compress_level=1, compress_type=4),
    "PNG, gray": saved(pil("L"), "png"),
    "PNG, gray and alpha": saved(pil("LA"), "png"),
    "PNG, RGBA": saved(pil("RGBA"), "png"),
    "PNG, palette": saved(pil("P"), "png"),
    "PNG, transparent palette": saved(pil("P"), "png", transparency=3),
    "PNG, 1 bit": saved(pil("1"), "png"),
    "PNG, 16 bits gray": saved(Image.fromarray(PICTURE[:, :, 0].astype(np.uint16) * 257), "png"),
    "PNG, 16 bits RGB": png(zlib.compress(RGB16.tobytes()), 40, 24, 16, 2),
    "PNG, one column": saved(Image.new("1", (1, 5000)), "png"),
    "PNG, color profile": saved(pil("RGB"), "png", icc_profile=bytes(PICTURE) * 100),
    "PNG, texts": png(SMALL, before=MAX_COMPRESSED_TEXTS * chunk(b"zTXt", b"k\0\0" + SMALL)),
    "PNG, large text": png(SMALL, after=chunk(b"tEXt", b"k\0" + 300_000 * b"a")),
    "PNG, EXIF": png(SMALL, after=chunk(b"eXIf", bytes(60_000))),
    "PNG, animated": saved(pil("RGB"), "png", save_all=True, append_images=[pil("RGB")] * 50),
    "PNG, in small chunks": SIGNATURE
    + ihdr(8, 8)
    + b"".join(chunk(b"IDAT", SMALL[i : i + 1]) for i in range(len(SMALL)))
    + chunk(b"IEND", b""),
}


@pytest.mark.parametrize("name", GOOD)
def test_good_pictures_decode_as_without_bounds(name):
    expected = tf.io.decode_jpeg(GOOD[name], channels=3)
    np.testing.assert_array_equal(decoded(tf.constant(GOOD[name])), expected)


@pytest.mark.parametrize("depth_and_color", [(8, 2), (8, 6), (16, 6), (1, 0), (2, 3)])
@pytest.mark.parametrize("size", [(1, 1), (5, 3), (33, 31), (1, 300)])
def test_interlaced_pictures_of_incompressible_pixels_are_small_enough(depth_and_color, size):
    depth, color = depth_and_color
    bits = depth * {0: 1, 2: 3, 3: 1, 6: 4}[color]
    random, rows = np.random.default_rng(0), []
    for left, top, right, down in (
        (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
        (0, 1, 1, 2),
    ):  # fmt: skip
        width, height = len(range(left, size[0], right)), len(range(top, size[1], down))
        if width:
            rows += [b"\0" + random.bytes((width * bits + 7) // 8) for _ in range(height)]
    palette = chunk(b"PLTE", bytes(12)) if color == 3 else b""
    picture = png(zlib.compress(b"".join(rows), 0), *size, depth, color, 1, before=palette)
    assert decoded(tf.constant(picture)).shape == (size[1], size[0], 3)


def overlapping():
    """A PNG in which a chance "IDAT" overlaps the length of the real one, which is "AT\\0\\0"."""
    private = (chunk(b"ruSt", struct.pack(">I", number)) for number in itertools.count())
    ends_in_id = next(found for found in private if found.endswith(b"ID"))
    return SIGNATURE + ihdr(8, 8) + ends_in_id + b"AT\0\0IDAT" + BOMB


TEXT_BOMB = b"k\0\0" + zlib.compress(bytes([65]) * 7_900_000, 9)
LARGE = (MAX_PIXELS // 2000 + 1, 2000)
BAD = {
    "empty": (b"", "neither JPEG nor PNG"),
    "GIF": (saved(pil("P"), "gif"), "neither JPEG nor PNG"),
    "BMP": (saved(pil("RGB"), "bmp"), "neither JPEG nor PNG"),
    "WebP": (saved(pil("RGB"), "webp"), "neither JPEG nor PNG"),
    "JPEG, three bytes": (b"\xff\xd8\xff", "JPEG"),
    "JPEG, too large": (saved(Image.new("L", LARGE), "jpeg"), "more than 8388608 pixels"),
    "JPEG, scans": (with_empty_scans(FLAT, 10_000), "more than 100 scans"),
    "JPEG, scans of one component": (with_empty_scans(jpeg(progressive=True), 101), "100 scans"),
    # Cut at the last allowed scan, it is incomplete.
    "JPEG, a false end": (
        with_empty_scans(after_soi(FLAT, segment(b"\xfe", END)), 10_000),
        "JPEG",
    ),
    "PNG, magic": (SIGNATURE, "neither JPEG nor PNG"),
    "PNG, half a header": (SIGNATURE + ihdr(8, 8)[:12], "neither JPEG nor PNG"),
    "PNG, only a header": (SIGNATURE + ihdr(8, 8), "PNG"),
    "PNG, another first chunk": (
        SIGNATURE + chunk(b"teST", ihdr(8, 8)[8:-4]) + png(SMALL)[8:],
        "neither JPEG nor PNG",
    ),
    "PNG, too large": (png(SMALL, *LARGE), "more than 8388608 pixels"),
    "PNG, no pixel": (png(SMALL, 0, 8), "more than 8388608 pixels"),
    "PNG, negative size": (png(SMALL, 2**32 - 1, 2**32 - 1), "more than 8388608 pixels"),
    "PNG, unknown color type": (png(SMALL, 8, 8, 8, 9), "is not in"),
    "PNG, pixels": (png(BOMB), "larger compressed than raw"),
    "PNG, interlaced pixels": (png(BOMB, 8, 8, 8, 2, 1), "larger compressed than raw"),
    "PNG, pixels in chunks": (
        SIGNATURE
        + ihdr(8, 8)
        + b"".join(chunk(b"IDAT", BOMB[i : i + 1000]) for i in range(0, len(BOMB), 1000)),
        "larger compressed than raw",
    ),
    "PNG, a length beyond its end": (
        SIGNATURE + ihdr(8, 8) + b"\x7f\xff\xff\xffIDAT" + BOMB,
        "larger compressed than raw",
    ),
    "PNG, lengths whose sum is small": (
        png(BOMB, before=chunk(b"teST", struct.pack(">i", -len(BOMB)) + b"IDAT")),
        "larger compressed than raw",
    ),
    "PNG, overlapping names": (overlapping(), "damaged"),
    "PNG, texts": (png(SMALL, before=900 * chunk(b"zTXt", TEXT_BOMB)), "compressed texts"),
    "PNG, international texts": (
        png(SMALL, after=900 * chunk(b"iTXt", b"k\0\1\0\0\0" + TEXT_BOMB[3:])),
        "compressed texts",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_pictures_are_invalid_arguments_at_once(name):
    image, message = BAD[name]
    began = time.process_time()
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        decoded(tf.constant(image))
    assert time.process_time() - began < 1
