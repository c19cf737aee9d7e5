"""What the page reads of a run, while the run writes it."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from actors.run.run_folder import RunFolder
from benchmarks.recording import TRUE_M
from dashboard.groups import GroupQuery, GroupTable
from dashboard.metrics import MetricsTable, thinned
from dashboard.tail import GrowingFile
from dashboard.timeline import Span, Timeline
from tests.dashboard.run_on_disk import write_run


def lines(file: GrowingFile) -> list[tuple[int, bytes]]:
    return list(file.new_lines())


def test_a_line_counts_once_its_end_is_written(tmp_path: Path) -> None:
    path = tmp_path / "log"
    file = GrowingFile(path)
    assert not file.was_replaced()
    assert lines(file) == []
    path.write_bytes(b"one\ntw")
    assert not file.was_replaced()
    assert lines(file) == [(0, b"one")]
    with path.open("ab") as more:
        more.write(b"o\nthree\n")
    assert not file.was_replaced()
    assert lines(file) == [(4, b"two"), (8, b"three")]
    assert lines(file) == []


def test_a_file_that_was_replaced_or_is_gone_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\ntwo\n")
    file = GrowingFile(path)
    assert not file.was_replaced()
    assert len(lines(file)) == 2
    (tmp_path / "other").write_bytes(b"uno\n")
    (tmp_path / "other").replace(path)
    assert file.was_replaced()
    assert lines(file) == [(0, b"uno")]
    path.unlink()
    assert file.was_replaced()
    assert not file.was_replaced()


BAD_LINES = ['{"step": 9, "a": 0.', "[1, 2]", "null", "", "words", '{"a": 3.0}', '{"step": null, "a": 1.0}', "\x00\x00"]


@pytest.mark.parametrize("bad", BAD_LINES)
def test_a_line_that_is_no_step_is_passed_over_and_those_after_it_are_shown(tmp_path: Path, bad: str) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text(f'{{"step": 1, "a": 0.5}}\n{bad}\n{{"step": 2, "a": 0.75}}\n')
    table = MetricsTable(file)
    table.refresh()
    np.testing.assert_array_equal(table.column("step"), [1.0, 2.0])
    np.testing.assert_array_equal(table.column("a"), [0.5, 0.75])


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "null"])
def test_a_number_that_is_none_is_a_gap_and_the_rest_of_its_step_is_shown(tmp_path: Path, number: str) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text(f'{{"step": 1, "a": {number}, "b": 2.0}}\n{{"step": 2, "a": 0.75, "b": 3.0}}\n')
    table = MetricsTable(file)
    table.refresh()
    np.testing.assert_array_equal(table.column("a"), [math.nan, 0.75])
    np.testing.assert_array_equal(table.column("b"), [2.0, 3.0])


@pytest.mark.parametrize("bad", BAD_LINES)
def test_groups_and_timeline_pass_over_a_bad_line(tmp_path: Path, bad: str) -> None:
    folder = write_run(tmp_path)
    good = len(list(GrowingFile(folder.groups).new_lines()))
    for file in (folder.groups, folder.timeline):
        file.write_text(f"{bad}\n{file.read_text()}{bad}\n")
    groups, timeline = GroupTable(folder.groups, folder.trajectories), Timeline(folder.timeline)
    groups.refresh()
    timeline.refresh()
    assert len(groups) == good
    assert groups.open(good - 1).sample.sample_id
    assert all(spans for _, spans in timeline.last(100))


def test_metrics_are_columns_and_what_a_step_lacks_is_nan(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"step": 1, "a": 0.5}\n{"step": 2, "b": 7, "a": null}\n')
    table = MetricsTable(file)
    table.refresh()
    assert (table.num_steps, table.names) == (2, ["a", "b", "step"])
    np.testing.assert_array_equal(table.column("a"), [0.5, math.nan])
    np.testing.assert_array_equal(table.column("b"), [math.nan, 7.0])
    np.testing.assert_array_equal(table.column("none"), [math.nan, math.nan])
    assert (table.latest("b"), table.latest("a"), table.latest("none")) == (7.0, None, None)
    assert "".join(table.as_csv()) == "step,a,b\n1,0.5,\n2,,7\n"
    file.write_text(json.dumps({"step": 1, "a": 0.25}) + "\n")
    table.refresh()
    assert (table.num_steps, table.generation, table.latest("a")) == (1, 1, 0.25)


def test_a_thinned_curve_keeps_its_ends_and_every_peak_and_no_more_points_than_asked() -> None:
    steps = np.arange(10_000.0)
    values = np.sin(steps / 500)
    values[[17, 4321]] = 9.0, -9.0
    values[5] = math.nan
    x, y = thinned(steps, values, 600)
    assert len(x) <= 602
    assert (x[0], x[-1]) == (0.0, 9999.0)
    assert (y.max(), y.min()) == (9.0, -9.0)
    assert x[y.argmax()] == 17.0
    assert not np.isnan(y).any()
    assert (np.diff(x) > 0).all()
    short = thinned(steps[:10], values[:10], 600)
    assert short[0].tolist() == [0, 1, 2, 3, 4, 6, 7, 8, 9]


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return write_run(tmp_path / "run")


@pytest.fixture
def table(folder: RunFolder) -> GroupTable:
    table = GroupTable(folder.groups, folder.trajectories)
    table.refresh()
    return table


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (GroupQuery(), [11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]),
        (GroupQuery(paths=("dtr",), last_step=1), [3, 2]),
        (GroupQuery(kinds=("depth",), first_step=2, last_step=2), [6, 4]),
        (GroupQuery(min_reward=0.1, max_reward=0.2, first_step=3), [10, 9]),
        (GroupQuery(paths=("lor", "dtr"), trained_only=True, last_step=1), [3, 1, 0]),
        (GroupQuery(paths=("none",)), []),
    ],
)
def test_groups_are_found_by_what_they_are_about_the_newest_first(
    table: GroupTable, query: GroupQuery, found: list[int]
) -> None:
    assert table.find(query).tolist() == found


def test_a_group_opens_with_its_sample_its_responses_and_its_failures(table: GroupTable) -> None:
    group = table.open(7)
    assert (group.step, group.path, group.index, group.is_trained) == (2, "dtr", 3, True)
    assert group.sample.true_centers_m == TRUE_M
    assert [response.score["total"] for response in group.responses] == [0.3, 0.3]
    assert group.responses[0].version_spans == ((1, 3),)
    assert group.failures == ("rollout: ran out of luck",)
    summary = table.summary(7)
    assert (summary.step, summary.kind, summary.path) == (2, "left_right", "dtr")
    assert summary.reward_mean == pytest.approx(0.3)
    assert summary.center_mean == 0.5
    assert math.isnan(table.summary(0).center_mean)
    with pytest.raises(IndexError, match="12 were recorded"):
        table.open(12)


def test_what_a_resumed_run_makes_again_is_forgotten(folder: RunFolder, table: GroupTable) -> None:
    folder.truncate_metrics(1)
    table.refresh()
    assert len(table) == 4
    timeline = Timeline(folder.timeline)
    timeline.refresh()
    assert timeline.last(5) == [(1, [Span("learn", "wait", 101.0, 101.5), Span("roll out", "generate", 101.0, 101.4)])]
