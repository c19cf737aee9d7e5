"""All checks of samples."""

from corpora.checks.answers import AnswerCheck
from corpora.checks.findings import Check, Finding
from corpora.checks.frames import FrameCheck
from corpora.checks.texts import ChainCheck, LeakCheck, MarkCheck, RepeatCheck
from corpora.checks.units import UnitCheck
from spatial.images import ImageStore
from spatial.sample import SpatialSample


class CheckSuite:
    """Looks at samples, one after the other, for all that may be wrong with them."""

    def __init__(self, images: ImageStore) -> None:
        """
        Args:
            images: the store with their depth maps.
        """
        self._checks: tuple[Check, ...] = (
            FrameCheck(),
            UnitCheck(images),
            AnswerCheck(),
            MarkCheck(),
            ChainCheck(),
            LeakCheck(),
            RepeatCheck(),
        )

    def add(self, sample: SpatialSample) -> bool:
        """Look at a sample; returns whether it looks wrong by itself."""
        return any([check.add(sample) for check in self._checks])

    def findings(self) -> list[Finding]:
        """What looks wrong first, then what is only to be known."""
        found = [finding for check in self._checks for finding in check.findings()]
        return sorted(found, key=lambda finding: not finding.is_wrong)
