"""A video to scored segments to detections."""
