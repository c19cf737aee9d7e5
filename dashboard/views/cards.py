"""GPUs in the tab "Time": by phase how fast, how busy and how full they were; and how busy each was."""

from typing import Any

import dash_mantine_components as dmc

from dashboard.metrics import MetricsTable

_PHASES = {"generate": "generation", "update": "update", "push": "weight push"}
_BUSY = "gpu/busy/"
_MOST_SHOWN = 64


def card_tables(metrics: MetricsTable) -> Any:
    """Of the last step; empty for a run on CPUs."""
    number = metrics.latest("gpu/num_cards")
    if number is None:
        return []
    head, rows = phase_table(metrics)
    of_cards = busy_table(metrics)
    tables = [
        dmc.Table(data={"head": head, "body": rows}, maw=760),
        *([dmc.Table(data={"head": ["GPU", "at work"], "body": of_cards}, maw=240)] if of_cards else []),
    ]
    return dmc.Stack([dmc.Title(f"GPUs in the last step ({number:.0f})", order=4), dmc.Group(tables, align="start")])


def phase_table(metrics: MetricsTable) -> tuple[list[str], list[list[str]]]:
    """A head, and a row for each phase and for the whole step."""
    head = ["phase", "seconds", "tokens/s and GPU", "at work", "learner, GiB", "engine, GiB"]
    seconds = {"generate": "time/rollout_s", "update": "time/update_s", "push": "time/push_s"}
    rows = [
        [
            title,
            _shown(metrics, seconds[phase], "{:.1f}"),
            _shown(metrics, f"gpu/{phase}_tokens_per_s", "{:,.0f}"),
            _shown(metrics, f"gpu/busy_{phase}", "{:.0%}"),
            _shown(metrics, f"gpu/memory/learner_{phase}_gib", "{:.1f}"),
            _shown(metrics, f"gpu/memory/engine_{phase}_gib", "{:.1f}"),
        ]
        for phase, title in _PHASES.items()
    ]
    if metrics.latest("time/sleep_s") is not None:  # learner and engines take turns
        rows.insert(1, ["engines fall asleep", _shown(metrics, "time/sleep_s", "{:.1f}"), "–", "–", "–", "–"])
    whole = [_shown(metrics, "time/step_s", "{:.1f}"), _shown(metrics, "gpu/tokens_per_s", "{:,.0f}")]
    return head, [*rows, ["whole step", *whole, _shown(metrics, "gpu/busy_mean", "{:.0%}"), "", ""]]


def busy_table(metrics: MetricsTable) -> list[list[str]]:
    """A row for each card, the least busy first."""
    shares = {
        name.removeprefix(_BUSY): share
        for name in metrics.names
        if name.startswith(_BUSY) and (share := metrics.latest(name)) is not None
    }
    return [[card, f"{share:.0%}"] for card, share in sorted(shares.items(), key=lambda item: item[1])[:_MOST_SHOWN]]


def _shown(metrics: MetricsTable, name: str, form: str) -> str:
    value = metrics.latest(name)
    return "–" if value is None else form.format(value)
