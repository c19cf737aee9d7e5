"""A run is a folder; this is the one place that knows its layout.

owner.json          locked while a command works in the folder: which one, where, since when
config.json         the resolved config that the run was begun with; written once
starts.jsonl        one object a command that was started here: when, which, and what it changed of the config
metrics.jsonl       one object a step
trajectories/       step-000001.jsonl …: the responses that were trained on or filtered out (training.record_share)
groups.jsonl        one object a recorded group: what it is about, how it went, and where its responses lie
timeline.jsonl      one object a step: what each loop did when
tokenizer.json      the policy's: whoever shows a response can tell its tokens
checkpoints/        see learner/checkpoint_store.py
data/               train.jsonl, validation.jsonl, test.jsonl, and their images
images/             the image store (a link into the data)
left_out.jsonl      samples of the data that cannot be used with the run's settings, and why
base_model/         a tiny model's first weights
cold_start_checkpoints/  the same for the cold start
cold_start_model/   after supervised fine-tuning (Hugging Face folder)
final_model/        after reinforcement learning (Hugging Face folder)
evaluations/        cold_start.jsonl, rl.jsonl: every held-out response; a folder for each `sr-real evaluate`;
                    images/: of benchmarks, which are no part of the run's data
summary.json        the marks before and after
summary.png         the same, to look at
coordinator.json    while it is under way: where its coordinator is
dashboard.json      likewise: where its page is, and the token; only its owner may read it
earlier/001/ …      what a run that was begun again in this folder had left: metrics, trajectories, checkpoints, and the
                    config.json and starts.jsonl that they were made with
"""

import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from actors.run.records import group_entry, group_lines
from evaluation.held_out_report import ScoredResponse
from flow.group import Group
from spatial.json_lines import CUT_SHORT, read_lines, read_object, to_json
from spatial.whole_files import write_whole
from vlm.files import is_for_want_of_space, no_space

_log = logging.getLogger(__name__)


class LeftOut(NamedTuple):
    """A sample that the run does without."""

    split: str
    sample_id: str
    why: str


