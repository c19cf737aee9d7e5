"""A run is a folder; this is the one place that knows its layout.

config.json         the resolved config
metrics.jsonl       one object a step
trajectories/       step-000001.jsonl …: the responses that were trained on or filtered out (training.record_share)
checkpoints/        see learner/checkpoint.py
data/               train.jsonl, validation.jsonl, test.jsonl, and their images
images/             the image store (a link into the data)
base_model/         a tiny model's first weights
cold_start_checkpoints/  the same for the cold start
cold_start_model/   after supervised fine-tuning (Hugging Face folder)
final_model/        after reinforcement learning (Hugging Face folder)
summary.json        the marks before and after
summary.png         the same, to look at
coordinator.json    while it is under way: where its coordinator is
earlier/001/ …      what a run that was begun anew in this folder had left: metrics, trajectories, checkpoints
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path as FilePath
from typing import Any

import numpy as np

from actors.group import Group
from evaluation.evaluate import Judged


class RunFolder:
    """Paths of a run's folder, and the appending and replacing of its files."""

    def __init__(self, root: FilePath) -> None:
        self.root = FilePath(root)
        self.config = self.root / "config.json"
        self.coordinator = self.root / "coordinator.json"
        self.metrics = self.root / "metrics.jsonl"
        self.trajectories = self.root / "trajectories"
        self.checkpoints = self.root / "checkpoints"
        self.images = self.root / "images"
        self.data = self.root / "data"
        self.base_model = self.root / "base_model"
        self.cold_start_checkpoints = self.root / "cold_start_checkpoints"
        self.cold_start_metrics = self.root / "cold_start_metrics.jsonl"
        self.cold_start_model = self.root / "cold_start_model"
        self.final_model = self.root / "final_model"
        self.summary = self.root / "summary.json"
        self.evaluations = self.root / "evaluations"
        self.centers_picture = self.root / "centers.png"
        self.picture = self.root / "summary.png"

    def create(self) -> None:
        for folder in (self.root, self.trajectories, self.checkpoints):
            folder.mkdir(parents=True, exist_ok=True)

    def set_aside(self, *paths: FilePath) -> FilePath | None:
        """Move what an earlier run left at `paths` under `earlier/`, so that a new one does not go on in it.

        Returns:
            Where it lies now; None if there was nothing.
        """
        left = [path for path in paths if path.is_file() or (path.is_dir() and any(path.iterdir()))]
        if not left:
            return None
        numbers = [int(path.name) for path in (self.root / "earlier").glob("*") if path.name.isdigit()]
        target = self.root / "earlier" / f"{max(numbers, default=0) + 1:03d}"
        target.mkdir(parents=True)
        for path in left:
            path.rename(target / path.name)
        self.create()
        return target

    def append_metrics(self, metrics: Mapping[str, object]) -> None:
        _append(self.metrics, [metrics])

    def append_cold_start_metrics(self, steps: Iterable[Mapping[str, object]]) -> None:
        _append(self.cold_start_metrics, steps)

    def read_metrics(self) -> list[dict[str, Any]]:
        return _read(self.metrics)

    def truncate_cold_start_metrics(self, last_step: int) -> None:
        """Forget steps after `last_step`: a resumed cold start makes them again."""
        self._keep_until(self.cold_start_metrics, last_step)

    def truncate_metrics(self, last_step: int) -> None:
        """Forget steps after `last_step`: a resumed run makes them again."""
        self._keep_until(self.metrics, last_step)
        for file in self.trajectories.glob("step-*.jsonl"):
            if int(file.stem.removeprefix("step-")) > last_step:
                file.unlink()

    def write_trajectories(self, step: int, groups: Iterable[tuple[Group, bool]]) -> None:
        """Groups that became complete for `step`; the flag says whether a group was trained on."""
        # Line by line: a step's responses may be more than belongs into memory at once as text.
        lines = (json.dumps(row) + "\n" for group, trained in groups for row in _rows(group, trained))
        self._replace(self.trajectories / f"step-{step:06d}.jsonl", lines)

    def write_evaluation(self, phase: str, judged: Iterable[Judged]) -> None:
        """Every response of an evaluation with its marks, in `evaluations/<phase>.jsonl`."""
        self.evaluations.mkdir(exist_ok=True)
        self._replace(self.evaluations / f"{phase}.jsonl", (json.dumps(asdict(mark)) + "\n" for mark in judged))

    def write_summary(self, part: str, content: object) -> None:
        """Replace one part of `summary.json` and keep the others."""
        summary = json.loads(self.summary.read_text()) if self.summary.exists() else {}
        self._replace(self.summary, [json.dumps({**summary, part: content}, indent=1) + "\n"])

    def _keep_until(self, path: FilePath, last_step: int) -> None:
        kept = [metrics for metrics in _read(path) if metrics["step"] <= last_step]
        self._replace(path, (json.dumps(metrics) + "\n" for metrics in kept))

    @staticmethod
    def _replace(path: FilePath, lines: Iterable[str]) -> None:
        temporary = path.with_name(f".{path.name}.tmp")
        with temporary.open("w") as file:
            file.writelines(lines)
        temporary.replace(path)


def _append(path: FilePath, lines: Iterable[Mapping[str, object]]) -> None:
    with path.open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def _read(path: FilePath) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _rows(group: Group, trained: bool) -> Iterable[dict[str, object]]:
    shared = {
        "group": group.index,
        "sample_id": group.sample.sample_id,
        "kind": group.sample.kind,
        "path": group.path.value,
        "trained": trained,
        "prompt": group.sample.question,
        "truth": group.sample.answer.model_dump(),
    }
    for trajectory, score in zip(group.trajectories, group.scores, strict=True):
        yield {
            **shared,
            "member": trajectory.member,
            "images": [image.sha256 for image in trajectory.images],
            "response": trajectory.response_text,
            "score": vars(score),
            "version_spans": [[span.weight_version, span.num_tokens] for span in trajectory.version_spans],
            "prompt_token_ids": trajectory.prompt_token_ids,
            "response_token_ids": trajectory.response_token_ids,
            # NumPy rounds a response five times as fast as a loop does, and this is most of what a row costs.
            "rollout_logprobs": np.asarray(trajectory.rollout_logprobs).round(6).tolist(),
            "finish_reason": trajectory.finish_reason,
            "engine": trajectory.engine,
        }
    for failure in group.failures:
        yield {"group": group.index, "path": group.path.value, "trained": False, "failure": asdict(failure)}
