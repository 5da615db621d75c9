"""Frames as tensors: decoding, resizing and cropping, shared by training and serving."""

import tensorflow as tf


def centre_crop(frames: tf.Tensor, crop: int) -> tf.Tensor:
    """Cuts the middle out of frames, as the networks see them when testing (row 8, column 29).

    Args:
        frames: `[..., H, W, 3]`.
        crop: pixels.

    Returns:
        `[..., crop, crop, 3]`.
    """
    top, left = (frames.shape[-3] - crop) // 2, (frames.shape[-2] - crop) // 2
    return frames[..., top : top + crop, left : left + crop, :]


def fit_frames(frames: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Resizes frames that are not of that size already.

    Args:
        frames: uint8 `[T, H, W, 3]`.
        height: pixels.
        width: pixels.

    Returns:
        uint8 `[T, height, width, 3]`.
    """

    def resized() -> tf.Tensor:
        # One at a time: as floats, all of them could fill the memory.
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


def decode_frames(images: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Decodes images, and resizes those that are not of that size.

    Args:
        images: string `[T]`, JPEG or PNG, each of any size.
        height: pixels.
        width: pixels.

    Returns:
        uint8 `[T, height, width, 3]`.
    """
    return tf.map_fn(
        lambda image: fit_frames(tf.io.decode_jpeg(image, channels=3)[None], height, width)[0],
        images,
        fn_output_signature=tf.TensorSpec([height, width, 3], tf.uint8),
    )
