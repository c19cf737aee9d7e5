"""REPORT.md: tables, plots and commands, and whether each claim holds at this size. Shares are in percent."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from experiments.claims.plan import Part
from experiments.claims.results import PATHS, Result, Spread

Found = Mapping[Part, Result]
_METRIC_KINDS = ("depth", "distance")
_COLD_STARTS = {
    "full": "full blend",
    "no-grounding": "no grounding",
    "tenth": "a tenth of the data",
    "wrong": "30 % wrong chains",
}


def write_report(found: Found, file: Path) -> None:
    """Write the report, with its plots beside it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    seeds = sorted({part.seed for part in found})
    hours = sum(result.seconds for result in found.values()) / 3600
    sections = [
        "# The paper's claims, at small scale",
        f"Seeds {', '.join(map(str, seeds))}; {len(found)} parts, {hours:.1f} hours of one CPU core each added up, two "
        "at a time. `make claims` repeats it. Responses are sampled at temperature 1, and shares are in percent: mean "
        "± standard deviation over the seeds. A difference is called clear when its mean exceeds its deviation. No "
        "part was tuned by itself.",
        _both_paths(found),
        _joint_or_single(found),
        _cold_starts(found, file.parent / "cold_starts.png"),
        _transfer(found),
        _commands(found, min(seeds)),
    ]
    file.write_text("\n\n".join(sections) + "\n")


def _values(found: Found, name: str, value: Callable[[Result], float | None]) -> dict[int, float]:
    """A value of one part by seed, for the seeds that have one."""
    values = {part.seed: value(result) for part, result in found.items() if part.name == name}
    return {seed: each for seed, each in sorted(values.items()) if each is not None}


def _cell(values: Mapping[int, float]) -> str:
    return str(Spread.of(list(values.values()))) if values else "–"


def _gap(ones: Mapping[int, float], others: Mapping[int, float]) -> Spread | None:
    """One value minus the other, over the seeds that have both."""
    gaps = [ones[seed] - others[seed] for seed in ones if seed in others]
    return Spread.of(gaps) if gaps else None


def _difference(found: Found, one: str, other: str, value: Callable[[Result], float | None]) -> Spread | None:
    """One part's value minus another's."""
    return _gap(_values(found, one, value), _values(found, other, value))


