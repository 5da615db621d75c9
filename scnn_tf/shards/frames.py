"""Frames as tensors: decoding, resizing and cropping, the same in training and serving."""

import tensorflow as tf


def centre_crop(frames: tf.Tensor, crop: int) -> tf.Tensor:
    """Returns the center crop of frames, the networks' input at inference.

    For frames of 128 × 171 and a crop of 112, it starts at row 8 and column 29.

    Args:
        frames: `[..., H, W, 3]`.
        crop: Side of the crop, in pixels.

    Returns:
        `[..., crop, crop, 3]`.
    """
    top, left = (frames.shape[-3] - crop) // 2, (frames.shape[-2] - crop) // 2
    return frames[..., top : top + crop, left : left + crop, :]


def fit_frames(frames: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Resizes frames, unless they already have the size.

    Args:
        frames: uint8 `[T, H, W, 3]`.
        height: Height to resize to, in pixels.
        width: Width to resize to, in pixels.

    Returns:
        uint8 `[T, height, width, 3]`.
    """

    def resized() -> tf.Tensor:
        # One frame at a time: as floats, all frames could exceed the memory.
        return tf.map_fn(
            lambda frame: tf.cast(
                tf.image.resize(frame, [height, width], antialias=True), tf.uint8
            ),
            frames,
        )

    fits = tf.reduce_all(tf.shape(frames)[1:3] == [height, width])
    return tf.ensure_shape(
        tf.cond(fits, lambda: frames, resized), [frames.shape[0], height, width, 3]
    )


def decode_frames(
    images: tf.Tensor, height: int, width: int, dct_method: str = "INTEGER_FAST"
) -> tf.Tensor:
    """Decodes images and resizes those of another size.

    Args:
        images: string `[T]`, JPEG or PNG, each of any size.
        height: Height of the result, in pixels.
        width: Width of the result, in pixels.
        dct_method: "INTEGER_FAST", which is enough for JPEGs of quality 95, or "INTEGER_ACCURATE".

    Returns:
        uint8 `[T, height, width, 3]`.
    """

    def decoded(image: tf.Tensor) -> tf.Tensor:
        frame = tf.io.decode_jpeg(image, channels=3, dct_method=dct_method)
        return fit_frames(frame[None], height, width)[0]

    return tf.map_fn(
        decoded,
        images,
        fn_output_signature=tf.TensorSpec([height, width, 3], tf.uint8),
    )
