"""Measures how long after the end of an action its line comes, for each window length.

    python -m benchmarks.live --model_dir=M --videos=first.mp4,second.mp4 --seconds=300

feeds the frames of videos, one after the other, to `stream` of a model in real time. For each
window length, it prints the number of detections and the seconds from the end of an action to its
final and to its first provisional line, p50 and p99: `needed` by the method, which waits for
frames: the neighbors of a window, and later windows that may suppress the detection; and
`measured`, with the time that the networks take on this machine.
"""

import collections
import itertools
import time
from collections.abc import Iterable, Iterator

import numpy as np
from absl import flags

from benchmarks import measure
from scnn_tf.errors import InputError
from scnn_tf.io.video import read_frames
from scnn_tf.localization.live_nms import FINAL, PROVISIONAL
from scnn_tf.localization.sequences import Counted


def run() -> None:
    """Entry point."""
    model_dir = flags.DEFINE_string("model_dir", None, "Folder of a trained model.", required=True)
    videos = flags.DEFINE_list("videos", None, "Videos, played one after the other.", required=True)
    seconds = flags.DEFINE_float("seconds", 300.0, "Length of the stream, in seconds.", 1.0)

    def suite() -> dict:
        from scnn_tf.localization.scnn import load_scnn

        model = load_scnn(model_dir.value)
        shards, rate = model.info.recipe.shards, model.info.frame_rate
        size = shards.frame_height, shards.frame_width
        frames = itertools.chain.from_iterable(read_frames(v, rate, *size) for v in videos.value)
        frames = list(itertools.islice(frames, round(seconds.value * rate)))
        if len(frames) < seconds.value * rate:
            raise InputError(f"expected {seconds.value:g} s of video. Found: {len(frames) / rate}")
        list(model.stream(frames[:1000]))  # Everything is traced.
        return latencies(model, frames)

    measure.run(suite)


def latencies(model, frames: list[np.ndarray], speed: float = 1.0) -> dict:
    """Streams frames and returns the latencies of the detections, by window length.

    Args:
        model: A `Localizer`.
        frames: See `Localizer.score_frames`.
        speed: How much faster than real time they come.

    Returns:
        Window length in frames → "detections", and p50 and p99 of each latency, in seconds of the
        stream.
    """
    rate = model.info.frame_rate
    counted, began = Counted(_paced(frames, rate * speed)), time.monotonic()
    taken = collections.defaultdict(lambda: collections.defaultdict(list))
    for line in model.stream(counted, provisional=True):
        if line.status in (FINAL, PROVISIONAL):
            now = (time.monotonic() - began) * speed
            by_status = taken[line.window_frames]
            by_status[f"{line.status} needed"].append(counted.count / rate - line.end)
            by_status[f"{line.status} measured"].append(now - line.end)
    return {
        str(length): {
            "detections": len(by_status[f"{FINAL} needed"]),
            **{
                name: [round(float(value), 2) for value in np.percentile(by_status[name], (50, 99))]
                for name in sorted(by_status)
            },
        }
        for length, by_status in sorted(taken.items())
    }


def _paced(frames: Iterable[np.ndarray], rate: float) -> Iterator[np.ndarray]:
    """Yields each frame when it has been shown to its end."""
    began = time.monotonic()
    for number, frame in enumerate(frames, start=1):
        time.sleep(max(0.0, began + number / rate - time.monotonic()))
        yield frame


if __name__ == "__main__":
    run()
