"""Ablations and the paper's experiments."""
