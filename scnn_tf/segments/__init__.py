"""Candidate windows of a video, their labels, and the window-length prior."""
