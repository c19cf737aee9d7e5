"""After an update that failed, another one: vLLM's own worker and transfer engine over a tiny model."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from vllm.distributed.weight_transfer.ipc_engine import IPCWeightTransferEngine
from vllm.model_executor.model_loader.reload import record_metadata_for_reloading
from vllm.v1.worker.gpu_worker import Worker

from rollout.config import EngineConfig, IpcTransferConfig
from rollout.engine import RolloutEngine
from rollout.errors import TransferError
from rollout.worker_extension import TransferWorkerExtension
from spatial.images import ImageStore
from tests.rollout.test_parts import write_checkpoint
from tests.rollout.transfer.test_gloo import TwoLayers
from vlm.config import PromptConfig

SHAPES = {"plain.weight": [8, 8], "plain.bias": [8], "processed.weight": [8, 8]}


class HandedOver(IPCWeightTransferEngine):
    """Takes from the update itself what CUDA IPC would bring."""

    def parse_update_info(self, update_dict: dict[str, Any]) -> Any:
        return update_dict

    def update_weights(self, update_info: dict[str, Any]) -> None:
        for name, tensor in update_info["tensors"].items():
            if tensor is None:
                raise RuntimeError("the handle is not of this GPU")
            self.model.load_weights([(name, tensor)])


class PlayedWorker(TransferWorkerExtension):
    """vLLM's worker, as far as weights are concerned."""

    init_weight_transfer_engine = Worker.init_weight_transfer_engine
    shutdown_weight_transfer_engine = Worker.shutdown_weight_transfer_engine
    start_weight_update = Worker.start_weight_update
    _start_weight_update = Worker._start_weight_update
    update_weights = Worker.update_weights
    finish_weight_update = Worker.finish_weight_update
    _check_weight_transfer_engine = Worker._check_weight_transfer_engine

    def __init__(self) -> None:
        self.model = TwoLayers()
        record_metadata_for_reloading(self.model)
        parallel = SimpleNamespace(data_parallel_index=0, world_size=1, rank=0)
        self.vllm_config = SimpleNamespace(
            parallel_config=parallel,
            model_config=SimpleNamespace(dtype=torch.float32),
            compilation_config=SimpleNamespace(disabled_custom_ops={}, enabled_custom_ops={}, custom_ops=[]),
        )
        self.weight_transfer_engine = HandedOver(None, self.vllm_config, torch.device("cpu"), self.model)
        self.model_runner = SimpleNamespace(reset_lora_state=lambda: None)
        self._weight_update_active = self._weight_update_is_draft = False


class PlayedLlm:
    """vLLM's `AsyncLLM` with one or two ranks; `encodes` is whether an update reaches them."""

    def __init__(self, num_ranks: int = 1) -> None:
        self.workers = [PlayedWorker() for _ in range(num_ranks)]
        self.encodes = True

    async def collective_rpc(self, method: str, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None) -> None:
        failures = []
        for worker in self.workers:
            try:
                getattr(worker, method)(*args, **(kwargs or {}))
            except Exception as error:
                failures.append(error)
        if failures:
            raise failures[0]

    async def init_weight_transfer_engine(self, request: Any) -> None:
        await self.collective_rpc("init_weight_transfer_engine", kwargs={"init_info": request.init_info})

    async def shutdown_weight_transfer_engine(self) -> None:
        await self.collective_rpc("shutdown_weight_transfer_engine")

    async def start_weight_update(self) -> None:
        await self.collective_rpc("start_weight_update")

    async def update_weights(self, request: Any) -> None:
        if not self.encodes:
            raise TypeError("Object of type <class 'type'> is not serializable")
        await self.collective_rpc("update_weights", kwargs={"update_info": request.update_info})

    async def finish_weight_update(self, weight_version: str) -> None:
        await self.collective_rpc("finish_weight_update")

    async def pause_generation(self, mode: str, clear_cache: bool) -> None: ...
    async def resume_generation(self) -> None: ...
    async def reset_prefix_cache(self, reset_running_requests: bool) -> None: ...
    async def reset_mm_cache(self) -> None: ...
    async def reset_encoder_cache(self) -> None: ...


@pytest.fixture
def engine(tmp_path: Path) -> RolloutEngine:
    checkpoint = write_checkpoint(tmp_path, SHAPES, is_tied=False)
    config = EngineConfig(transfer=IpcTransferConfig())
    return RolloutEngine(checkpoint, ImageStore(tmp_path / "images"), PromptConfig(), config, name="rollout-0")


def part(value: float, *names: str) -> dict[str, Any]:
    return {
        "names": list(names),
        "dtype_names": ["float32"] * len(names),
        "shapes": [SHAPES[name] for name in names],
        "tensors": {name: torch.full(SHAPES[name], value) for name in names},
    }


async def update(engine: RolloutEngine, value: float, version: int) -> None:
    await engine.init_transfer({"packed": True})
    await engine.pause()
    await engine.start_update({})
    await engine.update_weights(part(value, "plain.weight", "plain.bias"))
    await engine.update_weights(part(value, "processed.weight"))
    await engine.finish_update(version)
    await engine.resume()


def check(llm: PlayedLlm, value: float) -> None:
    for worker in llm.workers:
        assert worker.model.plain.weight.eq(value).all()
        assert worker.model.plain.bias.eq(value).all()
        assert worker.model.processed.weight.eq(2 * value).all()


@pytest.mark.parametrize("fault", ["encoder", "second part", "one rank of two"])
def test_an_update_that_failed_is_given_up_and_the_next_attempt_succeeds(engine: RolloutEngine, fault: str) -> None:
    llm = engine._llm = PlayedLlm(num_ranks=2 if fault == "one rank of two" else 1)

    async def scenario() -> None:
        await update(engine, 1.0, version=1)
        check(llm, 1.0)
        for _ in range(2):
            await engine.init_transfer({"packed": True})
            await engine.pause()
            await engine.start_update({})
            if fault == "encoder":
                llm.encodes = False
                with pytest.raises(TypeError, match="not serializable"):
                    await engine.update_weights(part(9.0, *SHAPES))
                llm.encodes = True
            elif fault == "second part":
                # Of one layer half has come, and of the other nothing.
                await engine.update_weights(part(9.0, "plain.weight"))
                broken = part(9.0, "processed.weight") | {"tensors": {"processed.weight": None}}
                with pytest.raises(RuntimeError, match="not of this GPU"):
                    await engine.update_weights(broken)
            else:
                llm.workers[1].weight_transfer_engine.update_weights = lambda info: 1 / 0
                with pytest.raises(ZeroDivisionError):
                    await engine.update_weights(part(9.0, "plain.weight"))
                del llm.workers[1].weight_transfer_engine.update_weights
            with pytest.raises(TransferError, match="mixture"):
                await engine.resume()
        await update(engine, 3.0, version=2)
        check(llm, 3.0)

    asyncio.run(scenario())
