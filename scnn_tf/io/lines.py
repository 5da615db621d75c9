"""Lines of text that are sent on one by one: to a file, or to a web server (a webhook)."""

import contextlib
import queue
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

import tenacity
from absl import logging

from scnn_tf.errors import InputError
from scnn_tf.io.files import PathLike, as_path, is_local

_MOST_WAITING = 10_000  # lines, while a server does not answer
_TIMEOUT_S = 10.0
_LAST_S = 30.0  # that a server may take for the lines that wait at the end


@contextlib.contextmanager
def line_writer(place: PathLike) -> Iterator[Callable[[str], None]]:
    """Gives a function that writes a line, without its end, which is there for readers at once.

    Args:
        place: A file, to which lines are added; or `http://…`, `https://…`, to which each line is
            posted as JSON. A server that does not answer is asked again, in order, while at most
            10,000 lines wait: the oldest are then given up.

    Raises:
        InputError: The place is another URL.
        OSError: The file cannot be written.
    """
    if is_local(place):
        with open(as_path(place), "a", encoding="utf-8", buffering=1) as file:
            yield lambda line: file.write(line + "\n")
    elif str(place).startswith(("http://", "https://")):
        with _Webhook(str(place)) as webhook:
            yield webhook.send
    else:
        raise InputError(f"expected a file, or a URL of http or https. Received: {place}")


class _Webhook:
    """A web server that gets lines, from a thread: a slow one delays nothing else."""

    def __init__(self, url: str):
        self._url, self._waiting = url, queue.Queue(_MOST_WAITING)
        self._latest = threading.Event()  # No time is left for another attempt.
        self._thread = threading.Thread(target=self._post_all, name="webhook", daemon=True)
        self._thread.start()

    def __enter__(self) -> "_Webhook":
        return self

    def __exit__(self, *exception) -> None:
        self.send(None)
        self._thread.join(_LAST_S)
        self._latest.set()
        if self._thread.is_alive():
            logging.error("webhook: %d lines could not be sent.", self._waiting.qsize())

    def send(self, line: str | None) -> None:
        """Takes a line to post; None ends the thread."""
        while True:
            try:
                return self._waiting.put_nowait(line)
            except queue.Full:
                with contextlib.suppress(queue.Empty):
                    self._waiting.get_nowait()
                    logging.error("webhook: too many lines wait; the oldest is given up.")

    def _post_all(self) -> None:
        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_is_temporary),
            wait=tenacity.wait_exponential(multiplier=0.25, max=_TIMEOUT_S),
            stop=tenacity.stop_when_event_set(self._latest),
            sleep=tenacity.sleep_using_event(self._latest),
            reraise=True,
        )
        while (line := self._waiting.get()) is not None:
            try:
                attempts(self._post, line)
            except (OSError, ValueError) as error:
                logging.error("webhook: a line could not be sent: %s.", error)

    def _post(self, line: str) -> None:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self._url, line.encode(), headers)
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            answer.read()


def _is_temporary(error: BaseException) -> bool:
    """Returns whether a server may answer later: it is lost or busy."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code >= 500 or error.code == 429
    return isinstance(error, OSError)
