"""The graph of an exported network: frames of one stretch to scores and boundaries."""

import keras
import tensorflow as tf

from scnn_tf.localization.scnn import JointSCNN, Localizer, joint_scores
from scnn_tf.models.recipes import JOINT
from scnn_tf.segments.windows import SAMPLED_FRAMES
from scnn_tf.serving.pictures import as_pictures
from scnn_tf.shards.frames import centre_crop


class EdgeNetwork(tf.Module):
    """A network with what is before and behind it: from the frames of a stretch to scores.

    Args:
        model: The trained S-CNN.
        name: "joint", "proposal" or "localization".
        network: That network, in the form that computes.

    Attributes:
        name: The name.
        score: TensorFlow function of the arguments
            frames: uint8 `[1, 16 + 4 (n - 1), frame_height, frame_width, 3]`, RGB; n is 1 except
                for a joint network.
            window_frames: int32 `[1]`, length of the windows; only of networks that take it.
            It returns a dict of float32 arrays: `proposal_score` `[n]` and `class_scores`
            `[n, K + 1]`, or one of them, and of a joint network `offsets` `[n, 2]`, of a
            multi-label one `[n, K, 2]`; see `localization.sequences.HeadOutputs`.
    """

    def __init__(self, model: Localizer, name: str, network: keras.Model):
        super().__init__(name)
        self._model = model
        self._takes_length = "window_frames" in network.input
        self._network = network
        self._weights = [weight.value for weight in self._network.weights]  # found by exporters
        shards = model.info.recipe.shards
        size = [shards.frame_height, shards.frame_width, 3]
        samples = None if name == JOINT else SAMPLED_FRAMES
        inputs = [tf.TensorSpec([1, samples, *size], tf.uint8, "frames")]
        if self._takes_length:
            inputs.append(tf.TensorSpec([1], tf.int32, "window_frames"))
        self.score = tf.function(self._score, input_signature=inputs)

    def _score(
        self, frames: tf.Tensor, window_frames: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        frames = centre_crop(frames, self._model.info.recipe.crop)
        outputs = self._outputs(frames, window_frames)
        if self._model.inference.mirror and self.name != "proposal":
            mirrored = self._outputs(tf.reverse(frames, axis=[3]), window_frames)
            outputs = {name: (outputs[name] + mirrored[name]) / 2 for name in outputs}
        return {name: tf.squeeze(output, axis=0) for name, output in outputs.items()}

    def _outputs(self, frames: tf.Tensor, window_frames: tf.Tensor | None) -> dict[str, tf.Tensor]:
        inputs = {"frames": frames}
        if self._takes_length:
            inputs["window_frames"] = window_frames
        outputs = self._network(inputs, training=False)
        if self.name == JOINT:
            multi_label = self._model.info.recipe.shards.multi_label
            action, classes = joint_scores(outputs, self._model.proposal, multi_label)
            return {
                "proposal_score": action,
                "class_scores": classes,
                "offsets": outputs["boundaries"],
            }
        scores = keras.ops.softmax(outputs)
        if self.name == "proposal":
            return {"proposal_score": scores[..., 1]}
        return {"class_scores": scores}


def edge_networks(model: Localizer, pictures: bool = True) -> list[EdgeNetwork]:
    """Returns the networks of a model: one with three heads, or proposal and localization.

    Args:
        model: The trained S-CNN.
        pictures: Whether they compute with operations on pictures, as interpreters can; else as
            they were trained.
    """
    if isinstance(model, JointSCNN):
        networks = {JOINT: model.network}
    else:
        networks = {"proposal": model.proposal, "localization": model.localization}
    return [
        EdgeNetwork(model, name, as_pictures(network) if pictures else network)
        for name, network in networks.items()
    ]
