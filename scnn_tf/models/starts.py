"""The weights that come with scnn_tf, from which training can start: the folders in `starts/`.

Each has the files of a trained network, and `provenance.json`, its card: what it learned from, the
command that made it, its licence and its figures.
"""

from pathlib import Path

from scnn_tf.io.files import AnyPath, PathLike, as_path

_FOLDER = Path(__file__).parent / "starts"


def start_names() -> tuple[str, ...]:
    """Returns the names of the weights that come with scnn_tf."""
    return tuple(sorted(path.name for path in _FOLDER.iterdir() if path.is_dir()))


def start_folder(place: PathLike) -> AnyPath:
    """Returns the folder of weights to start from.

    Args:
        place: A folder or URL; or a name of `start_names`, unless there is a folder of that name.
    """
    folder = as_path(place)
    is_name = str(place) in start_names() and not folder.is_dir()
    return _FOLDER / str(place) if is_name else folder
