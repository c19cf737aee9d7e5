"""Whole runs by the command line, on real Ray, vLLM and DeepSpeed, with a tiny untrained model."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from safetensors.torch import load_file

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
BASE = ROOT / "assets" / "tiny-base"
OURS = {"SR_REAL_END_TO_END_TEST": str(uuid.uuid4())}
"""In the environment of every process that these tests start: other runs on the machine are not theirs."""
SMALL = [
    # The demo does without a reference.
    "learner.kl_coefficient=0.01",
    "rollout.num_workers=1",
    "data.num_train_scenes=24",
    "data.num_validation_scenes=2",
    "data.num_test_scenes=4",
    "learner.sft.steps=12",
    "learner.sft.rows_per_batch=16",
    "training.groups_per_step={lor: 2, dtr: 2}",
    "training.group_size=3",
    # An untrained model: every group counts, and the reward is one that it sometimes gets.
    "training.filter={min_mean_reward: -1, max_mean_reward: 2}",
    "rewards.custom=tests.launch.rewards_for_tests:parity",
    "rollout.sampling.max_response_tokens=24",
    "evaluation={num_questions: 6, num_samples: 2}",
    # A schedule that ends would be another one for a run that is asked for more steps.
    "learner.optimizer.schedule=constant",
]
NUM_STEPS = 6


def command(*arguments: str) -> list[str]:
    return [str(Path(sys.executable).with_name("sr-real")), *arguments]


def start(*arguments: str, own_session: bool = False) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **OURS}
    return subprocess.Popen(
        command(*arguments),
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=own_session,
        # A shell's background job is born deaf to Ctrl-C, and the tests may run in one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def run(*arguments: str) -> str:
    process = start(*arguments)
    output, _ = process.communicate(timeout=550)
    assert process.returncode == 0, output[-6000:]
    return output


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def await_true(process: "subprocess.Popen[str]", condition: Callable[[], bool], timeout_s: float = 400) -> None:
    """Wait for a condition that the process brings about; fails with its output if it ends before."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert process.poll() is None, process.communicate()[0][-6000:]
        assert time.monotonic() < deadline_s
        time.sleep(0.1)


def await_steps(process: "subprocess.Popen[str]", folder: Path, number: int) -> None:
    await_true(process, lambda: (folder / "metrics.jsonl").exists() and len(metrics(folder)) >= number)


