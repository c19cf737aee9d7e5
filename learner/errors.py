"""Errors of a learner's start. Importing this needs no torch."""


class PortTakenError(RuntimeError):
    """Another process took the port that was chosen for the ranks, before they could use it."""
