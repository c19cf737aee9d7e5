"""The config says who computes on a GPU, whatever cards a machine has."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch

from learner.config import DeepSpeedConfig
from learner.layout import deepspeed_settings
from learner.process_group import require_device
from rollout.config import EngineConfig, NcclTransferConfig
from rollout.engine_arguments import engine_arguments
from rollout.processes import require_build, wrong_build

# In a process of its own: what is set stays.
ENVIRONMENT = """
import os, torch
torch.cuda.is_available = lambda: True   # a card is there, and nobody asks
from rollout.config import EngineConfig
from rollout.processes import prepare_environment
prepare_environment(EngineConfig(), (0,), on_gpu={on_gpu})
names = "VLLM_TARGET_DEVICE", "VLLM_CPU_OMP_THREADS_BIND", "VLLM_WORKER_MULTIPROC_METHOD"
print(*map(os.environ.get, names))
"""


@pytest.mark.parametrize(("on_gpu", "seen"), [(False, "cpu 0 None"), (True, "cuda None spawn")])
def test_vllm_is_told_what_it_computes_on(on_gpu: bool, seen: str) -> None:
    code = ENVIRONMENT.format(on_gpu=on_gpu)
    shell = {**os.environ, "VLLM_TARGET_DEVICE": "tpu"}
    run = subprocess.run([sys.executable, "-c", code], env=shell, capture_output=True, text=True)
    assert run.stdout.strip() == seen, run.stderr


def test_memory_of_keys_and_values_follows_the_config_not_the_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    config = EngineConfig(transfer=NcclTransferConfig())
    assert "gpu_memory_utilization" not in engine_arguments(Path("model"), config, on_gpu=False)
    assert engine_arguments(Path("model"), config, on_gpu=True)["gpu_memory_utilization"] == 0.85


def test_ranks_of_an_engine_are_its_own_processes_and_not_rays() -> None:
    config = EngineConfig(tensor_parallel_size=2, transfer=NcclTransferConfig())
    assert engine_arguments(Path("model"), config, on_gpu=True)["distributed_executor_backend"] == "mp"


def test_an_engine_that_sees_all_cards_is_told_its_own() -> None:
    config = EngineConfig(tensor_parallel_size=2)
    assert engine_arguments(Path("model"), config, on_gpu=True, gpus=(2, 3))["device_ids"] == [2, 3]
    # Where it sees no others, the first ones are its own.
    assert engine_arguments(Path("model"), config, on_gpu=True, gpus=(0, 1))["device_ids"] is None


def test_a_learner_on_cpu_takes_nothing_of_a_card_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    config = DeepSpeedConfig(dtype="bfloat16", zero_stage=2)
    for on_gpu in (False, True):
        assert deepspeed_settings(config, 1.0, on_gpu)["zero_optimization"]["overlap_comm"] is on_gpu
        assert deepspeed_settings(config, 1.0, on_gpu)["communication_data_type"] == "fp32"


def test_a_build_that_does_not_compute_there_is_refused_with_the_setting_and_the_remedy() -> None:
    assert wrong_build("vllm-cpu 0.32.0", on_gpu=False) is None
    assert wrong_build("vllm 0.32.0", on_gpu=True) is None
    assert wrong_build("vllm 0.32.0+cpu", on_gpu=False) is None
    told = wrong_build("vllm 0.32.0", on_gpu=False)
    assert told is not None
    assert "engines on CPUs, and vllm 0.32.0 is not built for them" in told
    assert "make setup LOCK=cpu" in told
    assert "`--config demo_gpu`" in told
    build = metadata.version("vllm-cpu" if is_installed("vllm-cpu") else "vllm")
    with pytest.raises(RuntimeError, match=build):
        require_build(on_gpu=is_installed("vllm-cpu"))


def test_a_rank_that_is_to_have_a_gpu_does_not_do_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    require_device(on_gpu=False)
    with pytest.raises(RuntimeError, match=r"cluster\.learner_rank_gpus"):
        require_device(on_gpu=True)


def is_installed(distribution: str) -> bool:
    return any(found.name == distribution for found in metadata.distributions())
