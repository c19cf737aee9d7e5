"""Two real ranks, two processes over gloo."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.learner.conftest import ToyWorld
from tests.learner.toy import ROUNDING, free_port
from vlm.policy import load_policy

pytestmark = pytest.mark.stack
ROOT = Path(__file__).parents[2]


def run_ranks(world: ToyWorld, out: Path, num_ranks: int, zero_stage: int) -> list[dict[str, Any]]:
    """What each rank wrote."""
    out.mkdir()
    port = free_port()
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.learner.rank_process"]
            + [str(value) for value in (world.root, rank, num_ranks, port, zero_stage, out)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(num_ranks)
    ]
    try:
        outputs = [process.communicate(timeout=150)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, output in zip(processes, outputs, strict=True):
        assert process.returncode == 0, output[-3000:]
    return [torch.load(out / f"rank-{rank}.pt") for rank in range(num_ranks)]


@pytest.fixture(scope="module")
def alone(world: ToyWorld, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run_ranks(world, tmp_path_factory.mktemp("ranks") / "alone", num_ranks=1, zero_stage=0)[0]


@pytest.mark.parametrize("zero_stage", [0, 2, pytest.param(3, marks=pytest.mark.rounding)])
def test_two_ranks_equal_one(world: ToyWorld, tmp_path: Path, alone: dict[str, Any], zero_stage: int) -> None:
    first, second = run_ranks(world, tmp_path / "two", num_ranks=2, zero_stage=zero_stage)
    # Ranks with unlike numbers of response tokens: each call of the head is a collective under ZeRO-3.
    assert first["head_calls"]["needed"] != second["head_calls"]["needed"]
    assert first["head_calls"]["made"] == second["head_calls"]["made"] > second["head_calls"]["needed"]
    assert (first["is_untouched"], second["is_untouched"]) == (True, True)
    assert first["skipped"] == second["skipped"]
    assert [step["nonfinite_steps"] for step in first["skipped"]] == [1, 1]
    assert first["warnings"] == second["warnings"]
    assert ["the gradient is not" in first["warnings"][0], "the loss is not" in first["warnings"][1]] == [True, True]
    for phase in ("sft", "rl"):
        assert first[phase] == second[phase]
        assert first[phase].keys() == alone[phase].keys()
        assert ("staleness_1/ess" in first[phase]) == (phase == "rl")
        # How much is padded follows the cut; nothing else does.
        expected = alone[phase] | {"padding_share": first[phase]["padding_share"]}
        assert first[phase] == pytest.approx(expected, rel=2e-3, abs=1e-5)
    for key in ("logprobs", "model_logprobs"):
        for left, right in zip(first[key], alone[key], strict=True):
            assert left == pytest.approx(right, abs=1e-3)
    # The policy shares out what the model gives to banned tokens.
    assert max(map(max, first["model_logprobs"])) < max(map(max, first["logprobs"]))
    assert 0 < len(second["packed"]) < len(first["packed"])
    exported = load_policy(tmp_path / "two" / "export").vlm.state_dict()
    for name, weight in alone["weights"].items():
        torch.testing.assert_close(first["weights"][name], weight, rtol=0, atol=ROUNDING)
        torch.testing.assert_close(first["resumed"][name], first["weights"][name], rtol=0, atol=ROUNDING)
        assert torch.equal(second["weights"][name], first["weights"][name])
        # Rank 0 sends all, packed ahead or not; the other one only helps to gather, and keeps nothing.
        assert torch.equal(first["packed"][name], first["weights"][name])
        assert torch.equal(exported[name], first["weights"][name])
