"""What the page shows of GPUs."""

import json
from pathlib import Path

from dashboard.charts import CHARTS, has_numbers
from dashboard.metrics import MetricsTable
from dashboard.run_view import RunView
from dashboard.views.cards import busy_table, card_tables, phase_table
from dashboard.views.now import tiles
from tests.dashboard.run_on_disk import write_run

STEP = {
    "gpu/kind": "NVIDIA H100 80GB HBM3",
    "gpu/num_cards": 2,
    "gpu/tokens_per_s": 7600.4,
    "gpu/generate_tokens_per_s": 9000.0,
    "gpu/update_tokens_per_s": 21000.0,
    "gpu/mfu": 0.334,
    "gpu/busy_mean": 0.72,
    "gpu/busy_update": 0.93,
    "gpu/busy_generate": 0.98,
    "gpu/busy/learner-0": 0.7,
    "gpu/busy/rollout-0": 0.6,
    "gpu/memory/learner_update_gib": 55.25,
    "gpu/memory/engine_generate_gib": 52.0,
    "gpu/memory/fullest_share": 0.86,
    "time/step_s": 43.0,
    "time/rollout_s": 22.0,
    "time/update_s": 19.04,
}


def table(path: Path, *rows: dict) -> MetricsTable:
    path.write_text("".join(json.dumps({"step": number, **row}) + "\n" for number, row in enumerate(rows, 1)))
    found = MetricsTable(path)
    found.refresh()
    return found


def test_each_phase_has_its_speed_its_work_and_its_memory_and_a_dash_where_none_was_seen(tmp_path: Path) -> None:
    head, rows = phase_table(table(tmp_path / "metrics.jsonl", STEP))
    assert [len(row) for row in rows] == [len(head)] * 4
    assert rows == [
        ["generation", "22.0", "9,000", "98%", "–", "52.0"],
        ["update", "19.0", "21,000", "93%", "55.2", "–"],
        ["weight push", "–", "–", "–", "–", "–"],
        ["whole step", "43.0", "7,600", "72%", "", ""],
    ]


def test_where_learner_and_engines_take_turns_falling_asleep_is_a_phase(tmp_path: Path) -> None:
    _, rows = phase_table(table(tmp_path / "metrics.jsonl", {**STEP, "time/sleep_s": 1.25}))
    assert rows[1] == ["engines fall asleep", "1.2", "–", "–", "–", "–"]


def test_the_idlest_card_comes_first_and_one_that_has_left_is_gone(tmp_path: Path) -> None:
    metrics = table(tmp_path / "metrics.jsonl", {**STEP, "gpu/busy/rollout-1": 0.1}, STEP)
    assert busy_table(metrics) == [["rollout-0", "60%"], ["learner-0", "70%"]]


def test_a_run_on_cpus_shows_nothing_of_gpus(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run").root
    view = RunView(root)
    view.refresh()
    assert card_tables(view.metrics) == []
    assert not any("GPU" in title or "MFU" in title for title, _, _ in tiles(view, None))
    assert not any("GPU" in chart.title for chart in CHARTS if has_numbers(chart, {"run": view.metrics}))


def test_now_has_the_means_of_the_last_steps(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", 1)
    for step, rate in ((2, 7000.0), (3, 8000.0)):
        folder.append_metrics({"step": step, **STEP, "gpu/tokens_per_s": rate})
    view = RunView(folder.root)
    view.refresh()
    shown = {title: (value, course) for title, value, course in tiles(view, None)}
    assert shown["tokens per second and GPU"] == ("7,500", [7000.0, 8000.0])
    assert shown["MFU of the learner"][0] == "33.4%"
    assert (shown["GPUs at work"][0], shown["memory of the fullest GPU"][0]) == ("72%", "86%")
