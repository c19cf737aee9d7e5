"""The claims' plan and report. The runs themselves are `make claims`, hours."""

from pathlib import Path
from typing import Any

import pytest

from experiments.claims.plan import CONFIG, Part, chosen, parts_of, shown
from experiments.claims.report import write_report
from experiments.claims.results import Result, Spread
from launch.settings.config import load_config


@pytest.mark.parametrize("part", parts_of(1), ids=lambda part: part.name)
def test_every_part_is_a_valid_run(part: Part) -> None:
    command = part.command(Path("runs/claims"))
    overrides = [argument for argument in command[3:] if "=" in argument]
    config = load_config(CONFIG, overrides)
    assert (config.run, config.seed) == (f"runs/claims/seed-1/{part.name}", 1)
    # A fair comparison: the same number of groups, and of updates, in every run.
    assert sum(config.training.groups_per_step.values()) == 40
    assert config.training.num_steps == load_config(CONFIG).training.num_steps


def test_the_cold_start_without_grounding_keeps_the_rest_of_the_blend_as_it_is() -> None:
    (part,) = (part for part in parts_of(0) if part.name == "cold-no-grounding")
    full = load_config(CONFIG).learner.sft.blend or {}
    blend = load_config(CONFIG, part.changes).learner.sft.blend or {}
    assert blend == {task: 0.0 if task.startswith("grounding") else weight for task, weight in full.items()}


def test_chosen_parts_bring_the_cold_starts_that_they_need() -> None:
    picked = [(part.seed, part.name) for part in chosen([0, 1], ["rl-joint", "rl-lor"])]
    names = ("cold-full", "rl-joint", "rl-lor")
    assert picked == [(seed, name) for name in names for seed in (0, 1)]
    assert chosen([0, 1], []) == [*parts_of(0), *parts_of(1)]
    with pytest.raises(ValueError, match="no part is called rl-best"):
        chosen([0], ["rl-best"])


def test_a_run_of_rl_comes_after_the_cold_start_that_it_begins_with() -> None:
    names = [part.name for part in parts_of(0)]
    assert all(names.index(part.start) < index for index, part in enumerate(parts_of(0)) if part.start)


def result(part: Part, lor: float, dtr: float) -> Result:
    def path(accuracy: float) -> dict[str, Any]:
        return {
            "accuracy": accuracy,
            "format_rate": 0.98 if accuracy == lor else 0.94,
            "accuracy_by_kind": {"depth": accuracy},
            "accuracy_by_domain": {"room": accuracy, "tabletop": accuracy},
        }

    marks = {
        "paths": {"lor": path(lor), "dtr": path(dtr)},
        "same_questions": {kind: {"lor": lor, "dtr": dtr} for kind in ("all", "depth", "distance")},
        "direct_accuracy": 0.3,
        "center_error_m_median": 0.2,
    }
    curve = [{"step": 1, "lor/reward_mean": lor, "dtr/reward_mean": dtr, "num_failures": 1}] if part.start else []
    return Result(part.key, part.settings, shown(part, Path("runs")), 60.0, marks, curve)


def test_the_report_says_what_holds_and_how_clearly(tmp_path: Path) -> None:
    by_seed = {0: {"rl-joint": (0.5, 0.7), "rl-lor": (0.55, 0.6)}, 1: {"rl-joint": (0.5, 0.8), "rl-lor": (0.49, 0.6)}}
    found = {
        part: result(part, *by_seed[seed].get(part.name, (0.4, 0.5)))
        for seed in by_seed
        for part in parts_of(seed)
        if part.name != "rl-tabletop"
    }
    write_report(found, tmp_path / "REPORT.md")
    text = (tmp_path / "REPORT.md").read_text()
    assert "| joint RL | 50.0 ± 0.0 | 75.0 ± 7.1 |" in text
    assert "DTR beats LOR on metric questions (depth, distance)*: holds, clearly (+25.0 ± 7.1 points)" in text
    assert "| no grounding | 40.0 ± 0.0 | 40.0 ± 0.0 | 50.0 ± 0.0 | 50.0 ± 0.0 | 96.0 ± 0.0 | 30.0 ± 0.0 |" in text
    # -5 and +1 points.
    assert "joint RL beats LOR-only RL on LOR*: does not hold, but within the spread" in text
    assert "which it never saw*: not run yet" in text
    assert "sr-real train --config demo --from runs/seed-0/cold-full/cold_start_model" in text
    assert (tmp_path / "cold_starts.png").stat().st_size > 10_000


def test_differences_are_taken_within_a_seed(tmp_path: Path) -> None:
    joint = {seed: next(p for p in parts_of(seed) if p.name == "rl-joint") for seed in (0, 1)}
    alone = next(p for p in parts_of(1) if p.name == "rl-lor")
    found = {joint[0]: result(joint[0], 0.9, 0.5), joint[1]: result(joint[1], 0.6, 0.5), alone: result(alone, 0.5, 0.5)}
    write_report(found, tmp_path / "REPORT.md")
    # Seed 0 has no LOR-only run: only seed 1 counts, 60 - 50.
    assert (
        "joint RL beats LOR-only RL on LOR*: holds, but within the spread of the seeds (+10.0 points)"
        in (tmp_path / "REPORT.md").read_text()
    )


def test_a_spread_is_clear_when_the_mean_exceeds_the_deviation() -> None:
    assert Spread.of([0.10, 0.12, 0.14]).is_clear
    assert not Spread.of([0.10, -0.12, 0.14]).is_clear
    assert not Spread.of([0.10]).is_clear
    assert str(Spread.of([0.10, 0.12])) == "11.0 ± 1.4"
