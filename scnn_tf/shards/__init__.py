"""Annotated videos to TFRecord shards to batches."""
