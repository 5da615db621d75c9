"""Annotated videos: the file formats, the challenges and the labelling tools."""
