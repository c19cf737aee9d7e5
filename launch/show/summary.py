"""A run's figures and curves, as a table in the terminal and as one picture."""

import json
import textwrap
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from actors.run.run_folder import RunFolder
from launch.show.from_above import draw_from_above
from spatial.answer_text import answer_text
from spatial.grammar import parse_response
from spatial.images import ImageStore
from spatial.json_lines import read_lines
from spatial.sample import ReasoningPath, SpatialSample
from vlm.regions import draw_marks

_ROWS = {
    "lor_accuracy": "LOR right (sampled)",
    "lor_accuracy_greedy": "LOR right (greedy)",
    "dtr_accuracy": "DTR right (sampled)",
    "dtr_accuracy_greedy": "DTR right (greedy)",
    "direct_accuracy": "direct answers, right (sampled)",
    "direct_accuracy_greedy": "direct answers, right (greedy)",
    "lor_two_options": "LOR right of two options (sampled)",
    "lor_two_options_greedy": "LOR right of two options (greedy)",
    "dtr_two_options": "DTR right of two options (sampled)",
    "dtr_two_options_greedy": "DTR right of two options (greedy)",
    "lor_reward": "LOR reward",
    "dtr_reward": "DTR reward",
    "format_rate": "format kept",
    "center_error_m_median": "median centre error, m",
    "seconds": "seconds",
}
_COLOURS = {"lor": "#d08020", "dtr": "#2060c0", "direct": "#508050"}


def print_summary(folder: RunFolder, console: Console) -> None:
    """The figures of every phase that has some, side by side."""
    summary = folder.read_summary()
    names = {"cold_start": "after cold start", "rl": "after RL"}
    print_phases({names[phase]: summary[phase] for phase in names if phase in summary}, console)
    if of_cards := describe_cards(folder.read_metrics()):
        console.print(of_cards, highlight=False)
    if "seconds_total" in summary:
        console.print(f"{summary['seconds_total'] / 60:.1f} minutes in all")


