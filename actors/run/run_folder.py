"""A run is a folder; this is the one place that knows its layout.

owner.json          locked while a command works in the folder: which command, where, since when
config.json         the resolved config that the run began with; written once
starts.jsonl        one object per command that was started here: when, which, and what it changed in the config
metrics.jsonl       one object per step
trajectories/       step-000001.jsonl …: the responses that were trained on or filtered out (training.record_share)
groups.jsonl        one object per recorded group: its question, its rewards, and where its responses are
timeline.jsonl      one object per step: what each loop did, and when
tokenizer.json      the policy's, so that responses can be shown token by token
checkpoints/        training state; see learner/checkpoint_store.py
data/               train.jsonl, validation.jsonl, test.jsonl, and their images
images/             the image store (a link into the data)
left_out.jsonl      samples of the data that cannot be used with the run's settings, and why
base_model/         a tiny model's first weights
cold_start_metrics.jsonl  one object per step of the cold start
cold_start_checkpoints/   training state of the cold start
cold_start_model/   the model after the cold start (a Hugging Face folder)
final_model/        the model after reinforcement learning (a Hugging Face folder)
evaluations/        cold_start.jsonl, rl.jsonl: every held-out response; a folder for each `sr-real evaluate`;
                    images/: the benchmarks' images, which do not belong to the run's data
summary.json        results before and after reinforcement learning
summary.png         the same as a picture
centers.png         a picture of where detected centres lie
error.txt           the whole traceback of the last failure
coordinator.json    while the run is under way: where its coordinator is
dashboard.json      while the run is under way: where its page is, and the token; only its owner may read it
earlier/001/ …      what an earlier run in this folder left: metrics, trajectories, checkpoints, and the config.json and
                    starts.jsonl that they were made with
"""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from actors.run.line_files import append, keep_steps, replace
from actors.run.records import group_entry, group_lines
from evaluation.held_out_report import ScoredResponse
from flow.group import Group
from spatial.json_lines import read_lines, read_object, to_json

_log = logging.getLogger(__name__)


class LeftOut(NamedTuple):
    """A sample that the run does not use."""

    split: str
    sample_id: str
    why: str


