"""Readers of the forms in which labelling tools export labels, a module a form."""
