"""Now: what the run is doing, its main numbers, what waits for what, and what needs attention."""

import math
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import dash_mantine_components as dmc
import numpy as np
from dash import Input, Output, html, no_update

from actors.run.status import RunStatus
from dashboard.alarms import Alarm, find_alarms
from dashboard.board import TABS, TICK, Board
from dashboard.metrics import Series
from dashboard.run_view import RunView
from dashboard.view import Page, View

NAME = "now"
_RECENT_STEPS = 20
_PHASES = {"cold_start": "after cold start", "rl": "after RL"}
_OF_CARDS = (
    ("gpu/tokens_per_s", "tokens per second and GPU", "{:,.0f}"),
    ("gpu/mfu", "MFU of the learner", "{:.1%}"),
    ("gpu/busy_mean", "GPUs at work", "{:.0%}"),
    ("gpu/memory/fullest_share", "memory of the fullest GPU", "{:.0%}"),
)
"""Of a run on GPUs: means over the last steps."""
_SCORES = {
    "lor_accuracy": "LOR accuracy, sampled",
    "dtr_accuracy": "DTR accuracy, sampled",
    "lor_accuracy_greedy": "LOR accuracy, greedy",
    "dtr_accuracy_greedy": "DTR accuracy, greedy",
    "format_rate": "responses in the right format",
    "center_error_m_median": "centre error, median, m",
}


def _layout(board: Board) -> Any:
    return html.Div(id="now")


def _register(page: Page) -> None:
    app, board = page.app, page.board

    @app.callback(Output("now", "children"), Input(TICK, "n_intervals"), Input(TABS, "value"))
    def show(_: int, tab: str) -> Any:
        if tab != NAME:
            return no_update
        view = board.own
        view.refresh()
        with view.lock:
            return dmc.Stack(_contents(view, view.status), gap="md")


def _contents(view: RunView, status: RunStatus | None) -> list[Any]:
    alarms = find_alarms(view.metrics, status, view.folder.root)
    return [
        dmc.Title(sentence(view, status), order=3, id="sentence"),
        *(_alarm(alarm) for alarm in alarms),
        dmc.SimpleGrid([_tile(*tile) for tile in tiles(view, status)], cols={"base": 2, "sm": 3, "lg": 6}),
        *_waits(status),
        *_scores(view),
    ]


def sentence(view: RunView, status: RunStatus | None) -> str:
    """What the run is doing, in one sentence."""
    step, wanted = view.metrics.num_steps, view.num_steps
    steps = f"{step} of {wanted} steps" if wanted else f"{step} steps"
    if view.active is None:
        what = "It ended after" if wanted is None or step >= wanted else "It stopped after"
        return f"{what} {steps}." if step else "It has no steps of reinforcement learning."
    if status is None:
        return f"The run does not answer: {view.active.problem or 'it has not been queried yet'}."
    progress = status.progress
    where = f"{progress.done} of {progress.total}" if progress.total else "starting"
    serving = sum(worker.state == "serving" for worker in status.workers)
    return f"{progress.phase}: {where}; {serving} of {len(status.workers)} rollout workers are serving."


def tiles(view: RunView, status: RunStatus | None) -> list[tuple[str, str, Sequence[float]]]:
    """Title, number, and its recent values."""
    metrics = view.metrics
    step_s = _recent(view, "time/step_s")
    responses = sum(_recent(view, name) for name in ("groups_trained", "groups_filtered")) * _group_size(view)
    found: list[tuple[str, str, Sequence[float]]] = [
        ("step", f"{metrics.num_steps}" + (f" / {view.num_steps}" if view.num_steps else ""), ()),
        ("weight version", _version(view, status), ()),
        ("responses per second", f"{responses / step_s:.1f}" if step_s > 0 else "–", ()),
        ("time left", _left(view, step_s) if status is not None else "–", ()),
    ]
    for path in ("lor", "dtr"):
        rewards = _last(metrics.column(f"{path}/reward_mean"))
        if rewards:
            found.append((f"{path.upper()} reward", f"{rewards[-1]:.3f}", rewards))
    for name, title, shown in _OF_CARDS:
        if name in metrics:
            found.append((title, shown.format(_recent(view, name)), _last(metrics.column(name))))
    return found


