"""Figures: the curves of one run or several, and where the time of the steps went."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from dashboard.metrics import MetricsTable, Series, thinned
from dashboard.theme import LOOP_COLOURS, PATH_COLOURS, RUN_DASHES, Scheme, styled
from dashboard.timeline import Span
from evaluation.benchmarks.registry import BENCHMARKS
from spatial.sample import ReasoningPath

# Only on very wide screens is a curve wider than this, in pixels.
_NUM_POINTS = 600
_HEIGHT_PX = 260


@dataclass(frozen=True)
class Chart:
    """One curve, or one for each path."""

    title: str
    metrics: Mapping[str, str]
    """Columns of the metrics, each with its name in the legend."""
    by_path: bool = False
    """Whether the columns are those of a path: "reward_mean" then stands for "lor/reward_mean" and so on."""
    prefix: str = ""
    """Before the path: "validation/" for columns such as "validation/lor/accuracy", which only some steps have."""

    def columns(self) -> list[tuple[str, str, str | None]]:
        """Column, name in the legend, and path."""
        if not self.by_path:
            return [(column, label, None) for column, label in self.metrics.items()]
        return [
            (f"{self.prefix}{path.value}/{column}", " ".join(filter(None, (path.value.upper(), label))), path.value)
            for path in ReasoningPath
            for column, label in self.metrics.items()
        ]


CHARTS = (
    Chart("Reward", {"reward_mean": ""}, by_path=True),
    Chart("Accuracy", {"accuracy_mean": ""}, by_path=True),
    Chart("Accuracy on validation questions, greedy", {"accuracy": ""}, by_path=True, prefix="validation/"),
    *(
        Chart(f"{benchmark.title}, greedy", {"overall": ""}, by_path=True, prefix=f"validation/{name}/")
        for name, benchmark in BENCHMARKS.items()
    ),
    Chart("Responses in the right format", {"format_mean": ""}, by_path=True),
    Chart("Centre hits", {"center_mean": ""}, by_path=True),
    Chart("Response length, tokens", {"response_tokens_mean": ""}, by_path=True),
    Chart("Entropy, nats per token", {"entropy": ""}, by_path=True),
    Chart("Divergence of rollout and learner, nats per token", {"kl_rollout_learner": ""}, by_path=True),
    Chart("KL to the reference, nats per token", {"kl_reference": "KL"}),
    Chart("Staleness, weight versions", {"staleness_mean": "mean", "staleness_max": "max"}),
    Chart(
        "Clipped and masked tokens, share",
        {"clip_fraction": "clipped", "importance_truncated": "truncated", "rejected": "rejected"},
    ),
    Chart("Gradient norm", {"grad_norm": "norm"}),
    Chart("Tokens per second", {"rollout_tokens_per_s": "rollout"}),
    Chart(
        "Tokens per second and GPU",
        {
            "gpu/tokens_per_s": "whole step",
            "gpu/generate_tokens_per_s": "generation",
            "gpu/update_tokens_per_s": "update",
        },
    ),
    Chart("MFU of the learner", {"gpu/mfu": "MFU"}),
    Chart(
        "GPUs at work, share of time",
        {
            "gpu/busy_mean": "all, whole step",
            "gpu/busy_generate": "engines, generation",
            "gpu/busy_update": "learner, update",
        },
    ),
    Chart(
        "GPU memory, GiB of the fullest",
        {
            "gpu/memory/learner_update_gib": "learner, update",
            "gpu/memory/learner_tensors_gib": "learner's tensors",
            "gpu/memory/engine_generate_gib": "engine, generation",
        },
    ),
)

_NEUTRAL = ("#7048e8", "#e8590c", "#0c8599")


def has_numbers(chart: Chart, runs: Mapping[str, MetricsTable]) -> bool:
    """Whether any of the runs has values for a chart."""
    return any(column in metrics for metrics in runs.values() for column, _, _ in chart.columns())


def curve(
    chart: Chart,
    runs: Mapping[str, MetricsTable],
    scheme: Scheme,
    smoothing: int = 1,
    zoom: tuple[float, float] | None = None,
) -> go.Figure:
    """One chart.

    Args:
        runs: the metrics by run; the first is the page's own run.
        smoothing: steps of the running mean; 1 shows the numbers as they are.
        zoom: the first and last step that the reader zoomed in to, drawn in more detail; None: all.
    """
    figure = go.Figure()
    several = len(runs) > 1
    for number, (run, metrics) in enumerate(runs.items()):
        steps = metrics.column("step")
        for index, (column, label, path) in enumerate(chart.columns()):
            values = metrics.column(column)
            if np.isnan(values).all():
                continue
            x, y = _in_sight(steps, running_mean(values, smoothing), zoom)
            figure.add_scatter(
                x=x,
                y=y,
                name=f"{label} {run}" if several else label,
                mode="lines+markers" if chart.prefix else "lines",  # a single evaluation would not show as a line
                line={
                    "color": PATH_COLOURS[path] if path else _NEUTRAL[index],
                    "dash": RUN_DASHES[number % len(RUN_DASHES)],
                    "width": 1.8,
                },
                hovertemplate="%{y:.4g}",
            )
    styled(figure, scheme, _HEIGHT_PX, chart.title, keep=chart.title)
    figure.update_layout(showlegend=len(figure.data) > 1)
    if all(np.nanmin(drawn.y) >= 0 for drawn in figure.data):
        figure.update_yaxes(rangemode="nonnegative")  # otherwise a curve of zeros is drawn in the middle of -1 to 1
    if zoom is not None:
        figure.update_xaxes(range=zoom)
    return figure


def _in_sight(steps: Series, values: Series, zoom: tuple[float, float] | None) -> tuple[Series, Series]:
    if zoom is not None:
        seen = (steps >= zoom[0] - 1) & (steps <= zoom[1] + 1)
        steps, values = steps[seen], values[seen]
    return thinned(steps, values, _NUM_POINTS)


def running_mean(values: Series, width: int) -> Series:
    """At each step the mean over the last `width` steps that have a value; NaN where the step itself has none."""
    if width <= 1:
        return values
    is_there = ~np.isnan(values)
    sums = np.concatenate([np.zeros(1), np.where(is_there, values, 0).cumsum()])
    counts = np.concatenate([np.zeros(1), is_there.cumsum()])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - width, 0)
    with np.errstate(invalid="ignore"):
        means = (sums[ends] - sums[starts]) / (counts[ends] - counts[starts])
    return np.where(is_there, means, np.nan)


def timeline_figure(steps: Sequence[tuple[int, Sequence[Span]]], scheme: Scheme) -> go.Figure:
    """A row for each loop, with a bar for each activity."""
    began_s = min((span.start_s for _, spans in steps for span in spans), default=0.0)
    by_what: dict[str, list[tuple[int, Span]]] = {}
    for step, spans in steps:
        for span in spans:
            by_what.setdefault(span.what, []).append((step, span))
    figure = go.Figure()
    for what, found in by_what.items():
        figure.add_bar(
            orientation="h",
            y=[span.loop for _, span in found],
            base=[span.start_s - began_s for _, span in found],
            x=[span.end_s - span.start_s for _, span in found],
            name=what,
            marker={"color": LOOP_COLOURS.get(what, "#868e96"), "line": {"width": 0}},
            customdata=[step for step, _ in found],
            hovertemplate=f"{what}, step %{{customdata}}: %{{x:.2f}} s<extra></extra>",
        )
    styled(figure, scheme, 230, keep="timeline")
    figure.update_layout(barmode="overlay", bargap=0.35, hovermode="closest")
    figure.update_xaxes(title="seconds")
    figure.update_yaxes(autorange="reversed", automargin=True)
    return figure


STAGES = {
    "time/wait_s": "wait for groups",
    "time/update_s": "update",
    "time/push_s": "push",
}


def stage_figure(metrics: MetricsTable, scheme: Scheme) -> go.Figure:
    """The wall time of each step: the learner's stages stacked, rollout and scoring as lines."""
    figure = go.Figure()
    steps = metrics.column("step")
    for (column, label), colour in zip(STAGES.items(), ("wait", "update", "push"), strict=True):
        x, y = thinned(steps, metrics.column(column), _NUM_POINTS)
        figure.add_scatter(
            x=x, y=y, name=label, stackgroup="learner", line={"width": 0.5, "color": LOOP_COLOURS[colour]}
        )
    for column, label in (("time/rollout_s", "generate"), ("time/score_s", "score")):
        x, y = thinned(steps, metrics.column(column), _NUM_POINTS)
        figure.add_scatter(x=x, y=y, name=label, line={"width": 1.5, "dash": "dot", "color": LOOP_COLOURS[label]})
    figure.update_traces(hovertemplate="%{y:.2f} s")
    return styled(figure, scheme, 280, "Seconds per step", keep="stages")


def push_figure(metrics: MetricsTable, scheme: Scheme) -> go.Figure:
    """How long weight pushes take, and for how long rollouts are paused."""
    figure = go.Figure()
    steps = metrics.column("step")
    named = {"time/push_s": "push", "time/rollout_pause_s": "rollouts paused", "time/pack_s": "packing"}
    for (column, label), colour in zip(named.items(), _NEUTRAL, strict=True):
        x, y = thinned(steps, metrics.column(column) * 1000, _NUM_POINTS)
        figure.add_scatter(x=x, y=y, name=label, line={"color": colour, "width": 1.6}, hovertemplate="%{y:.0f} ms")
    return styled(figure, scheme, 260, "Weight push, milliseconds", keep="push")
