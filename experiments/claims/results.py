"""Results: a small file for each part, kept with the program, so that finished parts are not run again."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Self

from experiments.claims.plan import Part
from spatial.json_lines import read_lines
from spatial.whole_files import write_whole

PATHS = ("lor", "dtr")
_CURVE_KEYS = ("step", "lor/reward_mean", "dtr/reward_mean", "num_failures")


@dataclass(frozen=True)
class Result:
    """The measurements of a part."""

    key: str
    settings: str
    """`Part.settings`."""
    command: str
    seconds: float
    marks: dict[str, Any]
    """The phase's entry of summary.json, without the list of losses."""
    curve: list[dict[str, Any]]
    """For RL: the mean rewards of each step, by path."""

    @classmethod
    def of_run(cls, part: Part, command: str, folder: Path, seconds: float) -> Self:
        summary = json.loads((folder / "summary.json").read_text())[part.phase]
        metrics = folder / "metrics.jsonl"
        steps = read_lines(metrics) if part.phase == "rl" else []
        curve = [{key: step[key] for key in _CURVE_KEYS if key in step} for step in steps]
        return cls(part.key, part.settings, command, seconds, {k: v for k, v in summary.items() if k != "loss"}, curve)

    @classmethod
    def read(cls, file: Path) -> Self:
        return cls(**json.loads(file.read_text()))

    @classmethod
    def find(cls, part: Part, results: Path) -> Self | None:
        """The part's result; None if there is none with its current settings."""
        file = results / f"{part.key}.json"
        found = cls.read(file) if file.exists() else None
        return found if found is not None and found.settings == part.settings else None

    def write(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps(asdict(self), indent=1) + "\n")

    def right(self, path: str) -> float:
        """The share of right answers on a path, sampled."""
        return float(self.marks["paths"][path]["accuracy"])


@dataclass(frozen=True)
class Spread:
    """A mean over seeds with its standard deviation."""

    mean: float
    deviation: float
    num_seeds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        return cls(fmean(values), stdev(values) if len(values) > 1 else float("nan"), len(values))

    @property
    def is_clear(self) -> bool:
        """Whether the mean is further from 0 than the standard deviation."""
        return self.num_seeds > 1 and abs(self.mean) > self.deviation

    def __str__(self) -> str:
        spread = f" ± {100 * self.deviation:.1f}" if self.num_seeds > 1 else ""
        return f"{100 * self.mean:.1f}{spread}"

    @property
    def signed(self) -> str:
        """As `str`, with its sign."""
        return f"{'+' if self.mean >= 0 else '−'}{str(self).lstrip('-')}"
