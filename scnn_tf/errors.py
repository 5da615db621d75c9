"""The errors that a user can fix."""


class InputError(ValueError):
    """Bad input: a file, a flag or a value that the user gave.

    The message is one clear sentence: which file, what is wrong with it, what to do. The binaries
    print it and exit with a code other than 0; everything else that is raised is a bug of ours.

    Example:
        >>> try:
        ...     scnn_tf.read_annotations("none.json")
        ... except scnn_tf.InputError as error:
        ...     print(error)
        none.json: no such file or folder of annotations
    """


class VideoError(InputError):
    """A video that cannot be used; the other videos of the same run can.

    Example:
        >>> model = scnn_tf.load_scnn("model")
        >>> try:
        ...     model.localize("annotations.json")
        ... except scnn_tf.VideoError as error:
        ...     print("skipped:", error)
    """
