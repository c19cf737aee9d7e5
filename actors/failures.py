"""How many responses failed, and why, in memory that does not grow with the length of a run."""

from collections import Counter
from collections.abc import Sequence

from rewards.score import Failure


class FailureTally:
    """Counts of all responses and of those that failed, and the commonest reasons.

    Args:
        max_reasons: so many different ones are kept; reasons name samples and times, so most of a long run's differ.
    """

    def __init__(self, max_reasons: int = 1000) -> None:
        self.num_responses = 0
        self.num_failures = 0
        self._max_reasons = max_reasons
        self._reasons: Counter[str] = Counter()
        self._num_reported = 0

    def add(self, num_responses: int, failures: Sequence[Failure]) -> None:
        """Count `num_responses`, those that failed among them."""
        self.num_responses += num_responses
        self.num_failures += len(failures)
        self._reasons.update(f"{failure.stage}: {failure.reason}" for failure in failures)
        if len(self._reasons) > self._max_reasons:
            # Half of them, so that this is done rarely; a reason that is common comes back, or is not left out.
            self._reasons = Counter(dict(self._reasons.most_common(self._max_reasons // 2)))

    @property
    def share(self) -> float:
        """Of all responses, those that failed."""
        return self.num_failures / max(1, self.num_responses)

    def commonest(self, number: int) -> list[tuple[str, int]]:
        """Reasons with their counts, the most frequent first."""
        return self._reasons.most_common(number)

    def take_num_new(self) -> int:
        """Failures since the last call."""
        num_new, self._num_reported = self.num_failures - self._num_reported, self.num_failures
        return num_new
