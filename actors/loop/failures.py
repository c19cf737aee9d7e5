"""How many responses failed, and why, in memory that does not grow with the length of a run."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from flow.score import Failure


class Counts(NamedTuple):
    """Numbers of responses."""

    num_responses: int
    """Including those that failed."""
    num_failures: int
    num_failures_by_deadline: int
    """Those that failed because a worker did not answer in time. They are not a random selection: long responses are
    late more often."""


class FailureTally:
    """Counts of all responses and of those that failed, with the most common reasons.

    Args:
        max_reasons: most different reasons to keep. Reasons name samples and times, so most of a long run's differ.
    """

    def __init__(self, max_reasons: int = 1000) -> None:
        self.num_responses = 0
        self.num_failures = 0
        self._num_by_deadline = 0
        self._max_reasons = max_reasons
        self._reasons: Counter[str] = Counter()
        self._reported = Counts(0, 0, 0)

    def add(self, num_responses: int, failures: Sequence[Failure], sample_id: str = "") -> None:
        """Count `num_responses`, including those that failed. All answer the sample `sample_id`, which is cut from
        the reasons."""
        self.num_responses += num_responses
        self.num_failures += len(failures)
        self._num_by_deadline += sum(failure.by_deadline for failure in failures)
        own = f"sample {sample_id}: "
        self._reasons.update(f"{failure.stage}: {failure.reason.removeprefix(own)}" for failure in failures)
        if len(self._reasons) > self._max_reasons:
            # Keep half, so that this happens rarely. A common reason is among them, or soon comes back.
            self._reasons = Counter(dict(self._reasons.most_common(self._max_reasons // 2)))

    @property
    def share(self) -> float:
        """Share of all responses that failed."""
        return self.num_failures / max(1, self.num_responses)

    def commonest(self, number: int) -> list[tuple[str, int]]:
        """Reasons with their counts, the most frequent first."""
        return self._reasons.most_common(number)

    def describe(self, number: int) -> str:
        """The most common reasons with their counts, one per line."""
        return "\n".join(f"  {count} × {reason}" for reason, count in self.commonest(number))

    def take_new(self) -> Counts:
        """Responses and failures since the last call."""
        before, self._reported = self._reported, Counts(self.num_responses, self.num_failures, self._num_by_deadline)
        return Counts(*(now - then for now, then in zip(self._reported, before, strict=True)))
