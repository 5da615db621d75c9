"""Bytes and pixels: files, URLs and video."""
