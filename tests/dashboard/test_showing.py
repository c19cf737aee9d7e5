"""Figures, sentences and alarms: what is made of what was read."""

import json
import math
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from actors.errors import CoordinatorError
from actors.pool.member import MemberStatus
from actors.pool.waits import Wait
from actors.run.status import Progress, RunStatus
from dashboard.active import ActiveRun
from dashboard.alarms import find_alarms
from dashboard.charts import CHARTS, curve, has_numbers, running_mean, timeline_figure
from dashboard.groups import GroupTable, RecordedResponse
from dashboard.metrics import MetricsTable
from dashboard.run_view import RunView
from dashboard.scene import above_figure, image_figure, predicted_centers
from dashboard.spans import pieces
from dashboard.timeline import Span
from dashboard.views.now import sentence, sparkline, tiles
from tests.dashboard.run_on_disk import write_run

TOKENIZER = Path(__file__).parents[2] / "assets" / "tiny-base" / "tokenizer.json"


def make_member(name: str, state: str = "serving", is_quarantined: bool = False) -> MemberStatus:
    return MemberStatus(name, state, "it broke", 3.0, 7, 2, 1, is_quarantined)


def make_status(*workers: MemberStatus) -> RunStatus:
    return RunStatus(Progress("RL", 2, 9), 2, list(workers), 0, "none", [Wait("learn", "groups", 1.5)], 0, [])


def make_metrics(path: Path, **columns: list[float]) -> MetricsTable:
    rows = zip(*columns.values(), strict=True)
    path.write_text("".join(json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in rows))
    table = MetricsTable(path)
    table.refresh()
    return table


def test_a_running_mean_is_over_the_steps_that_have_a_number() -> None:
    values = np.array([1.0, math.nan, 3.0, 5.0])
    np.testing.assert_allclose(running_mean(values, 2), [1.0, math.nan, 3.0, 4.0])
    np.testing.assert_allclose(running_mean(values, 3), [1.0, math.nan, 2.0, 4.0])
    assert running_mean(values, 1) is values


def test_a_chart_has_a_curve_for_each_path_and_run_and_only_for_what_was_measured(tmp_path: Path) -> None:
    a = make_metrics(tmp_path / "a", **{"step": [1, 2], "lor/reward_mean": [0.25, 0.5], "dtr/reward_mean": [0.5, 1.0]})
    b = make_metrics(tmp_path / "b", **{"step": [1, 2, 3], "lor/reward_mean": [0.0, 0.0, 1.0]})
    reward = CHARTS[0]
    figure = curve(reward, {"a": a, "b": b}, "light")
    assert [trace.name for trace in figure.data] == ["LOR a", "DTR a", "LOR b"]
    assert list(figure.data[1].y) == [0.5, 1.0]
    assert list(figure.data[2].x) == [1, 2, 3]
    assert figure.data[0].line.color == figure.data[2].line.color
    assert figure.data[0].line.dash != figure.data[2].line.dash
    zoomed = curve(reward, {"b": b}, "dark", zoom=(2.9, 3.2))
    assert list(zoomed.data[0].x) == [2, 3]
    by_title = {chart.title: chart for chart in CHARTS}
    assert has_numbers(reward, {"a": a})
    assert not has_numbers(by_title["Gradient norm"], {"a": a})


def test_validation_questions_have_a_chart_with_a_point_for_each_time_they_were_asked(tmp_path: Path) -> None:
    chart = next(chart for chart in CHARTS if chart.prefix == "validation/")
    metrics = MetricsTable(tmp_path / "metrics.jsonl")
    lines = [{"step": 1, "validation/lor/accuracy": 0.25}, {"step": 2}, {"step": 3, "validation/lor/accuracy": 0.75}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert not has_numbers(chart, {"a": metrics})
    metrics.refresh()
    (line,) = curve(chart, {"a": metrics}, "light").data
    assert (line.name, line.mode, list(line.x), list(line.y)) == ("LOR", "lines+markers", [1, 3], [0.25, 0.75])


def test_the_timeline_has_a_bar_for_each_stretch_from_the_first_on() -> None:
    spans = [Span("learn", "wait", 100.0, 100.5), Span("learn", "update", 100.5, 102.0)]
    figure = timeline_figure([(4, spans), (5, [Span("learn", "wait", 102.0, 102.25)])], "light")
    wait, update = figure.data
    assert (list(wait.base), list(wait.x), list(wait.customdata)) == ([0.0, 2.0], [0.5, 0.25], [4, 5])
    assert (list(update.base), list(update.x)) == ([0.5], [1.5])


@pytest.fixture
def table(tmp_path: Path) -> GroupTable:
    folder = write_run(tmp_path / "run", 1)
    table = GroupTable(folder.groups, folder.trajectories)
    table.refresh()
    return table


def test_a_groups_picture_has_true_and_predicted_centres_on_the_image_and_from_above(table: GroupTable) -> None:
    group = table.open(2)
    predicted = predicted_centers(group)
    assert [one.member for one in predicted] == [0, 0, 1, 1]
    assert predicted[1].center_m == pytest.approx((0.5, 0.25, 2.6))
    image = {trace.name: trace for trace in image_figure(group, 0, "/image/x", "light", None).data}
    assert list(image["true"].x) == pytest.approx([32.0, 64 * 0.5 / 2.5 + 32])
    assert list(image["predicted"].y)[:2] == pytest.approx([32.0, 64 * 0.25 / 2.6 + 32])
    above = above_figure(group, "dark", 0)
    assert above is not None
    by_name = {trace.name: trace for trace in above.data if trace.name}
    assert (list(by_name["true"].x), list(by_name["true"].y)) == ([0.0, 0.5], [2.0, 2.5])
    assert set(by_name["true"].marker.color) == set(by_name["predicted"].marker.color)
    assert above_figure(table.open(0), "light", None) is None


def test_a_response_is_cut_where_another_version_went_on() -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(TOKENIZER))
    token_ids = tuple(tokenizer.encode("red point to blue point: right 0.2, so 0.5 m.", add_special_tokens=False).ids)
    whole = tokenizer.decode(list(token_ids))

    def respond(*spans: tuple[int, int]) -> RecordedResponse:
        return RecordedResponse(0, whole, {}, spans, token_ids, "stop", "rollout-0")

    cut = pieces(respond((3, 4), (4, len(token_ids) - 4)), TOKENIZER)
    assert [version for _, version in cut] == [3, 4]
    assert "".join(text for text, _ in cut) == whole
    assert cut[0][0] == tokenizer.decode(list(token_ids[:4]))
    assert pieces(respond((3, len(token_ids))), TOKENIZER) == [(whole, 3)]
    assert pieces(respond((3, 4), (4, 9)), Path("nowhere")) == [(whole, None)]


