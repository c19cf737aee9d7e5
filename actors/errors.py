"""How a run's surroundings fail. Importing this needs no Ray."""


class ClusterError(ConnectionError):
    """Ray cannot be joined or started; the message says why, and what to do."""


class CoordinatorError(Exception):
    """A run under way did not do what it was asked; the message says why, for people."""


class RequestRefusedError(CoordinatorError):
    """The coordinator refused the request."""


class NoAnswerError(CoordinatorError):
    """The coordinator did not answer in time."""


class CoordinatorGoneError(CoordinatorError):
    """The coordinator's process has ended."""


class CoordinatorUnreachableError(CoordinatorGoneError):
    """The coordinator cannot be reached now; Ray does not know yet whether its process has ended."""