def describe_cards(metrics: Sequence[Mapping[str, Any]]) -> str:
    """What the GPUs did, as means over the second half of the steps, when all is warm; empty for a run on CPUs."""
    steps = [step for step in metrics if "gpu/num_cards" in step]
    steps = steps[len(steps) // 2 :]
    if not steps:
        return ""
    forms = {
        "time/step_s": "{:.1f} s a step",
        "gpu/tokens_per_s": "{:,.0f} tokens/s a GPU",
        "gpu/mfu": "MFU of the learner {:.1%}",
        "gpu/busy_mean": "GPUs at work {:.0%} of the time",
        "gpu/memory/fullest_share": "fullest GPU {:.0%}",
    }
    found = {name: [step[name] for step in steps if step.get(name) is not None] for name in forms}
    means = [form.format(fmean(found[name])) for name, form in forms.items() if found[name]]
    return f"{steps[-1]['gpu/num_cards']} × {steps[-1]['gpu/kind']}: {', '.join(means)}"


def print_phases(phases: dict[str, dict[str, Any]], console: Console) -> None:
    """One column a phase; then one table of kinds of question."""
    table = Table("held-out questions", *(f"[bold]{escape(name)}" for name in phases), title="Figures")
    for key, label in _ROWS.items():
        if any(figures.get(key) is not None for figures in phases.values()):
            table.add_row(label, *(_with_interval(key, figures) for figures in phases.values()))
    console.print(table)
    paths = [path for path in _COLOURS if any(path in figures["paths"] for figures in phases.values())]
    kinds = Table("kind of question", *(f"{path.upper()} {name}" for path in paths for name in phases))
    for kind in sorted({kind for figures in phases.values() for path in paths for kind in _by_kind(figures, path)}):
        kinds.add_row(
            escape(kind),
            *(_shown(kind, _by_kind(figures, path).get(kind)) for path in paths for figures in phases.values()),
        )
    console.print(kinds)
    _print_same_questions(phases, console)
    _print_centers(phases, console)


def _print_same_questions(phases: dict[str, dict[str, Any]], console: Console) -> None:
    """Both paths on the very questions that both were asked."""
    kinds = sorted({kind for figures in phases.values() for kind in figures.get("same_questions", {})})
    if kinds:
        table = Table("asked both ways", *(f"{path} {name}" for path in ("LOR", "DTR") for name in phases))
        for kind in kinds:
            found = [figures.get("same_questions", {}).get(kind, {}) for figures in phases.values()]
            table.add_row(
                escape(kind), *(_shown(kind, by_path.get(path)) for path in ("lor", "dtr") for by_path in found)
            )
        console.print(table)


def _print_centers(phases: dict[str, dict[str, Any]], console: Console) -> None:
    """How near detected centres are to the true ones, by family of scenes."""
    rows = [
        (domain, name, found)
        for name, figures in phases.items()
        for domain, found in figures["paths"].get("dtr", {}).get("centers_by_domain", {}).items()
    ]
    if rows:
        limits = list(rows[0][2]["hit_rates"])
        table = Table("detected centres", "", "median error", *(f"< {limit} m" for limit in limits))
        for domain, name, found in sorted(rows, key=lambda row: row[0]):
            shares = (f"{found['hit_rates'][limit]:.0%}" for limit in limits)
            table.add_row(escape(domain), escape(name), f"{found['error_m_median']:.2f} m", *shares)
        console.print(table)


def _by_kind(figures: dict[str, Any], path: str) -> dict[str, float]:
    return figures["paths"].get(path, {}).get("accuracy_by_kind", {})


def _with_interval(key: str, figures: dict[str, Any]) -> str:
    """A figure with its 95 % interval over draws of the questions."""
    shown = _shown(key, figures.get(key))
    interval = figures.get("intervals", {}).get(key)
    return shown if interval is None else f"{shown} \\[{_shown(key, interval[0])}, {_shown(key, interval[1])}]"


def _shown(key: str, value: float | None) -> str:
    if value is None:
        return "–"
    if key == "seconds":
        return f"{value:.0f}"
    return f"{value:.2f}" if key.endswith("_median") or key.endswith("_reward") else f"{value:.0%}"


def draw_summary(folder: RunFolder) -> None:
    """Write `summary.png`: rewards over steps, accuracy by kind before and after, and three examples."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    metrics = folder.read_metrics()
    summary = folder.read_summary()
    figure = plt.figure(figsize=(14, 9), layout="constrained")
    grid = figure.add_gridspec(2, 6)
    _draw_rewards(figure.add_subplot(grid[0, :3]), metrics)
    _draw_kinds(figure.add_subplot(grid[0, 3:]), summary)
    for column, (sample, response) in enumerate(_examples(folder, 3)):
        _draw_example(figure.add_subplot(grid[1, 2 * column]), folder, sample, response)
        boxes = parse_response(ReasoningPath.DTR, response).boxes
        above = figure.add_subplot(grid[1, 2 * column + 1])
        draw_from_above(above, sample, boxes, "from above: ○ true, × predicted")
        above.title.set_fontsize(8)
    figure.savefig(folder.picture, dpi=110)
    plt.close(figure)


def _draw_rewards(axes: Any, metrics: list[dict[str, Any]]) -> None:
    for path, colour in _COLOURS.items():
        points = [(m["step"], m[f"{path}/reward_mean"]) for m in metrics if m.get(f"{path}/reward_mean") is not None]
        if points:
            steps, rewards = zip(*points, strict=True)
            axes.plot(steps, rewards, color=colour, alpha=0.3)
            width = min(5, len(rewards))
            smooth = np.convolve(rewards, np.ones(width) / width, mode="valid")
            axes.plot(steps[width - 1 :], smooth, color=colour, label=f"{path.upper()} (mean of {width})")
    axes.set(title="Reward of sampled responses, RL", xlabel="step", ylabel="mean reward")
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend()


def _draw_kinds(axes: Any, summary: dict[str, Any]) -> None:
    phases = [phase for phase in ("cold_start", "rl") if phase in summary]
    bars = [(path, kind) for path in _COLOURS for kind in _by_kind(summary[phases[-1]], path)]
    for offset, phase in enumerate(phases):
        heights = [_by_kind(summary[phase], path).get(kind, 0.0) for path, kind in bars]
        positions = np.arange(len(bars)) + 0.4 * offset
        colours = [_COLOURS[path] for path, _ in bars]
        axes.bar(positions, heights, 0.38, color=colours, alpha=0.4 if phase != phases[-1] else 1.0)
    axes.set_xticks(np.arange(len(bars)) + 0.2, [kind for _, kind in bars], rotation=60, ha="right", fontsize=8)
    axes.set(title="Right on held-out questions, before (pale) and after RL", ylim=(0, 1))
    axes.grid(alpha=0.3, axis="y")


def _examples(folder: RunFolder, number: int) -> list[tuple[SpatialSample, str]]:
    """The last step's first DTR responses, one a sample, with their samples."""
    files = sorted(folder.trajectories.glob("step-*.jsonl"))
    responses: dict[str, str] = {}
    for row in read_lines(files[-1]) if files else []:
        if row["path"] == ReasoningPath.DTR and "response" in row:
            responses.setdefault(row["sample_id"], row["response"])
    found: list[tuple[SpatialSample, str]] = []
    with (folder.data / "train.jsonl").open() as lines:
        for line in lines:
            if len(found) == number:
                break
            sample_id = json.loads(line)["sample_id"]
            if sample_id in responses:
                found.append((SpatialSample.model_validate_json(line), responses[sample_id]))
    return found


def _draw_example(axes: Any, folder: RunFolder, sample: SpatialSample, response: str) -> None:
    image = draw_marks(ImageStore(folder.images).open(sample.images[0]), sample.regions, width_px=1)
    axes.imshow(image)
    axes.set_axis_off()
    parsed = parse_response(ReasoningPath.DTR, response)
    text = _wrapped(f"{sample.question}\n{parsed.think}\nanswer: {parsed.answer}   truth: {answer_text(sample.answer)}")
    axes.set_title(text, fontsize=7, loc="left")


def _wrapped(text: str, width: int = 32) -> str:
    return "\n".join(textwrap.fill(line, width) for line in text.splitlines())