def _verdict(difference: Spread | None, claim: str) -> str:
    if difference is None:
        return f"*{claim}*: not run yet."
    answer = "holds" if difference.mean > 0 else "does not hold"
    clear = "clearly" if difference.is_clear else "but within the spread of the seeds"
    return f"*{claim}*: {answer}, {clear} ({difference.signed} points)."


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(head), *map(list, rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _right(path: str) -> Callable[[Result], float | None]:
    return lambda result: result.right(path)


def _same(path: str, kind: str) -> Callable[[Result], float | None]:
    return lambda result: result.marks["same_questions"].get(kind, {}).get(path)


def _both_paths(found: Found) -> str:
    """Claim 1."""
    name = "rl-joint"
    results = [result for part, result in found.items() if part.name == name]
    kinds = sorted({kind for r in results for path in PATHS for kind in r.marks["paths"][path]["accuracy_by_kind"]})

    def of_kind(path: str, kind: str) -> Callable[[Result], float | None]:
        return lambda result: result.marks["paths"][path]["accuracy_by_kind"].get(kind)

    all_questions = _table(
        ("kind", "LOR", "DTR"),
        [
            ("**all**", *(_cell(_values(found, name, _right(path))) for path in PATHS)),
            *((kind, *(_cell(_values(found, name, of_kind(path, kind))) for path in PATHS)) for kind in kinds),
        ],
    )
    shared = sorted({kind for r in results for kind in r.marks["same_questions"]} - {"all"})
    same = _table(
        ("regions, asked both ways", "LOR", "DTR", "DTR − LOR"),
        [
            (
                f"**{kind}**" if kind == "all" else kind,
                *(_cell(_values(found, name, _same(path, kind))) for path in PATHS),
                _ahead(found, name, kind),
            )
            for kind in ("all", *shared)
        ],
    )
    metric = [
        fmean(r.marks["same_questions"][kind]["dtr"] - r.marks["same_questions"][kind]["lor"] for kind in _METRIC_KINDS)
        for r in results
        if all(kind in r.marks["same_questions"] for kind in _METRIC_KINDS)
    ]
    verdict = _verdict(Spread.of(metric) if metric else None, "DTR beats LOR on metric questions (depth, distance)")
    return (
        f"## 1. One model, both paths\n\nAfter joint RL, by kind of question.\n\n{all_questions}\n\n{same}\n\n{verdict}"
    )


def _ahead(found: Found, name: str, kind: str) -> str:
    gap = _gap(_values(found, name, _same("dtr", kind)), _values(found, name, _same("lor", kind)))
    return "–" if gap is None else gap.signed


def _joint_or_single(found: Found) -> str:
    """Claim 2."""
    rows = [
        (title, *(_cell(_values(found, name, _right(path))) for path in PATHS))
        for name, title in {
            "cold-full": "cold start",
            "rl-joint": "joint RL",
            "rl-lor": "LOR-only RL",
            "rl-dtr": "DTR-only RL",
        }.items()
    ]
    verdicts = [
        _verdict(_difference(found, "rl-joint", f"rl-{path}", _right(path)), f"joint RL beats {title} on {title[:3]}")
        for path, title in (("lor", "LOR-only RL"), ("dtr", "DTR-only RL"))
    ]
    table = _table(("right", "LOR", "DTR"), rows)
    note = "Equal numbers of updates and of responses; every model is tested on both paths."
    return "\n\n".join(["## 2. Joint RL, or one path alone", note, table, *verdicts])


def _cold_starts(found: Found, plot: Path) -> str:
    """Claim 3."""

    def row(name: str, title: str) -> tuple[str, ...]:
        before, after = f"cold-{name}", f"rl-{name}" if name != "full" else "rl-joint"
        cells = [_cell(_values(found, phase, _right(path))) for path in PATHS for phase in (before, after)]
        # On the two paths only: a cold start without grounding has never seen how grounding questions are answered.
        kept = _cell(_values(found, before, lambda r: fmean(r.marks["paths"][p]["format_rate"] for p in PATHS)))
        grounding = _cell(_values(found, before, lambda r: r.marks["direct_accuracy"]))
        return title, *cells, kept, grounding, _centers(found, before), _failures(found, after)

    before_after = [f"{path} {when}" for path in ("LOR", "DTR") for when in ("before", "after RL")]
    marks = ("format kept before", "grounding and plain questions before", "centre error before, m")
    head = ("cold start", *before_after, *marks, "failed responses in RL")
    table = _table(head, [row(name, title) for name, title in _COLD_STARTS.items()])
    _draw_curves(found, plot)
    verdicts = [
        _verdict(
            _difference(found, "rl-joint", f"rl-{name}", lambda r: sum(map(r.right, PATHS)) / 2),
            f"RL after the full blend ends above RL after {title}",
        )
        for name, title in list(_COLD_STARTS.items())[1:]
    ]
    return "\n\n".join(
        [
            "## 3. What the cold start must hold",
            table,
            f"![reward over RL steps, by cold start]({plot.name})",
            *verdicts,
        ]
    )


def _centers(found: Found, name: str) -> str:
    values = _values(found, name, lambda r: r.marks["center_error_m_median"])
    if not values:
        return "–"
    spread = Spread.of(list(values.values()))
    return f"{spread.mean:.3f}" + (f" ± {spread.deviation:.3f}" if len(values) > 1 else "")


def _failures(found: Found, name: str) -> str:
    values = _values(found, name, lambda r: float(sum(step.get("num_failures", 0) for step in r.curve)))
    return f"{sum(values.values()):.0f}" if values else "–"


def _transfer(found: Found) -> str:
    """Claim 4."""

    def on(domain: str, path: str) -> Callable[[Result], float | None]:
        return lambda result: result.marks["paths"][path]["accuracy_by_domain"].get(domain)

    rows = [
        (title, *(_cell(_values(found, name, on(domain, path))) for domain in ("tabletop", "room") for path in PATHS))
        for name, title in {"rl-joint": "both families", "rl-tabletop": "tabletops only"}.items()
    ]
    head = ("trained on", "tabletop LOR", "tabletop DTR", "room LOR", "room DTR")
    reward_rows = [
        (title, *(_cell(_values(found, name, _right(path))) for path in PATHS), _centers(found, name))
        for name, title in {
            "cold-full": "before RL",
            "rl-joint": "with it",
            "rl-no-center": "without it",
        }.items()
    ]
    verdicts = [
        _verdict(
            _difference(found, "rl-tabletop", "cold-tabletop", lambda r: on("room", "dtr")(r)),
            "RL on tabletops alone also helps DTR in rooms, which it never saw",
        ),
        _verdict(
            _difference(found, "rl-joint", "rl-no-center", _right("dtr")),
            "the centre reward makes DTR right more often",
        ),
    ]
    centre = _table(("centre reward", "LOR", "DTR", "median centre error, m"), reward_rows)
    return "\n\n".join(["## 4. Other scenes, and the centre reward", _table(head, rows), centre, *verdicts])


def _commands(found: Found, seed: int) -> str:
    lines = [f"# {part.title}\n{result.command}" for part, result in found.items() if part.seed == seed]
    return f"## Commands (seed {seed})\n\n```\n" + "\n".join(lines) + "\n```"


def _draw_curves(found: Found, file: Path) -> None:
    """Mean reward over RL steps: a line for each cold start, a panel for each path."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np

    figure, panels = plt.subplots(1, len(PATHS), figsize=(12, 4.5), layout="constrained")
    for axes, path in zip(panels, PATHS, strict=True):
        for name, title in _COLD_STARTS.items():
            part_name = "rl-joint" if name == "full" else f"rl-{name}"
            curves = [_curve(result, path) for part, result in found.items() if part.name == part_name]
            if curves and (length := min(map(len, curves))):
                stacked = np.array([curve[:length] for curve in curves])
                width = min(5, length)
                smooth = np.array([np.convolve(curve, np.ones(width) / width, mode="valid") for curve in stacked])
                steps = np.arange(width, length + 1)
                (line,) = axes.plot(steps, smooth.mean(0), label=title)
                axes.fill_between(steps, smooth.min(0), smooth.max(0), color=line.get_color(), alpha=0.15)
        axes.set(title=f"{path.upper()}: mean reward over RL steps (band: the seeds)", xlabel="step")
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
    figure.savefig(file, dpi=110)
    plt.close(figure)


def _curve(result: Result, path: str) -> list[Any]:
    return [step[f"{path}/reward_mean"] for step in result.curve if step.get(f"{path}/reward_mean") is not None]
