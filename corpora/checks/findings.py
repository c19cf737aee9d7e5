"""What a check found in a file: how many samples it concerns, the first of them, and what to do."""

from dataclasses import dataclass, field
from typing import Protocol

from spatial.sample import SpatialSample

_NUM_NAMED = 3


@dataclass(frozen=True)
class Finding:
    """Something that a person should look at."""

    words: str
    """What was found, as the end of the sentence "3 of 40 …"."""
    remedy: str
    num: int
    num_checked: int
    """Number of samples that it could apply to."""
    sample_ids: tuple[str, ...]
    """Ids of the first samples."""
    is_wrong: bool = True
    """False: a note, not a fault."""

    def __str__(self) -> str:
        share = f"{self.num / self.num_checked:.1%}"
        named = f", such as {', '.join(self.sample_ids)}" if self.sample_ids else ""
        return f"{self.num:,} of {self.num_checked:,} ({share}) {self.words}{named}: {self.remedy}"


class Check(Protocol):
    """Sees every sample once, and reports its findings at the end."""

    def add(self, sample: SpatialSample) -> bool:
        """Whether this sample looks wrong by itself."""

    def findings(self) -> list[Finding]: ...


@dataclass
class Tally:
    """Counts for one possible finding."""

    words: str
    remedy: str
    is_wrong: bool = True
    num: int = 0
    num_checked: int = 0
    sample_ids: list[str] = field(default_factory=list)

    def add(self, sample_id: str, is_found: bool) -> bool:
        """Count a sample that the finding could apply to; returns `is_found`."""
        self.num_checked += 1
        self.num += is_found
        if is_found and len(self.sample_ids) < _NUM_NAMED and sample_id not in self.sample_ids:
            self.sample_ids.append(sample_id)
        return is_found

    def findings(self) -> list[Finding]:
        if not self.num:
            return []
        ids = tuple(self.sample_ids)
        return [Finding(self.words, self.remedy, self.num, self.num_checked, ids, self.is_wrong)]
