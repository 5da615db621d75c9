"""The graph of the paper's networks, which score segments one by one."""

import secrets
from collections.abc import Sequence

import keras
import tensorflow as tf

from scnn_tf.localization.scnn import SCNN
from scnn_tf.segments.windows import SAMPLED_FRAMES, STRIDES_PER_WINDOW
from scnn_tf.serving.bounds import MAX_FRAMES, MAX_SEGMENTS, bounded, checked
from scnn_tf.serving.graph import WARMUP_FRAMES, ServingGraph, Signature, finite

BATCH_SIZES = (1, 2, 4, 8, 16, 32)
"""Numbers of segments that the networks are run on; a batch is padded to the next of them."""

_BATCH_TIMEOUT_US = 2000  # longest time that a segment waits for a batch to fill
_WAITING_BATCHES = 128  # a request beyond them is answered UNAVAILABLE


class SegmentGraph(ServingGraph):
    """The signatures of a served model of two networks, proposal and localization.

    Requests for segments that arrive at the same time are scored together: a segment waits up to
    2 ms for others, whichever signature they use. This happens inside the graph, because a server
    that merged requests itself would also merge the frames of different videos.

    Args:
        model: A trained S-CNN with both networks.
        max_batch_size: Number of segments scored at a time, one of `BATCH_SIZES`.
    """

    def __init__(self, model: SCNN, max_batch_size: int):
        super().__init__(model, "window_frames" in model.localization.input)
        self.max_batch_size = max_batch_size
        self.batch_sizes = [size for size in BATCH_SIZES if size <= max_batch_size]
        self._together = tf.nondifferentiable_batch_function(
            num_batch_threads=2,
            max_batch_size=MAX_SEGMENTS,
            batch_timeout_micros=_BATCH_TIMEOUT_US,
            allowed_batch_sizes=self.batch_sizes,
            max_enqueued_batches=_WAITING_BATCHES,
            enable_large_batch_splitting=True,
        )(lambda frames, lengths: (self._action(frames, lengths), self._classes(frames, lengths)))
        # TensorFlow finds the queue by its name, and two versions in a server must not share it.
        self._queue = f"queue_{secrets.token_hex(8)}"

    def signatures(self) -> dict[str, Signature]:
        """Returns the signatures by name."""
        frames = tf.TensorSpec([None, SAMPLED_FRAMES, None, None, 3], tf.uint8, "frames")
        images = tf.TensorSpec([None, SAMPLED_FRAMES], tf.string, "images")
        examples = tf.TensorSpec([None], tf.string, "examples")
        video = tf.TensorSpec([None, None, None, 3], tf.uint8, "frames")
        chunk = tf.TensorSpec([None], tf.string, "images")
        scored_frames = tf.TensorSpec([], tf.int32, "scored_frames")
        length = [tf.TensorSpec([None], tf.int32, "window_frames")] if self.takes_length else []
        segments = [(size, SAMPLED_FRAMES) for size in self.batch_sizes]
        return {
            "serving_default": Signature(self.segments, [frames, *length], segments),
            "jpeg": Signature(self.jpeg, [images, *length], segments),
            "sequence_example": Signature(self.sequence_example, [examples], segments),
            "score_frames": Signature(self.score_frames, [video], [(WARMUP_FRAMES,)]),
            "score_stretch": Signature(
                self.score_stretch, [chunk, scored_frames], [(WARMUP_FRAMES,)]
            ),
            "localize": Signature(self.localize, [video], [(WARMUP_FRAMES,)]),
        }

    def segments(
        self, frames: tf.Tensor, window_frames: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """Scores segments.

        Args:
            frames: uint8 `[N, 16, H, W, 3]`, RGB, of any size.
            window_frames: int32 `[N]`, lengths of the segments, for networks that take them.

        Returns:
            proposal_score: float32 `[N]`, the score of being an action.
            class_scores: float32 `[N, K + 1]`, with a sum of 1; column 0 is background.
        """
        frames = bounded(frames, "segment", MAX_SEGMENTS)
        flat = tf.reshape(frames, tf.concat([[-1], tf.shape(frames)[2:]], axis=0))
        return self._scored(self._fitted(flat), window_frames)

    def jpeg(
        self, images: tf.Tensor, window_frames: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """Scores segments of encoded `images`, string `[N, 16]`; see `segments`."""
        images = bounded(images, "segment", MAX_SEGMENTS)
        return self._scored(self._decoded(tf.reshape(images, [-1])), window_frames)

    def sequence_example(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Scores the segments of shards, `examples`, string `[N]`; see `segments`."""
        examples = bounded(examples, "segment", MAX_SEGMENTS)
        images, window_frames = self._parsed(examples, SAMPLED_FRAMES)
        return self._scored(self._decoded(tf.reshape(images, [-1])), window_frames)

    def score_frames(self, frames: tf.Tensor) -> dict[str, tf.Tensor]:
        """Scores every window of a video that the proposal network keeps; see `ServingGraph`."""
        return self._rows(self._fitted(bounded(frames, "frame", MAX_FRAMES)), 0)

    def score_stretch(self, images: tf.Tensor, scored_frames: tf.Tensor) -> dict[str, tf.Tensor]:
        """Scores the windows of a chunk of a longer video; see `score_frames`.

        Args:
            images: string `[T]`, JPEG or PNG. The first frame's index in the video is a multiple
                of a quarter of the longest window.
            scored_frames: int32 `[]`; windows that end at or before this frame are left out,
                because they were in the chunk before.
        """
        return self._rows(self._decoded(bounded(images, "frame", MAX_FRAMES)), scored_frames)

    def _scored(self, frames: tf.Tensor, window_frames: tf.Tensor | None) -> dict[str, tf.Tensor]:
        """Returns the scores of segments whose frames, `[16 · N, crop, crop, 3]`, are in a row."""
        crop = self.info.recipe.crop
        frames = tf.reshape(frames, [-1, SAMPLED_FRAMES, crop, crop, 3])
        if window_frames is None:
            window_frames = tf.fill(
                tf.shape(frames)[:1], SAMPLED_FRAMES
            )  # the networks ignore them
        window_frames = checked(
            window_frames, tf.reduce_all(window_frames > 0), "window_frames must be positive"
        )
        with tf.name_scope(self._queue):
            action, classes = self._together(frames, window_frames)
        classes = tf.ensure_shape(classes, [None, len(self.info.class_names) + 1])
        return {
            "proposal_score": finite(tf.ensure_shape(action, [None]), "proposal"),
            "class_scores": finite(classes, "localization"),
        }

    def _rows(self, frames: tf.Tensor, scored_frames: tf.Tensor | int) -> dict[str, tf.Tensor]:
        """Cuts windows, and runs both networks on them in batches of bounded size.

        Args:
            frames: uint8 `[T, crop, crop, 3]`.
            scored_frames: Windows that end at or before this frame are left out.

        Returns:
            The columns of `ServingGraph.score_frames`.
        """
        rows = windows(tf.shape(frames)[0], self.info.recipe.shards.window_frames)
        rows = tf.boolean_mask(rows, tf.reduce_sum(rows, axis=1) > scored_frames)
        action = finite(self._in_batches(self._action, frames, rows, []), "proposal")
        kept = tf.where(action >= self.model.inference.proposal_threshold)[:, 0]
        rows, action = tf.gather(rows, kept), tf.gather(action, kept)
        start, length = tf.unstack(rows, axis=1)
        shape = [len(self.info.class_names) + 1]
        classes = finite(self._in_batches(self._classes, frames, rows, shape), "localization")
        return {
            "start_frame": tf.cast(start, tf.int64),
            "window_frames": length,
            "start_s": self._seconds(start),
            "end_s": self._seconds(start + length),
            "proposal_score": action,
            "class_scores": classes,
        }

    def _in_batches(
        self, scores_of, frames: tf.Tensor, rows: tf.Tensor, shape: list[int]
    ) -> tf.Tensor:
        """Returns the scores of all windows, `[S, *shape]`; one batch is cut at a time."""
        count = tf.shape(rows)[0]
        size = self.max_batch_size

        def score(begin: tf.Tensor, scores: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            places = tf.range(begin, tf.minimum(begin + size, count))
            in_batch = tf.size(places)
            # One segment alone would be a product of a matrix and a vector, which rounds otherwise
            # than the batches of local networks: it is scored twice.
            repeated = tf.range(tf.maximum(in_batch, min(2, size))) % in_batch
            batch = tf.gather(rows, tf.gather(places, repeated))
            start, length = batch[:, :1], batch[:, 1:]
            images = tf.gather(frames, start + tf.range(SAMPLED_FRAMES) * length // SAMPLED_FRAMES)
            values = scores_of(images, batch[:, 1])
            return begin + size, scores.scatter(places, values[:in_batch])

        scores = tf.TensorArray(tf.float32, size=count, element_shape=shape)
        _, scores = tf.while_loop(
            lambda begin, _: begin < count, score, (0, scores), parallel_iterations=1
        )
        return scores.stack()

    def _action(self, frames: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """Returns the proposal network's scores of being an action, float32 `[N]`."""
        return self._softmax(self.model.proposal, frames, lengths)[:, 1]

    def _classes(self, frames: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """Returns the localization network's class scores, float32 `[N, K + 1]`."""
        scores = self._softmax(self.model.localization, frames, lengths)
        if self.model.inference.mirror:
            mirrored = tf.reverse(frames, axis=[3])
            scores = (scores + self._softmax(self.model.localization, mirrored, lengths)) / 2
        return scores

    def _softmax(self, network: keras.Model, frames: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        inputs = {"frames": frames}
        if self.takes_length:
            inputs["window_frames"] = lengths
        return tf.nn.softmax(network(inputs, training=False))[:, 0]  # of one window


def windows(num_frames: tf.Tensor, window_frames: Sequence[int]) -> tf.Tensor:
    """Returns the windows of a video: `windows.sliding_windows` in the graph.

    Args:
        num_frames: int32 `[]`.
        window_frames: Lengths of the windows, in frames.

    Returns:
        int32 `[S, 2]`: start and length, by length, then by start.
    """
    parts = []
    for length in sorted(window_frames):
        last = tf.maximum(num_frames - length + 1, 0)
        starts = tf.range(0, last, length // STRIDES_PER_WINDOW)
        parts.append(tf.stack([starts, tf.fill(tf.shape(starts), length)], axis=1))
    whole = tf.stack([0, num_frames])[None]
    return tf.cond(num_frames < min(window_frames), lambda: whole, lambda: tf.concat(parts, axis=0))
