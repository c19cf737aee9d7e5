"""How a run may end besides success and an error of its own."""


class Stopped(Exception):  # noqa: N818 - an outcome, not an error
    """The run was asked to stop (Ctrl-C), and did, after a checkpoint."""


class RunFailedError(Exception):
    """A part of the run raised an error; the message says which, doing what, and why."""


class RunLostError(Exception):
    """The coordinator died under the run: killed from outside, or out of memory. Its checkpoints are there."""