class RunFolder:
    """Paths of a run's folder, and the reading and writing of its files.

    Large because it has an attribute for each path.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self.owner = self.root / "owner.json"
        self.config = self.root / "config.json"
        self.starts = self.root / "starts.jsonl"
        self.error = self.root / "error.txt"
        self.coordinator = self.root / "coordinator.json"
        self.dashboard = self.root / "dashboard.json"
        self.metrics = self.root / "metrics.jsonl"
        self.trajectories = self.root / "trajectories"
        self.groups = self.root / "groups.jsonl"
        self.timeline = self.root / "timeline.jsonl"
        self.tokenizer = self.root / "tokenizer.json"
        self.checkpoints = self.root / "checkpoints"
        self.images = self.root / "images"
        self.data = self.root / "data"
        self.left_out = self.root / "left_out.jsonl"
        self.base_model = self.root / "base_model"
        self.cold_start_checkpoints = self.root / "cold_start_checkpoints"
        self.cold_start_metrics = self.root / "cold_start_metrics.jsonl"
        self.cold_start_model = self.root / "cold_start_model"
        self.final_model = self.root / "final_model"
        self.summary = self.root / "summary.json"
        self.evaluations = self.root / "evaluations"
        self.benchmark_images = self.evaluations / "images"
        self.image_stores = (self.images, self.benchmark_images)
        self.centers_picture = self.root / "centers.png"
        self.picture = self.root / "summary.png"
        self.earlier = self.root / "earlier"

    @property
    def of_steps(self) -> tuple[Path, ...]:
        """What each step of reinforcement learning writes."""
        return self.metrics, self.trajectories, self.groups, self.timeline

    @property
    def of_training(self) -> tuple[Path, ...]:
        """What reinforcement learning writes."""
        return *self.of_steps, self.checkpoints, self.final_model

    @property
    def of_cold_start(self) -> tuple[Path, ...]:
        """What the cold start writes."""
        return self.cold_start_metrics, self.cold_start_checkpoints, self.cold_start_model

    @property
    def own_paths(self) -> tuple[Path, ...]:
        """Everything that a run writes into its folder."""
        return tuple(path for path in vars(self).values() if isinstance(path, Path) and path.parent == self.root)

    @property
    def is_trained(self) -> bool:
        """Whether a command that trains has left something here."""
        return self.holds_any(*self.of_cold_start, *self.of_training)

    def create(self) -> None:
        for folder in (self.root, self.trajectories, self.checkpoints):
            folder.mkdir(parents=True, exist_ok=True)
        self.owner.touch()

    @staticmethod
    def holds_any(*paths: Path) -> bool:
        """Whether one of `paths` is a file, or a folder with something in it."""
        return any(path.is_file() or (path.is_dir() and any(path.iterdir())) for path in paths)

    def set_aside(self, *paths: Path) -> Path | None:
        """Move what an earlier run left at `paths` under `earlier/`, so that a new run does not add to it.

        Returns:
            Where it is now; None if there was nothing.
        """
        left = [path for path in paths if self.holds_any(path)]
        if not left:
            return None
        numbers = [int(path.name) for path in self.earlier.glob("*") if path.name.isdigit()]
        target = self.earlier / f"{max(numbers, default=0) + 1:03d}"
        target.mkdir(parents=True)
        for path in left:
            path.rename(target / path.name)
        self.create()
        return target

    def write_config(self, text: str) -> None:
        """Write the config that the run begins with; there must be none yet."""
        if self.config.exists():
            raise FileExistsError(f"{self.config}: a run's first config is written once")
        replace(self.config, [text])

    def read_config(self) -> dict[str, Any] | None:
        """The config that the run is trained with now: the first one with the changes of later starts; None: the folder
        has none.

        Raises:
            ValueError: the file is damaged, or not a config of a run.
        """
        if not self.config.exists():
            return None
        content = json.loads(self.config.read_text())
        if not isinstance(content, dict) or "training" not in content:
            raise ValueError("it is not a config of a run")
        for start in read_lines(self.starts):
            for change in start.get("changes", ()):
                _lay_over(content, change)
        return content

    def append_start(self, start: Mapping[str, object]) -> None:
        append(self.starts, [start])

    def write_left_out(self, samples: Iterable[LeftOut]) -> None:
        replace(self.left_out, (json.dumps(sample._asdict()) + "\n" for sample in samples))

    def left_out_of(self, split: str) -> frozenset[str]:
        """Ids of the samples of "train", "validation" or "test" that the run does not use."""
        return frozenset(row["sample_id"] for row in read_lines(self.left_out) if row["split"] == split)

    def append_metrics(self, metrics: Mapping[str, object]) -> None:
        append(self.metrics, [metrics])

    def append_timeline(self, step: int, spans: Iterable[tuple[str, str, float, float]]) -> None:
        """What each loop did in a step: loop, what it did, begin and end in Unix time."""
        append(self.timeline, [{"step": step, "spans": list(spans)}])

    def append_cold_start_metrics(self, steps: Iterable[Mapping[str, object]]) -> None:
        append(self.cold_start_metrics, steps)

    def read_metrics(self) -> list[dict[str, Any]]:
        return read_lines(self.metrics)

    def truncate_cold_start_metrics(self, last_step: int) -> None:
        """Drop steps after `last_step`: a resumed cold start repeats them."""
        keep_steps(self.cold_start_metrics, last_step)

    def truncate_metrics(self, last_step: int) -> None:
        """Drop steps after `last_step`: a resumed run repeats them."""
        keep_steps(self.metrics, last_step)
        keep_steps(self.groups, last_step)
        keep_steps(self.timeline, last_step)
        for file in self.trajectories.glob("step-*.jsonl"):
            if int(file.stem.removeprefix("step-")) > last_step:
                file.unlink()

    def write_trajectories(self, step: int, groups: Iterable[tuple[Group, bool]]) -> None:
        """Write the groups of a step, and an entry for each in `groups.jsonl`. The flag says whether a group was
        trained on."""
        entries: list[dict[str, object]] = []

        def lines() -> Iterator[str]:
            # Group by group: a step's responses, all at once as text, may need too much memory.
            offset = 0
            for group, trained in groups:
                text = group_lines(group, trained)
                entries.append(group_entry(group, trained, step, (offset, len(text))))
                offset += len(text)
                yield text

        replace(self.step_file(step), lines())
        append(self.groups, entries)

    def step_file(self, step: int) -> Path:
        """The file of a step's responses."""
        return self.trajectories / f"step-{step:06d}.jsonl"

    def write_evaluation(self, phase: str, responses: Iterable[ScoredResponse]) -> None:
        """Every response of an evaluation with its scores, in `evaluations/<phase>.jsonl`."""
        self.evaluations.mkdir(exist_ok=True)
        replace(self.evaluations / f"{phase}.jsonl", (to_json(asdict(response)) + "\n" for response in responses))

    def write_summary(self, part: str, content: object) -> None:
        """Replace one part of `summary.json` and keep the others."""
        replace(self.summary, [to_json({**self.read_summary(), part: content}, indent=1) + "\n"])

    def read_summary(self) -> dict[str, Any]:
        """The content of `summary.json`; empty if there is none or, with a warning, if it is damaged."""
        if not self.summary.exists():
            return {}
        summary = read_object(self.summary.read_bytes())
        if summary is None:
            _log.warning("%s is damaged (a crash, or a full disk) and is passed over; remove it", self.summary)
        return summary or {}


def _lay_over(content: dict[str, Any], change: Mapping[str, Any]) -> None:
    *parents, name = change["field"].split(".")
    for parent in parents:
        content = content.setdefault(parent, {})
    if "now" in change:
        content[name] = change["now"]
    else:
        content.pop(name, None)
