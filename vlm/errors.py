"""Errors of the model side. Importing this needs no torch."""


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message names the file and the problem."""
