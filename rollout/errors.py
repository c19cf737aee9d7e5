"""How the rollout side fails, and how any failure is written in one line.

All of these survive pickling, so they can cross a Ray call.
"""

from collections.abc import Mapping

# Longest message; a longer one is a listing, and belongs in a log.
_MAX_CHARACTERS = 600


def cause_of(error: BaseException) -> BaseException:
    """The error itself, without the groups and the wrappers of remote calls around it."""
    while True:
        inner = getattr(error, "cause", None)
        if isinstance(error, BaseExceptionGroup):
            inner = error.exceptions[0]
        if not isinstance(inner, BaseException):
            return error
        error = inner


def in_one_line(error: BaseException) -> str:
    """An error in one line: who failed doing what (its notes), its type, and its message.

    >>> in_one_line(ValueError("no\\n  room"))
    'ValueError: no room'
    """
    cause = cause_of(error)
    message = " ".join(str(cause).split())
    if len(message) > _MAX_CHARACTERS:
        message = f"{message[:_MAX_CHARACTERS]}…"
    # The latest note is of the outermost call.
    return ": ".join([*reversed(getattr(cause, "__notes__", [])), type(cause).__name__, *filter(None, [message])])


class RolloutTimeout(TimeoutError):  # noqa: N818 - reads as its base does
    """An engine did not answer within its deadline."""

    def __init__(self, engine: str, operation: str, seconds: float) -> None:
        super().__init__(engine, operation, seconds)
        self.engine = engine
        self.operation = operation
        self.seconds = seconds

    def __str__(self) -> str:
        return f"engine {self.engine}: '{self.operation}' did not finish within {self.seconds:g} s"


class EngineStartError(RuntimeError):
    """An engine cannot start; the message says why, in the words of the process that failed first."""


class TransferError(RuntimeError):
    """A weight transfer failed. Its group is unusable, and receivers may hold a mixture of old and new weights."""


class WorkersFailedError(TransferError):
    """Workers failed a step of a weight transfer; a new group must be formed before the next."""

    def __init__(self, step: str, causes: Mapping[str, str]) -> None:
        super().__init__(step, dict(causes))
        self.step = step
        self.causes = dict(causes)
        """What went wrong, by worker."""

    def __str__(self) -> str:
        listed = "; ".join(f"{name}: {cause}" for name, cause in self.causes.items())
        return f"weight transfer step '{self.step}' failed on {len(self.causes)} worker(s): {listed}"


class IncompleteUpdateError(TransferError):
    """A weight update lacks tensors, so that the engine would keep old values."""
