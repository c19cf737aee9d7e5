"""The parts of the claims: for each seed, five cold starts and eight runs of reinforcement learning.

All use the demo's preset; a part changes only what its claim is about. All runs of reinforcement learning have the same
number of updates and responses, and all parts have the same test questions.
"""

import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from launch.settings.config import find_config

CONFIG = "demo"
# In all parts both paths are tested on the same region questions, from both families of scenes.
SHARED = ("data.scenes.both_paths=true", "data.test_families=[tabletop, room]")


@dataclass(frozen=True)
class Part:
    """One command, and the run folder with its results."""

    name: str
    seed: int
    phase: str
    """"cold_start" or "rl": the entry of the run's summary.json that is read."""
    title: str
    changes: tuple[str, ...] = ()
    """Settings that differ from the demo."""
    start: str = ""
    """For RL: the name of the cold start that it begins with."""

    @property
    def key(self) -> str:
        return f"seed-{self.seed}/{self.name}"

    @property
    def settings(self) -> str:
        """A digest of the preset and of this part's changes, to recognise results of other settings."""
        preset = find_config(CONFIG).read_text()
        return hashlib.sha256("\n".join([preset, *self.command(Path("runs"))]).encode()).hexdigest()[:16]

    def command(self, root: Path) -> list[str]:
        """The arguments of `sr-real`; runs are in `root`."""
        # One engine: parts run side by side, with one core each.
        run = [f"run={root / self.key}", f"seed={self.seed}", "rollout.num_workers=1"]
        if self.phase == "cold_start":
            return ["cold-start", "--config", CONFIG, *run, *SHARED, *self.changes]
        start = root / f"seed-{self.seed}" / self.start
        data = f"data={{type: files, folder: {start / 'data'}}}"
        model = start / "cold_start_model"
        return ["train", "--config", CONFIG, "--from", str(model), *run, data, *self.changes]


def shown(part: Part, root: Path) -> str:
    """The command as one would type it."""
    return shlex.join(["sr-real", *part.command(root)])


def chosen(seeds: Sequence[int], names: Sequence[str]) -> list[Part]:
    """The parts with these names, in this order, each for all seeds and after its cold start; (): all parts.

    Raises:
        ValueError: there is no part with such a name.
    """
    every = [part for seed in seeds for part in parts_of(seed)]
    known = {part.name: part.start for part in every}
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"no part is called {', '.join(unknown)}; there are {', '.join(known)}")
    wanted = [name for part in names for name in (known[part], part) if name] or list(known)
    ranks = {name: rank for rank, name in reversed(list(enumerate(wanted)))}
    picked = [part for part in every if part.name in ranks]
    return sorted(picked, key=lambda part: ranks[part.name]) if names else picked


def parts_of(seed: int) -> list[Part]:
    """One seed's parts, each after the parts that it needs."""

    def cold(name: str, title: str, *changes: str) -> Part:
        return Part(f"cold-{name}", seed, "cold_start", title, changes)

    def rl(name: str, start: str, title: str, *changes: str) -> Part:
        return Part(f"rl-{name}", seed, "rl", title, changes, f"cold-{start}")

    return [
        cold("full", "cold start, full blend"),
        rl("joint", "full", "RL on both paths"),
        rl("lor", "full", "RL on LOR only", "training.groups_per_step={lor: 40, dtr: 0}"),
        rl("dtr", "full", "RL on DTR only", "training.groups_per_step={lor: 0, dtr: 40}"),
        cold(
            "no-grounding",
            "cold start without grounding",
            "learner.sft.blend.grounding_3d=0",
            "learner.sft.blend.grounding_2d=0",
        ),
        rl("no-grounding", "no-grounding", "RL after no grounding"),
        cold("tenth", "cold start on a tenth of the data", "data.num_train_scenes=800"),
        rl("tenth", "tenth", "RL after a tenth of the data"),
        cold("wrong", "cold start with 30 % wrong chains", "data.scenes.wrong_chain_share=0.3"),
        rl("wrong", "wrong", "RL after wrong chains"),
        cold("tabletop", "cold start on tabletops only", "data.scenes.families=[tabletop]"),
        rl("tabletop", "tabletop", "RL on tabletops only"),
        rl(
            "no-center", "full", "RL without the centre reward", "rewards.dtr={accuracy: 0.9, format: 0.1, center: 0.0}"
        ),
    ]