class RunFolder:
    """Paths of a run's folder, and the appending and replacing of its files."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self.owner = self.root / "owner.json"
        self.config = self.root / "config.json"
        self.starts = self.root / "starts.jsonl"
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
        """What the steps of reinforcement learning write."""
        return self.metrics, self.trajectories, self.groups, self.timeline

    @property
    def of_training(self) -> tuple[Path, ...]:
        """What reinforcement learning makes."""
        return *self.of_steps, self.checkpoints, self.final_model

    @property
    def of_cold_start(self) -> tuple[Path, ...]:
        """What the cold start makes."""
        return self.cold_start_metrics, self.cold_start_checkpoints, self.cold_start_model

    @property
    def own_paths(self) -> tuple[Path, ...]:
        """All that a run puts into its folder."""
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
        """Move what an earlier run left at `paths` under `earlier/`, so that a new one does not go on in it.

        Returns:
            Where it lies now; None if there was nothing.
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
        """Write how the run is begun; there must be none yet."""
        if self.config.exists():
            raise FileExistsError(f"{self.config}: how a run was begun is written once")
        self._replace(self.config, [text])

    def read_config(self) -> dict[str, Any] | None:
        """The config that the run is trained with now: as it was begun, and what later starts changed of it; None: the
        folder has none.

        Raises:
            ValueError: the file is damaged, or is no run's.
        """
        if not self.config.exists():
            return None
        content = json.loads(self.config.read_text())
        if not isinstance(content, dict) or "training" not in content:
            raise ValueError("it is no run's config")
        for start in read_lines(self.starts):
            for change in start.get("changes", ()):
                _lay_over(content, change)
        return content

    def append_start(self, start: Mapping[str, object]) -> None:
        _append(self.starts, [start])

    def write_left_out(self, samples: Iterable[LeftOut]) -> None:
        self._replace(self.left_out, (json.dumps(sample._asdict()) + "\n" for sample in samples))

    def left_out_of(self, split: str) -> frozenset[str]:
        """Ids of the samples of "train", "validation" or "test" that the run does without."""
        return frozenset(row["sample_id"] for row in read_lines(self.left_out) if row["split"] == split)

    def append_metrics(self, metrics: Mapping[str, object]) -> None:
        _append(self.metrics, [metrics])

    def append_timeline(self, step: int, spans: Iterable[tuple[str, str, float, float]]) -> None:
        """What each loop did in a step: loop, what, begin and end in Unix time."""
        _append(self.timeline, [{"step": step, "spans": list(spans)}])

    def append_cold_start_metrics(self, steps: Iterable[Mapping[str, object]]) -> None:
        _append(self.cold_start_metrics, steps)

    def read_metrics(self) -> list[dict[str, Any]]:
        return read_lines(self.metrics)

    def truncate_cold_start_metrics(self, last_step: int) -> None:
        """Forget steps after `last_step`: a resumed cold start makes them again."""
        self._keep_until(self.cold_start_metrics, last_step)

    def truncate_metrics(self, last_step: int) -> None:
        """Forget steps after `last_step`: a resumed run makes them again."""
        self._keep_until(self.metrics, last_step)
        self._keep_until(self.groups, last_step)
        self._keep_until(self.timeline, last_step)
        for file in self.trajectories.glob("step-*.jsonl"):
            if int(file.stem.removeprefix("step-")) > last_step:
                file.unlink()

    def write_trajectories(self, step: int, groups: Iterable[tuple[Group, bool]]) -> None:
        """Groups that became complete for `step`, and entries in `groups.jsonl` by which each is found; the flag says
        whether a group was trained on."""
        entries: list[dict[str, object]] = []

        def lines() -> Iterator[str]:
            # Group by group: a step's responses may be more than belongs into memory at once as text.
            offset = 0
            for group, trained in groups:
                text = group_lines(group, trained)
                entries.append(group_entry(group, trained, step, (offset, len(text))))
                offset += len(text)
                yield text

        self._replace(self.step_file(step), lines())
        _append(self.groups, entries)

    def step_file(self, step: int) -> Path:
        """Where a step's responses are."""
        return self.trajectories / f"step-{step:06d}.jsonl"

    def write_evaluation(self, phase: str, responses: Iterable[ScoredResponse]) -> None:
        """Every response of an evaluation with its scores, in `evaluations/<phase>.jsonl`."""
        self.evaluations.mkdir(exist_ok=True)
        self._replace(self.evaluations / f"{phase}.jsonl", (to_json(asdict(response)) + "\n" for response in responses))

    def write_summary(self, part: str, content: object) -> None:
        """Replace one part of `summary.json` and keep the others."""
        self._replace(self.summary, [to_json({**self.read_summary(), part: content}, indent=1) + "\n"])

    def read_summary(self) -> dict[str, Any]:
        """What `summary.json` holds; nothing where there is none, or a damaged one, which is said."""
        if not self.summary.exists():
            return {}
        summary = read_object(self.summary.read_bytes())
        if summary is None:
            _log.warning("%s is damaged (a crash, or a full disk) and is passed over; remove it", self.summary)
        return summary or {}

    def _keep_until(self, path: Path, last_step: int) -> None:
        kept = [row for row in read_lines(path) if isinstance(row.get("step"), int) and row["step"] <= last_step]
        self._replace(path, (to_json(metrics) + "\n" for metrics in kept))

    @staticmethod
    def _replace(path: Path, lines: Iterable[str]) -> None:
        with _telling_of_a_full_disk(path):
            write_whole(path, lines)


def _lay_over(content: dict[str, Any], change: Mapping[str, Any]) -> None:
    *parents, name = change["field"].split(".")
    for parent in parents:
        content = content.setdefault(parent, {})
    if "now" in change:
        content[name] = change["now"]
    else:
        content.pop(name, None)


def _append(path: Path, lines: Iterable[Mapping[str, object]]) -> None:
    with _telling_of_a_full_disk(path):
        _end_last_line(path)
        with path.open("a") as file:
            file.writelines(to_json(line) + "\n" for line in lines)


@contextmanager
def _telling_of_a_full_disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if is_for_want_of_space(error, path.parent):
            raise OSError(error.errno, no_space(path)) from None
        raise


def _end_last_line(path: Path) -> None:
    """Drop what a crash left of a last line: the next one would be glued to it."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        if size == 0 or (file.seek(size - 1) and file.read(1) == b"\n"):
            return
        file.seek(0)
        last = file.read().rpartition(b"\n")[2]
        if read_object(last) is not None:  # whole, but for its end
            file.write(b"\n")
        else:
            file.truncate(size - len(last))
            _log.warning(CUT_SHORT, path)
