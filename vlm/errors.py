"""Errors of the model side. Importing this needs no torch."""


class CheckpointError(ValueError):
    """A model folder or a checkpoint of training cannot be used; the message names the file and the problem."""
