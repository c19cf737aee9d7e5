"""Errors of the model side. Importing this needs no torch."""


class CheckpointError(ValueError):
    """A checkpoint cannot be used as it is; the message names the file and what is wrong with it."""
