"""The benchmark of one card: its processes end, its figures stay, and it runs at toy sizes without a card."""

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from benchmarks.gpu.figures import Figure, FigureFile, read_figures
from benchmarks.gpu.machine import Bench
from benchmarks.gpu.plan import JOBS, MODEL, PARTS, Job, Stage, chosen_jobs
from benchmarks.gpu.runner import Outcome, Runner

ROOT = Path(__file__).parents[2]
SESSIONS = "tests.benchmarks.gpu_sessions"
SHAPES = Path(__file__).parents[1] / "shapes"


def run(folder: Path, *jobs: Job, seconds: float = 30.0) -> tuple[Outcome, dict[str, Figure]]:
    bench = Bench(out=folder, work=folder, on_gpu=False, toy=True, card="a card")
    outcome = Runner(bench, FigureFile(folder, "a card"), seconds).run(jobs)
    return outcome, {figure.name: figure for figure in read_figures(folder)}


def job(name: str, *methods: str, session: str = "Mixed", seconds: float = 20.0) -> Job:
    stages = tuple(Stage("" if method == "load" else "a", method, seconds) for method in methods)
    return Job(name, f"{SESSIONS}:{session}", stages)


def test_a_figure_is_compared_with_its_reference(tmp_path: Path) -> None:
    outcome, found = run(tmp_path, job("one", "works"))
    assert outcome.failed == outcome.cut == []
    works = found["works"]
    assert (works.part, works.value, works.unit, works.reference, works.ratio) == ("a", 2.0, "s", 4.0, 0.5)
    assert works.card == "a card"


def test_what_follows_a_part_that_fails_gets_another_process_which_loads_again(tmp_path: Path) -> None:
    outcome, found = run(tmp_path, job("one", "load", "raises", "works"), job("two", "works"))
    assert outcome.failed == ["a (one): RuntimeError: no such card"]
    assert found["one: failed"].note == "RuntimeError: no such card (log: one.log)"
    assert [figure.name for figure in read_figures(tmp_path)] == ["loads", "one: failed", "loads", "works", "works"]


def test_a_part_past_its_deadline_is_killed_with_its_children_and_its_figures_stay(tmp_path: Path) -> None:
    outcome, found = run(tmp_path, job("one", "hangs", seconds=1.0), job("two", "works"))
    assert outcome.failed == ["a (one): took more than 1 s"]
    child = found["child"].value
    assert isinstance(child, (int, float))
    assert not psutil.pid_exists(int(child)) or psutil.Process(int(child)).status() == psutil.STATUS_ZOMBIE
    assert found["works"].value == 2.0


def test_what_the_time_does_not_allow_is_left_out_and_told(tmp_path: Path) -> None:
    outcome, found = run(tmp_path, job("one", "hangs"), job("two", "works"), seconds=3.0)
    assert outcome.cut == ["a (hangs)", "a (works)"]
    assert outcome.failed == []
    assert "child" in found
    assert found["works: left out"].note == "the time was up"
    assert outcome.seconds < 15


def test_a_process_that_cannot_import_fails_its_parts_and_no_others(tmp_path: Path) -> None:
    outcome, found = run(tmp_path, job("one", "load", "works", session="Unimportable"), job("two", "works"))
    assert outcome.failed == ["a (one): load: ImportError: no such library"]
    assert found["works"].value == 2.0


def test_every_part_has_a_process_and_every_stage_a_part() -> None:
    assert {stage.part for job in JOBS for stage in job.stages} - {""} == set(PARTS)


def test_parts_run_in_the_order_asked_for_after_what_they_need() -> None:
    chosen = chosen_jobs(JOBS, ["step", "push"], on_gpu=True)
    assert [job.name for job in chosen] == ["model", "step-shared", "step-sleep", "graphs-ipc", "eager-nccl"]
    assert [stage.method for stage in chosen[3].stages] == ["load", "push"]
    assert MODEL not in chosen_jobs(JOBS, ["probe", "demo_gpu"], on_gpu=True)
    assert [job.name for job in chosen_jobs(JOBS, ["eager-nccl"], on_gpu=True)] == ["model", "eager-nccl"]


def test_without_a_card_nothing_is_measured_twice() -> None:
    assert "graphs-ipc" not in [job.name for job in chosen_jobs(JOBS, None, on_gpu=False)]


def test_the_large_model_has_the_shape_of_qwen3_vl_2b() -> None:
    from benchmarks.gpu.models import QWEN3_VL_2B

    published = json.loads((SHAPES / "Qwen3-VL-2B-Instruct" / "config.json").read_text())
    for part in ("text", "vision"):
        ours = getattr(QWEN3_VL_2B, part)
        theirs = published[f"{part}_config"]
        different = {key for key in ours.keys() & theirs.keys() if ours[key] != theirs[key]}
        assert different <= {"max_position_embeddings"}
        assert {"hidden_size", "intermediate_size"} <= ours.keys() & theirs.keys()


def figures_of(tmp_path: Path, *only: str, timeout: float) -> dict[str, float]:
    """What the program itself finds at toy sizes; its last line, and its file, have the same figures."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--toy", "--out", str(tmp_path), "--seconds", str(timeout)]
    done = subprocess.run([*command, "--only", *only], cwd=ROOT, capture_output=True, text=True, timeout=timeout + 60)
    logs = "".join(file.read_text()[-2000:] for file in (tmp_path / "logs").glob("*.log"))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:] + logs
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["cut"] == found["failed"] == []
    assert len(found["figures"]) <= len(read_figures(tmp_path))
    return dict(found["figures"])


def has(figures: dict[str, float], part: str, *names: str) -> bool:
    return all(any(key.startswith(f"{part}/") and name in key for key in figures) for name in names)


@pytest.mark.stack
def test_card_and_learner_are_measured_at_toy_sizes(tmp_path: Path) -> None:
    figures = figures_of(tmp_path, "probe", "learner", timeout=250)
    assert has(figures, "probe", "product", "copy on the device", "attention")
    assert has(figures, "learner", "speed")


@pytest.mark.stack
@pytest.mark.timeout(400)
def test_an_engine_agrees_is_fed_and_outlived_at_toy_sizes(tmp_path: Path) -> None:
    figures = figures_of(tmp_path, "eager-nccl", timeout=330)
    assert has(figures, "push", "speed", "pause", "packing")
    assert has(figures, "engine", "tokens against raw", "regions against none")
    assert has(figures, "faults", "push has failed", "generates")
    differences = [value for key, value in figures.items() if key.startswith("parity/")]
    assert len(differences) == 6
    assert max(differences) < 1e-4


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_whole_runs_and_the_other_family_are_measured_at_toy_sizes(tmp_path: Path) -> None:
    figures = figures_of(tmp_path, "families", "step", "demo_gpu", timeout=800)
    assert has(figures, "parity", "Qwen2.5-VL")
    assert has(figures, "step", "shared: a step", "share of update")
    assert has(figures, "demo_gpu", "in all", "after RL: format_rate")
