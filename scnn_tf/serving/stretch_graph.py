"""The graph of one network with three heads, which scores stretches: windows that share frames."""

import tensorflow as tf

from scnn_tf.localization.scnn import JointSCNN, joint_scores
from scnn_tf.localization.sequences import SequenceScorer
from scnn_tf.segments.labels import LEAST_TIOU
from scnn_tf.segments.stretches import SAMPLES_PER_STRIDE, num_samples
from scnn_tf.segments.windows import SAMPLED_FRAMES, STRIDES_PER_WINDOW
from scnn_tf.serving.bounds import MAX_FRAMES, bounded, checked
from scnn_tf.serving.graph import WARMUP_FRAMES, ServingGraph, Signature, finite


class StretchGraph(ServingGraph):
    """The signatures of a served model of one network with three heads.

    The network is run on one stretch after another, like locally. Nothing is merged: requests bring
    stretches of different lengths, and a long stretch keeps all cores busy by itself.

    Args:
        model: A trained network with three heads.
    """

    def __init__(self, model: JointSCNN):
        super().__init__(model, "window_frames" in model.network.input)
        self.network = model.network
        self.sequences = model.sequences

    def signatures(self) -> dict[str, Signature]:
        """Returns the signatures by name."""
        frames = tf.TensorSpec([None, None, None, None, 3], tf.uint8, "frames")
        images = tf.TensorSpec([None, None], tf.string, "images")
        examples = tf.TensorSpec([None], tf.string, "examples")
        video = tf.TensorSpec([None, None, None, 3], tf.uint8, "frames")
        length = [tf.TensorSpec([None], tf.int32, "window_frames")] if self.takes_length else []
        stretches = [(1, SAMPLED_FRAMES), (1, num_samples(self.sequences.part_windows))]
        return {
            "serving_default": Signature(self.stretches, [frames, *length], stretches),
            "jpeg": Signature(self.jpeg, [images, *length], stretches),
            "sequence_example": Signature(self.sequence_example, [examples], stretches),
            "score_frames": Signature(self.score_frames, [video], [(WARMUP_FRAMES,)]),
            "localize": Signature(self.localize, [video], [(WARMUP_FRAMES,)]),
        }

    def stretches(
        self, frames: tf.Tensor, window_frames: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """Scores the windows of stretches.

        Args:
            frames: uint8 `[N, 16 + 4 (n - 1), H, W, 3]`, RGB, of any size; n at most the number of
                windows of a part.
            window_frames: int32 `[N]`, lengths of the windows, for networks that take them.

        Returns:
            proposal_score: float32 `[N, n]`, the score of being an action.
            class_scores: float32 `[N, n, K + 1]`, with the proposal score as their sum; column 0,
                background, is 0. Without proposal scores (`JointSCNN.proposal`), those of the class
                head, with a sum of 1.
            offsets: float32 `[N, n, 2]`, from the window's start to the action's, and from its end
                to the action's, in window lengths; of a multi-label network, `[N, n, K, 2]`.
        """
        frames = self._bounded(frames)
        flat = tf.reshape(frames, tf.concat([[-1], tf.shape(frames)[2:]], axis=0))
        return self._scored(self._fitted(flat), tf.shape(frames)[1], window_frames)

    def jpeg(
        self, images: tf.Tensor, window_frames: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """Scores stretches of encoded `images`, string `[N, 16 + 4 (n - 1)]`; see `stretches`."""
        images = self._bounded(images)
        decoded = self._decoded(tf.reshape(images, [-1]))
        return self._scored(decoded, tf.shape(images)[1], window_frames)

    def sequence_example(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Scores stretches of shards, `examples`, string `[N]`, of n windows; see `stretches`."""
        examples = bounded(examples, "stretch", MAX_FRAMES // SAMPLED_FRAMES)
        return self.jpeg(*self._parsed(examples, None))

    def score_frames(self, frames: tf.Tensor) -> dict[str, tf.Tensor]:
        """Scores every window of a video, part by part; see `ServingGraph`.

        Of a multi-label network, a window has a row for each class whose score is high enough; the
        scores of the other classes are 0 in it.

        Returns:
            Also offsets, float32 `[S, 2]`, and action_start_s and action_end_s, float64 `[S]`: the
            times of the action, within the video.
        """
        frames = self._fitted(bounded(frames, "frame", MAX_FRAMES))
        num_frames = tf.shape(frames)[0]
        table = parts(num_frames, self.sequences)
        classes = len(self.info.class_names) + 1
        columns = {
            name: tf.TensorArray(
                dtype, tf.shape(table)[0], infer_shape=False, element_shape=[None, *shape]
            )
            for name, dtype, shape in (
                ("start", tf.int32, []),
                ("length", tf.int32, []),
                ("proposal_score", tf.float32, []),
                ("class_scores", tf.float32, [classes]),
                ("offsets", tf.float32, [2]),
            )
        }

        def score(place: tf.Tensor, columns: dict) -> tuple[tf.Tensor, dict]:
            start, length, count, first, last = tf.unstack(table[place], num=5)
            samples = start + tf.range(num_samples(count)) * length // SAMPLED_FRAMES
            outputs = self._outputs(tf.gather(frames, samples), length)
            outputs = {name: output[first:last] for name, output in outputs.items()}
            kept, rows = self._kept(outputs)
            number = first + tf.cast(kept, tf.int32)
            rows["start"] = start + number * (length // STRIDES_PER_WINDOW)
            rows["length"] = tf.fill(tf.shape(number), length)
            return place + 1, {name: c.write(place, rows[name]) for name, c in columns.items()}

        _, columns = tf.while_loop(
            lambda place, _: place < tf.shape(table)[0], score, (0, columns), parallel_iterations=1
        )
        rows = {name: column.concat() for name, column in columns.items()}
        start, length, offsets = rows["start"], rows["length"], rows["offsets"]
        action_start, action_end = actions(start, length, offsets, num_frames)
        return {
            "start_frame": tf.cast(start, tf.int64),
            "window_frames": length,
            "start_s": self._seconds(start),
            "end_s": self._seconds(start + length),
            "action_start_s": self._seconds(action_start),
            "action_end_s": self._seconds(action_end),
            "proposal_score": rows["proposal_score"],
            "class_scores": rows["class_scores"],
            "offsets": offsets,
        }

    def _kept(self, outputs: dict[str, tf.Tensor]) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Returns the rows of windows: `SequenceScorer.kept` in the graph.

        Args:
            outputs: What `stretches` gives for a stretch of n windows.

        Returns:
            Number of the window of each row, int64 `[S]`, and proposal_score `[S]`, class_scores
            `[S, K + 1]` and offsets `[S, 2]`.
        """
        threshold = self.sequences.proposal_threshold
        kept = outputs["proposal_score"] >= threshold
        if not self.info.recipe.shards.multi_label:
            kept = tf.where(kept)[:, 0]
            return kept, {name: tf.gather(output, kept) for name, output in outputs.items()}
        scores = outputs["class_scores"][:, 1:]
        pairs = tf.where(kept[:, None] & (scores >= threshold))
        kept = pairs[:, 0]
        of_class = tf.one_hot(pairs[:, 1] + 1, scores.shape[1] + 1)
        return kept, {
            "proposal_score": tf.gather(outputs["proposal_score"], kept),
            "class_scores": tf.gather_nd(scores, pairs)[:, None] * of_class,
            "offsets": tf.gather_nd(outputs["offsets"], pairs),
        }

    def _bounded(self, stretches: tf.Tensor) -> tf.Tensor:
        """Returns the same stretches, `[N, T, …]`, if number and length of them are allowed."""
        stretches = bounded(stretches, "stretch", MAX_FRAMES // SAMPLED_FRAMES)
        count, frames = tf.unstack(tf.shape(stretches)[:2], num=2)
        most = num_samples(self.sequences.part_windows)
        fits = (frames >= SAMPLED_FRAMES) & (frames % SAMPLES_PER_STRIDE == 0) & (frames <= most)
        message = f"a stretch of n windows has 16 + 4 (n - 1) frames, and at most {most}"
        stretches = checked(stretches, fits, message)
        message = f"more than {MAX_FRAMES} frames in a request; send several requests"
        return checked(stretches, count * frames <= MAX_FRAMES, message)

    def _scored(
        self, frames: tf.Tensor, num_frames: tf.Tensor, window_frames: tf.Tensor | None
    ) -> dict[str, tf.Tensor]:
        """Returns the scores of stretches of `num_frames` frames each, which are in a row."""
        crop, classes = self.info.recipe.crop, len(self.info.class_names) + 1
        frames = tf.reshape(frames, [-1, num_frames, crop, crop, 3])
        if window_frames is None:  # the network ignores them
            window_frames = tf.fill(tf.shape(frames)[:1], SAMPLED_FRAMES)
        fits = tf.shape(window_frames)[0] == tf.shape(frames)[0]
        message = "window_frames must be positive, one for each stretch"
        window_frames = checked(window_frames, fits & tf.reduce_all(window_frames > 0), message)
        return tf.map_fn(
            lambda stretch: self._outputs(*stretch),
            (frames, window_frames),
            fn_output_signature={
                "proposal_score": tf.TensorSpec([None], tf.float32),
                "class_scores": tf.TensorSpec([None, classes], tf.float32),
                "offsets": tf.TensorSpec(self.network.output["boundaries"].shape[1:], tf.float32),
            },
            parallel_iterations=1,
        )

    def _outputs(self, frames: tf.Tensor, length: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns what the network gives for a stretch, uint8 `[T, crop, crop, 3]`."""

        def run(frames: tf.Tensor) -> dict[str, tf.Tensor]:
            inputs = {"frames": frames[None]}
            if self.takes_length:
                inputs["window_frames"] = length[None]
            outputs = self.network(inputs, training=False)
            multi_label = self.info.recipe.shards.multi_label
            action, classes = joint_scores(outputs, self.model.proposal, multi_label)
            return {
                "proposal_score": action[0],
                "class_scores": classes[0],
                "offsets": outputs["boundaries"][0],
            }

        outputs = run(frames)
        if self.model.inference.mirror:
            mirrored = run(tf.reverse(frames, axis=[2]))
            outputs = {name: (outputs[name] + mirrored[name]) / 2 for name in outputs}
        return {name: finite(output, "joint") for name, output in outputs.items()}


def parts(num_frames: tf.Tensor, sequences: SequenceScorer) -> tf.Tensor:
    """Returns the parts of a video's sequences: `stretches.stream_parts` in the graph.

    Args:
        num_frames: int32 `[]`, at least 1.
        sequences: Lengths of the windows, and sizes of a part and of its context.

    Returns:
        int32 `[P, 5]`, by window length, then by start: first frame, window length and number of
        windows of a part, number of its first judged window, and number after its last one.
    """
    count, context = sequences.part_windows, sequences.context_windows
    moved = count - 2 * context  # windows from the start of a part to that of the next one
    tables = []
    for length in sorted(sequences.window_frames):
        stride = length // STRIDES_PER_WINDOW
        windows = tf.maximum((num_frames - length) // stride + 1, 0)
        # A full part is followed by another one, if the video does not end with it.
        behind = num_frames - length - (count - 1) * stride
        full = tf.maximum(-(-behind // (moved * stride)), 0)
        part = tf.range(tf.where(windows > 0, full + 1, 0))
        size = tf.minimum(count, windows - part * moved)
        first = tf.where(part > 0, context, 0)
        last = tf.where(part < full, count - context, size)
        start = part * moved * stride
        tables.append(tf.stack([start, tf.fill(tf.shape(part), length), size, first, last], axis=1))
    whole = tf.stack([0, num_frames, 1, 0, 1])[None]
    short = num_frames < min(sequences.window_frames)
    return tf.cond(short, lambda: whole, lambda: tf.concat(tables, axis=0))


def actions(
    start: tf.Tensor, length: tf.Tensor, offsets: tf.Tensor, num_frames: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the actions in windows: `sequences.actions` in the graph, to the last digit.

    Args:
        start: int32 `[S]`, first frames of windows.
        length: int32 `[S]`, in frames.
        offsets: float32 `[S, 2]`, in window lengths.
        num_frames: int32 `[]`, length of the video.

    Returns:
        Start and end of each action, float64 `[S]`, in frames.
    """
    start, end, length, offsets, last = (
        tf.cast(values, tf.float64)
        for values in (start, start + length, length, offsets, num_frames)
    )
    action_start, action_end = start + length * offsets[:, 0], end + length * offsets[:, 1]
    inside = tf.minimum(end, action_end) - tf.maximum(start, action_start)
    around = tf.maximum(end, action_end) - tf.minimum(start, action_start)
    far = inside < LEAST_TIOU * around
    action_start = tf.clip_by_value(tf.where(far, start, action_start), 0, last)
    return action_start, tf.clip_by_value(tf.where(far, end, action_end), 0, last)
