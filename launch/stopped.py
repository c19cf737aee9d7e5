"""The one outcome of a run that is neither success nor failure."""


class Stopped(Exception):  # noqa: N818 - an outcome, not an error
    """The run was asked to stop (Ctrl-C), and did, after a checkpoint."""