def test_alarms_say_what_is_wrong_and_nothing_of_a_healthy_run(tmp_path: Path) -> None:
    steps = list(range(40))
    healthy = make_metrics(
        tmp_path / "healthy", **{"step": steps, "lor/reward_mean": [0.6] * 40, "lor/format_mean": [0.99] * 40}
    )
    assert find_alarms(healthy, None, tmp_path) == []
    assert find_alarms(healthy, make_status(make_member("rollout-0")), tmp_path / "none") == []
    sick = make_metrics(
        tmp_path / "sick",
        **{
            "step": steps,
            "lor/reward_mean": [0.6] * 20 + [0.3] * 20,
            "dtr/format_mean": [0.5] * 40,
            "kl_rollout_learner": [0.02] * 40,
            "num_failures": [1] * 40,
            "groups_trained": [10] * 40,
        },
    )
    status = make_status(make_member("rollout-1", "dead", is_quarantined=True))
    found = [alarm.what for alarm in find_alarms(sick, status, tmp_path / "none")]
    assert found == [
        "LOR: the reward has collapsed, from 0.60 to 0.30 (means of 10 steps)",
        "rollout-1 is in quarantine: it broke",
        "DTR: only 50% of responses are in the right format",
        "rollout and learner disagree: divergence 0.020 nats per token over 10 steps",
        "10 responses failed in the last 10 steps",
        "no rollout worker is serving",
    ]


class FakeControls:
    def __init__(self) -> None:
        self.num_asked = 0
        self.is_down = False

    def status(self) -> RunStatus:
        self.num_asked += 1
        if self.is_down:
            raise CoordinatorError("it is gone")
        return make_status(make_member("rollout-0"), make_member("rollout-1", "stale"))

    def scale(self, num_rollouts: int) -> None:
        raise CoordinatorError("max_workers=8")

    def drain(self, worker: str) -> None: ...

    def restart(self, worker: str) -> None: ...


def test_the_state_of_a_run_is_one_sentence(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run").root
    (root / "config.json").write_text(json.dumps({"training": {"num_steps": 9, "group_size": 2}}))
    ended = RunView(root)
    ended.refresh()
    assert sentence(ended, None) == "It stopped after 3 of 9 steps."
    live = FakeControls()
    active = RunView(root, ActiveRun(live))
    active.refresh()
    assert sentence(active, active.status) == "RL: 2 of 9; 1 of 2 rollout workers are serving."
    shown = {title: value for title, value, _ in tiles(active, active.status)}
    # Four groups of two responses in two seconds; six steps of two seconds are left.
    assert shown["responses per second"] == "4.0"
    assert shown["time left"] == "0:00:12"
    assert (shown["step"], shown["weight version"], shown["LOR reward"]) == ("3 / 9", "2", "0.300")


def test_a_sparkline_is_a_picture_from_its_lowest_value_to_its_highest() -> None:
    svg = unquote(sparkline([0.0, 1.0, 0.5]))
    assert svg.startswith("data:image/svg+xml,<svg")
    assert 'points="0,27.0 1,1.0 2,14.0"' in svg
    assert 'points="0,27.0 1,27.0"' in unquote(sparkline([2.0, 2.0]))


def test_a_status_is_asked_for_once_a_second_however_many_watch_and_actions_are_noted() -> None:
    live = FakeControls()
    active = ActiveRun(live)
    for _ in range(100):
        active.status()
    assert live.num_asked == 1
    assert active.act("scale to 9", lambda: live.scale(9)) == "scale to 9: refused, max_workers=8"
    assert active.act("drain rollout-0", lambda: live.drain("rollout-0")) == "drain rollout-0: done"
    assert [line.split(" ", 1)[1] for line in active.actions] == [
        "drain rollout-0: done",
        "scale to 9: refused, max_workers=8",
    ]
    live.is_down = True
    assert active.status() is None
    assert active.problem == "it is gone"
