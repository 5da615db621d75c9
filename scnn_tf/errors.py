"""The one kind of error that a user can mend."""


class InputError(ValueError):
    """Bad input: a file, a flag or a value that the user gave.

    The message is one clear sentence: which file, what is wrong with it, what to do. The binaries
    print it and exit with a code other than 0; everything else that is raised is a bug of ours.
    """


class VideoError(InputError):
    """A video that cannot be used; the others of the same run can."""


class ServingError(InputError):
    """A model server that cannot be worked with; says its address, the model, why, what to do."""


class ModelNotFound(ServingError):
    """The server has no such model, or no such version of it."""


class InvalidRequest(ServingError):
    """The server refused what it was sent: the model is another one than was expected."""


class DeadlineExceeded(ServingError):
    """The server did not answer in time."""


class Unavailable(ServingError):
    """The server cannot be reached, or answers again and again that it is not ready."""
