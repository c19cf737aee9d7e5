"""What goes to wandb and to Prometheus, without either."""

import json
from pathlib import Path

from actors.loop.step_metrics import step_metrics
from actors.run.telemetry import first_responses, gauge_name

GRAFANA = Path(__file__).parents[3] / "launch" / "grafana.json"
# Those that the training loop and the learner add to `step_metrics`.
OTHERS = {
    *("step", "kl_rollout_learner", "clip_fraction", "importance_truncated", "rejected", "rollout_tokens_per_s"),
    *("num_failures", "time/step_s", "time/wait_s", "time/update_s", "time/push_s", "time/rollout_pause_s"),
}


def test_each_panel_of_the_grafana_dashboard_asks_for_numbers_that_a_run_has() -> None:
    known = {f"ray_{gauge_name(name)}" for name in OTHERS | set(step_metrics([], [], weight_version=1))}
    panels = json.loads(GRAFANA.read_text())["panels"]
    asked = [target["expr"] for panel in panels for target in panel["targets"]]
    assert len(asked) > 15
    assert {expression.split("{")[0] for expression in asked} <= known
    assert all(expression.endswith('{run=~"$run"}') for expression in asked)


def test_a_table_of_samples_has_one_response_of_each_of_the_first_groups_of_every_path() -> None:
    rows = [
        {"path": path, "group": group, "member": member, "response": f"{path} {group} {member}"}
        for path in ("lor", "dtr")
        for group in (7, 8, 9)
        for member in (0, 1)
    ]
    rows.insert(0, {"path": "lor", "group": 7, "failure": {"stage": "rollout"}})
    found = first_responses(map(json.dumps, rows), 2)
    assert [row["response"] for row in found] == ["lor 7 0", "lor 8 0", "dtr 7 0", "dtr 8 0"]
    assert first_responses(map(json.dumps, rows), 0) == []