def assert_nothing_is_left(family: list[psutil.Process]) -> None:
    """No process of these tests is alive, nor one of `family`."""
    alive = [p for p in psutil.process_iter(["pid", "cmdline"]) if _is_ours(p)]
    assert alive == [], [p.info for p in alive]
    _, left = psutil.wait_procs(family, timeout=5)
    assert [process for process in left if _is_alive(process)] == []


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A finished small demo: its folder, and what the terminal showed."""
    folder = tmp_path_factory.mktemp("runs") / "demo"
    return folder, run("demo", f"run={folder}", f"training.num_steps={NUM_STEPS}", *SMALL)


def test_a_demo_leaves_a_complete_run_folder(demo: tuple[Path, str]) -> None:
    folder, output = demo
    names = ["config.json", "metrics.jsonl", "summary.json", "summary.png", "images", "trajectories", "checkpoints"]
    assert [name for name in names if not (folder / name).exists()] == []
    assert "Figures" in output
    assert json.loads((folder / "config.json").read_text())["training"]["num_steps"] == NUM_STEPS
    summary = json.loads((folder / "summary.json").read_text())
    promised = """lor_accuracy dtr_accuracy lor_accuracy_greedy dtr_accuracy_greedy format_rate center_error_m_median
        seconds"""
    assert set(promised.split()) <= set(summary["cold_start"])
    assert set(promised.split()) <= set(summary["rl"])
    assert summary["seconds_total"] > 0


def test_metrics_hold_every_promised_key_and_learning_happens(demo: tuple[Path, str]) -> None:
    rows = metrics(demo[0])
    promised = """step weight_version lor/reward_mean lor/accuracy_mean lor/format_mean dtr/reward_mean
        dtr/accuracy_mean dtr/format_mean dtr/center_mean lor/response_tokens_mean dtr/response_tokens_mean
        groups_trained groups_filtered num_failures staleness_mean staleness_max kl_reference kl_rollout_learner
        clip_fraction grad_norm rollout_tokens_per_s time/step_s time/rollout_s time/score_s time/update_s time/push_s
        time/pack_s time/rollout_pause_s canary_difference push_bytes"""
    assert [row["step"] for row in rows] == list(range(1, NUM_STEPS + 1))
    for row in rows:
        assert set(promised.split()) <= set(row)
        assert row["grad_norm"] > 0
        assert row["staleness_max"] == 0
        # The engine's log-probabilities are the learner's, in fp32, after every push.
        assert abs(row["kl_rollout_learner"]) < 1e-4
    assert rows[1]["kl_reference"] > 0


def test_trajectories_tell_what_was_asked_answered_and_scored(demo: tuple[Path, str]) -> None:
    folder, _ = demo
    rows = [json.loads(line) for line in (folder / "trajectories" / "step-000002.jsonl").read_text().splitlines()]
    assert len(rows) == 4 * 3
    for row in rows:
        assert {"prompt", "path", "response", "score", "version_spans", "images"} <= set(row)
        assert all(version == 1 for version, _ in row["version_spans"])
        assert (folder / "images" / row["images"][0][:2] / f"{row['images'][0]}.png").exists()


def test_two_learner_ranks_and_two_engines_train_asynchronously(demo: tuple[Path, str], tmp_path: Path) -> None:
    folder = tmp_path / "wide"
    run(
        *("train", "--from", str(demo[0] / "cold_start_model"), f"run={folder}", *SMALL, "training.num_steps=4"),
        *("learner.num_ranks=2", "learner.deepspeed.zero_stage=2", "learner.sft.optimizer.type=adamw"),
        "learner.optimizer={type: adamw, learning_rate: 1.0e-4}",
        *("rollout.num_workers=2", "rollout.engine.kv_cache_gib=0.25", "training.max_staleness=1"),
    )
    rows = metrics(folder)
    assert len(rows) == 4
    assert max(row["staleness_max"] for row in rows) == 1
    engines = {
        json.loads(line)["engine"]
        for file in (folder / "trajectories").glob("*.jsonl")
        for line in file.read_text().splitlines()
    }
    assert engines == {"rollout-0", "rollout-1"}


@pytest.fixture(scope="module")
def stopped(demo: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    """A run like the demo's that Ctrl-C ended after a few steps: the command for it, and its folder."""
    folder = tmp_path_factory.mktemp("runs") / "stopped"
    ours = ["train", "--from", str(demo[0] / "cold_start_model"), f"run={folder}", *SMALL]
    process = start(*ours, "training.num_steps=10000")
    await_true(process, (folder / "config.json").exists)
    second = start(*ours)
    refused, _ = second.communicate(timeout=120)
    assert second.returncode == 2, refused[-6000:]
    assert "is in use by `sr-real train --from" in " ".join(refused.split())
    await_steps(process, folder, 2)
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) > 4
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output[-6000:]
    assert f"sr-real train --resume --from {demo[0] / 'cold_start_model'} run={folder}" in output
    assert_nothing_is_left(family)
    return ours, folder


def test_ctrl_c_writes_a_checkpoint_of_the_last_step(stopped: tuple[list[str], Path]) -> None:
    _, folder = stopped
    steps = [int(path.name.removeprefix("step-")) for path in (folder / "checkpoints").glob("step-*")]
    assert max(steps) == metrics(folder)[-1]["step"]
    assert 2 <= max(steps) < NUM_STEPS


