"""All checks of samples."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from corpora.checks.answers import AnswerCheck
from corpora.checks.findings import Check, Finding
from corpora.checks.frames import FrameCheck
from corpora.checks.texts import ChainCheck, LeakCheck, MarkCheck, RepeatCheck
from corpora.checks.units import UnitCheck
from spatial.images import ImageStore
from spatial.sample import SpatialSample

_MAX_DOMAINS = 100


class CheckSuite:
    """Runs all checks on samples, one after the other."""

    def __init__(self, images: ImageStore, more: Sequence[Check] = ()) -> None:
        """
        Args:
            images: the store with the samples' depth maps.
            more: checks beside the suite's own.
        """
        self._checks: tuple[Check, ...] = (
            _DomainChecks(FrameCheck),
            _DomainChecks(lambda: UnitCheck(images)),
            _DomainChecks(AnswerCheck),
            MarkCheck(),
            ChainCheck(),
            LeakCheck(),
            RepeatCheck(),
            *more,
        )

    def add(self, sample: SpatialSample) -> bool:
        """Check a sample; returns whether it looks wrong by itself."""
        return any([check.add(sample) for check in self._checks])

    def findings(self) -> list[Finding]:
        """Findings of faults first, then notes."""
        found = [finding for check in self._checks for finding in check.findings()]
        return sorted(found, key=lambda finding: not finding.is_wrong)


class _DomainChecks:
    """A separate check for each domain: samples of one origin share their frame and unit."""

    def __init__(self, make: Callable[[], Check]) -> None:
        self._make = make
        self._checks: dict[str, Check] = {}

    def add(self, sample: SpatialSample) -> bool:
        name = sample.domain if sample.domain in self._checks or len(self._checks) < _MAX_DOMAINS else "others"
        if name not in self._checks:
            self._checks[name] = self._make()
        return self._checks[name].add(sample)

    def findings(self) -> list[Finding]:
        found = [(domain, finding) for domain, check in self._checks.items() for finding in check.findings()]
        if len(self._checks) == 1:
            return [finding for _, finding in found]
        return [replace(finding, words=f"{finding.words} (domain {domain})") for domain, finding in found]
