"""How a run can end, apart from success and errors of the program."""


class Stopped(Exception):  # noqa: N818 - an outcome, not an error
    """The run was asked to stop (Ctrl-C), and did, after a checkpoint."""


class RunFailedError(Exception):
    """A part of the run raised an error; the message says which, doing what, and why."""


class RunLostError(Exception):
    """The coordinator died during the run: killed from outside, or out of memory. The checkpoints are still there."""