def test_a_stopped_and_resumed_run_makes_the_steps_of_one_that_was_never_stopped(
    demo: tuple[Path, str], stopped: tuple[list[str], Path]
) -> None:
    ours, folder = stopped
    record = (folder / "config.json").read_bytes()
    told = run(*ours, f"training.num_steps={NUM_STEPS}", "--resume")
    assert f"training.num_steps: 10000 → {NUM_STEPS}" in told
    assert (folder / "config.json").read_bytes() == record
    assert [row["step"] for row in metrics(folder)] == list(range(1, NUM_STEPS + 1))
    for one, other in zip(metrics(demo[0]), metrics(folder), strict=True):
        for key in ("lor/reward_mean", "dtr/reward_mean", "lor/response_tokens_mean", "groups_trained"):
            assert one[key] == other[key], (one["step"], key)
        for key in ("kl_reference", "grad_norm", "loss"):
            assert one[key] == pytest.approx(other[key], rel=1e-2, abs=1e-6), (one["step"], key)


def test_an_engine_of_two_ranks_learns_and_a_sigterm_to_the_whole_group_ends_all_after_a_checkpoint(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "two-ranks"
    process = start(
        *("train", "--from", str(BASE), f"run={folder}", *SMALL, "training.num_steps=10000"),
        *("rollout.engine.tensor_parallel_size=2", "rollout.cpus_per_worker=2", "rollout.max_workers=1"),
        "rollout.engine.verify_every=1",
        own_session=True,
    )
    await_steps(process, folder, 2)
    family = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output[-6000:]
    rows = metrics(folder)
    steps = [int(path.name.removeprefix("step-")) for path in (folder / "checkpoints").glob("step-*")]
    assert max(steps) == rows[-1]["step"]
    for row in rows:
        # Both ranks' checksums agreed with what was sent, and they compute what the learner does.
        assert row["push_attempts"] == 1
        assert row["canary_difference"] < 1e-3
        assert abs(row["kl_rollout_learner"]) < 1e-4
    assert_nothing_is_left(family)


@pytest.mark.slow
def test_a_stopped_cold_start_goes_on_where_it_was(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    long = ["learner.sft.steps=60", "learner.sft.checkpoint_every=20"]
    run("cold-start", f"run={whole}", *SMALL, *long)
    process = start("cold-start", f"run={parts}", *SMALL, *long)
    await_true(process, lambda: any((parts / "cold_start_checkpoints").glob("step-*")))
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output[-6000:]
    assert "cold-start --resume" in output
    assert not (parts / "cold_start_model").exists()
    run("cold-start", f"run={parts}", *SMALL, *long, "--resume")
    losses = [json.loads((folder / "summary.json").read_text())["cold_start"]["loss"] for folder in (whole, parts)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.slow
def test_a_few_steps_of_the_base_are_made_and_gone_on_with(tmp_path: Path) -> None:
    folder, out = tmp_path / "base", tmp_path / "tiny-base"
    few = ["data.num_train_scenes=24", "data.num_test_scenes=3", "evaluation.num_questions=8"]
    run("base", f"run={folder}", "--out", str(out), *few, "learner.sft.steps=4")
    made = json.loads((out / "base.json").read_text())
    assert (made["seed"], made["steps"], made["responses_per_step"]) == (0, 4, 16)
    assert made["responses"] == 24 * 8  # what is answered at once, and none of the chains
    steps = [json.loads(line) for line in (folder / "cold_start_metrics.jsonl").read_text().splitlines()]
    assert [step["step"] for step in steps] == [1, 2, 3, 4]
    assert all({"direct/nll", "pointer"} <= set(step) and "lor/nll" not in step for step in steps)
    # The committed base is what the same command makes with all its steps: the same model around the same words.
    shapes = {name: tensor.shape for name, tensor in load_file(out / "model.safetensors").items()}
    committed = {name: tensor.shape for name, tensor in load_file(BASE / "model.safetensors").items()}
    assert {name: shape for name, shape in shapes.items() if "embed_tokens" not in name} == {
        name: shape for name, shape in committed.items() if "embed_tokens" not in name
    }
    words, committed_words = (json.loads((f / "tokenizer.json").read_text())["model"]["vocab"] for f in (out, BASE))
    assert set(words) <= set(committed_words)


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _is_ours(process: psutil.Process) -> bool:
    try:
        return OURS.items() <= process.environ().items()
    except psutil.Error:  # it has ended, or is another user's
        return False
