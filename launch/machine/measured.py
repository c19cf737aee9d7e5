"""What steps on cards of some kind have taken: in runs of this folder, or in the benchmark whose results come with this
program."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from launch.machine.estimate import StepEstimate
from learner.cards import CardKind, card_kind
from spatial.json_lines import read_lines

_RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "gpu"
_PHASES = {"generation": "time/rollout_s", "update": "time/update_s", "push": "time/push_s"}


@dataclass(frozen=True)
class MeasuredSteps:
    """What steps have taken."""

    source: str
    """Which they were, such as "runs/mine (Qwen/Qwen3-VL-2B-Instruct)"."""
    kind: str
    """The cards' name."""
    figures: dict[str, float]
    """By the names that they have in metrics.jsonl."""


def last_measured(runs: Path, kind: CardKind) -> MeasuredSteps | None:
    """Of the runs in this folder that were on such cards, the one with the newest metrics: means over the second half
    of its steps, when all is warm. None if there is no such run."""
    files = sorted(runs.glob("*/metrics.jsonl"), key=lambda file: file.stat().st_mtime, reverse=True)
    for file in files:
        steps = [step for step in read_lines(file) if card_kind(str(step.get("gpu/kind", ""))) == kind]
        if steps:
            model = _model_of(file.parent)
            source = f"{file.parent.name}{f' ({model})' if model else ''}"
            return MeasuredSteps(source, str(steps[-1]["gpu/kind"]), _means(steps[len(steps) // 2 :]))
    return None


def _means(steps: Sequence[dict[str, Any]]) -> dict[str, float]:
    columns: dict[str, list[float]] = {}
    for step in steps:
        for name, value in step.items():
            if isinstance(value, int | float):
                columns.setdefault(name, []).append(value)
    return {name: fmean(values) for name, values in columns.items()}


def _model_of(run: Path) -> str:
    """What a run trained, from its config; empty if that cannot be read."""
    try:
        model = json.loads((run / "config.json").read_text())["model"]
        return str(model.get("path", model["type"]))
    except (OSError, ValueError, KeyError):
        return ""


def benchmarked(kind: CardKind, results: Path = _RESULTS) -> MeasuredSteps | None:
    """The fastest step that `benchmarks.gpu` has measured on such cards; None if there is none."""
    found: list[MeasuredSteps] = []
    for file in sorted(results.rglob("*.jsonl")):
        lines = [line for line in read_lines(file) if line.get("part") == "step"]
        lines = [line for line in lines if isinstance(line["value"], int | float)]
        lines = [line for line in lines if card_kind(str(line["card"])) == kind]
        for layout in sorted({line["name"].partition(": ")[0] for line in lines}):
            # Of several steps the last counts, which the rest have warmed up for.
            own = [line for line in lines if line["name"].startswith(f"{layout}: ")]
            values = {line["name"].removeprefix(f"{layout}: "): line["value"] for line in own}
            step_s = values.get("a step")
            if step_s is not None:
                shares = {f"time/{part}_s": values.get(f"share of {part}") for part in ("rollout", "update", "push")}
                figures = {name: step_s * share for name, share in shares.items() if share is not None}
                others = {"gpu/tokens_per_s": values.get("tokens"), "gpu/mfu": values.get("MFU of updates")}
                figures |= {name: value for name, value in others.items() if value is not None}
                source = f"benchmarks.gpu ({layout}, the shape of Qwen3-VL 2B, 64 questions × 8)"
                found.append(MeasuredSteps(source, str(lines[-1]["card"]), {"time/step_s": step_s, **figures}))
    return min(found, key=lambda steps: steps.figures["time/step_s"], default=None)


def compare(measured: MeasuredSteps, estimate: StepEstimate) -> str:
    """What was measured, each phase beside the estimate of this config."""
    told = [f"a step in {measured.figures.get('time/step_s', 0.0):.1f} s"]
    told += [
        f"{what} {measured.figures[name]:.1f} s (estimated here: {estimate.of(what):.1f} s)"
        for what, name in _PHASES.items()
        if name in measured.figures
    ]
    forms = {"gpu/tokens_per_s": "{:,.0f} tokens/s a GPU", "gpu/mfu": "MFU {:.0%}"}
    told += [form.format(measured.figures[name]) for name, form in forms.items() if name in measured.figures]
    return f"{measured.source} on {measured.kind}: {', '.join(told)}"
