"""The intervals of a video without their places in the file, for comparison."""

from scnn_tf.datasets.labels.labelled import LabelledVideo


def spans(video: LabelledVideo) -> list[tuple[str, float, float]]:
    return [(span.label, span.start, span.end) for span in video.spans]
