"""Reader of the points in OSL JSON, version 2, the form of OpenSportsLib."""

from collections.abc import Iterator, Mapping

from scnn_tf.datasets.labels.labelled import LabelledVideo, other_form
from scnn_tf.datasets.labels.soccernet import event_point
from scnn_tf.errors import InputError
from scnn_tf.io.files import AnyPath, as_name


def is_osl(content: object) -> bool:
    """Returns whether the content of a JSON file is a list of samples, each with its inputs."""
    samples = content.get("data") if isinstance(content, dict) else None
    return isinstance(samples, list) and any(
        isinstance(each, dict) and "inputs" in each for each in samples
    )


def read_osl(path: AnyPath, content: Mapping, attribute: str | None) -> list[LabelledVideo]:
    """Reads the events of each sample; they hold for each of its videos, which are its views.

    A sample without `events` has not been labelled.

    Args:
        path: The file.
        content: Its content.
        attribute: The head whose labels are the classes; None: the only one that events have.

    Raises:
        InputError: The file has predictions, or the head is ambiguous.
    """
    metadata = content.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    if metadata.get("type") == "predictions":
        raise InputError(f"{path}: expected labels. Found: predictions, as its metadata say")
    heads = dict.fromkeys(
        str(event.get("head"))
        for sample in content["data"]
        for event in (sample.get("events") if isinstance(sample, dict) else None) or []
        if isinstance(event, dict)
    )
    if len(heads) > 1 and attribute not in heads:
        raise InputError(
            f"{path}: expected one head whose labels are the classes. Found: {', '.join(heads)}; "
            "name it (--attribute)"
        )
    head = attribute if len(heads) > 1 else next(iter(heads), "")
    subset = metadata["split"] if isinstance(metadata.get("split"), str) else ""
    videos = []
    for number, sample in enumerate(content["data"], start=1):
        where = f"sample {number}"
        try:
            videos.extend(_sampled(sample, head, subset, where))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            problem = f"{where}: {other_form('a sample of OSL JSON', error)}"
            videos.append(LabelledVideo("", problem=problem))
    return videos


def _sampled(sample: Mapping, head: str, subset: str, where: str) -> Iterator[LabelledVideo]:
    """Yields the videos of a sample with its events of a head."""
    files = [as_name(each["path"]) for each in sample["inputs"] if each.get("type") == "video"]
    spans = tuple(
        event_point(event, "position_ms", f"{where}, event {number}")
        for number, event in enumerate(sample.get("events") or [], start=1)
        if str(event.get("head")) == head
    )
    if not files:
        yield LabelledVideo("", problem=f"{where}: expected a video among its inputs. Found: none")
    for file in files:
        yield LabelledVideo(file, spans, subset=subset, labelled="events" in sample)