def _last(values: Series) -> list[float]:
    """The values of the last steps that have one."""
    return values[~np.isnan(values)][-60:].tolist()


def _version(view: RunView, status: RunStatus | None) -> str:
    version = status.version if status is not None else view.metrics.latest("weight_version")
    return "–" if version is None else f"{version:.0f}"


def _recent(view: RunView, name: str) -> float:
    """The mean over the last steps; 0 if none of them has a value."""
    values = view.metrics.column(name)[-_RECENT_STEPS:]
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else 0.0


def _group_size(view: RunView) -> int:
    return view.config.get("training", {}).get("group_size", 1)


def _left(view: RunView, step_s: float) -> str:
    left = (view.num_steps or 0) - view.metrics.num_steps
    return str(timedelta(seconds=math.ceil(left * step_s))) if step_s > 0 and left > 0 else "–"


def _tile(title: str, value: str, course: Sequence[float]) -> Any:
    return dmc.Paper(
        [
            dmc.Text(title, size="xs", c="dimmed"),
            dmc.Text(value, size="xl", fw=600),
            *([html.Img(src=sparkline(course), alt="recent values", style=_SPARKLINE)] if len(course) > 1 else []),
        ],
        withBorder=True,
        p="sm",
    )


_SPARKLINE = {"width": "100%", "height": "28px"}


def sparkline(values: Sequence[float]) -> str:
    """A curve as a picture. A chart library would animate it at every update, which keeps the browser busy."""
    low, high = min(values), max(values)
    scale = 26 / (high - low) if high > low else 0.0
    points = " ".join(f"{i},{27 - (value - low) * scale:.1f}" for i, value in enumerate(values))
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {len(values) - 1} 28" preserveAspectRatio="none">'
        f'<polyline points="{points}" fill="none" stroke="#3b82f6" stroke-width="1.5" '
        'vector-effect="non-scaling-stroke"/>'
        "</svg>"
    )
    return f"data:image/svg+xml,{quote(svg)}"


def _alarm(alarm: Alarm) -> Any:
    colour = {"warning": "yellow", "error": "red"}[alarm.level]
    return dmc.Alert(alarm.advice, title=alarm.what, color=colour, variant="light")


def _waits(status: RunStatus | None) -> list[Any]:
    if status is None:
        return []
    rows = [[wait.loop, wait.whom, f"{wait.for_s:.1f} s", str(wait.number)] for wait in status.waits]
    table = dmc.Table(
        data={"head": ["loop", "waits for", "time waiting", "number waiting"], "body": rows}, striped=True
    )
    warnings = [dmc.Text(warning, size="sm") for warning in reversed(status.warnings[-8:])]
    return [
        dmc.Title("What waits for what", order=4),
        dmc.ScrollArea(table) if rows else dmc.Text("Nothing is waiting.", c="dimmed"),
        dmc.Text(f"Off-policy correction: {status.correction}", size="sm", c="dimmed"),
        *([dmc.Text(f"Learner's attention: {status.attention}", size="sm", c="dimmed")] if status.attention else []),
        *([dmc.Title("Recent warnings", order=4), *warnings] if warnings else []),
    ]


def _scores(view: RunView) -> list[Any]:
    """Scores on held-out questions after each phase that is done."""
    summary = view.summary
    phases = {phase: title for phase, title in _PHASES.items() if phase in summary}
    if not phases:
        return []
    rows = [
        [label, *(_score(summary[phase].get(key)) for phase in phases)]
        for key, label in _SCORES.items()
        if any(summary[phase].get(key) is not None for phase in phases)
    ]
    return [
        dmc.Title("Held-out questions", order=4),
        dmc.Table(data={"head": ["", *phases.values()], "body": rows}, striped=True, maw=620),
    ]


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


VIEW = View(NAME, "Now", _layout, _register)
