"""An engine's part in pushes, also after one that failed: vLLM's own worker and transfer engine over a tiny model."""

import asyncio
from collections.abc import Awaitable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from vllm.distributed.weight_transfer.ipc_engine import IPCWeightTransferEngine
from vllm.model_executor.model_loader.reload import record_metadata_for_reloading
from vllm.v1.worker.gpu_worker import Worker

from rollout.completeness import ExpectedWeights
from rollout.config import EngineConfig, IpcTransferConfig
from rollout.deadlines import EngineDeadlines
from rollout.engine_update import EngineUpdate, UpdateState
from rollout.errors import IncompleteUpdateError, TransferError
from rollout.submissions import Submissions
from rollout.worker_extension import TransferWorkerExtension
from tests.rollout.test_parts import write_model
from tests.rollout.transfer.test_gloo import TwoLayers

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


def make_update(folder: Path, llm: PlayedLlm) -> EngineUpdate:
    expected = ExpectedWeights.of_model(write_model(folder, SHAPES, is_tied=False))
    config = EngineConfig(transfer=IpcTransferConfig())
    return EngineUpdate("rollout-0", llm, config, expected, Submissions(), EngineDeadlines("rollout-0", config))


def part(value: float, *names: str) -> dict[str, Any]:
    return {
        "names": list(names),
        "dtype_names": ["float32"] * len(names),
        "shapes": [SHAPES[name] for name in names],
        "tensors": {name: torch.full(SHAPES[name], value) for name in names},
    }


async def whole_update(engine: EngineUpdate, value: float, version: int) -> None:
    await engine.join_transfer({"packed": True})
    await engine.pause()
    await engine.start_update({})
    await engine.receive_weights(part(value, "plain.weight", "plain.bias"))
    await engine.receive_weights(part(value, "processed.weight"))
    await engine.finish_update(version)
    await engine.resume()


def check(llm: PlayedLlm, value: float) -> None:
    for worker in llm.workers:
        assert worker.model.plain.weight.eq(value).all()
        assert worker.model.plain.bias.eq(value).all()
        assert worker.model.processed.weight.eq(2 * value).all()


@pytest.mark.parametrize("fault", ["encoder", "second part", "one rank of two"])
def test_an_update_that_failed_is_given_up_and_the_next_attempt_succeeds(tmp_path: Path, fault: str) -> None:
    llm = PlayedLlm(num_ranks=2 if fault == "one rank of two" else 1)
    engine = make_update(tmp_path, llm)

    async def scenario() -> None:
        await whole_update(engine, 1.0, version=1)
        check(llm, 1.0)
        for _ in range(2):
            await engine.join_transfer({"packed": True})
            await engine.pause()
            await engine.start_update({})
            if fault == "encoder":
                llm.encodes = False
                with pytest.raises(TypeError, match="not serializable"):
                    await engine.receive_weights(part(9.0, *SHAPES))
                llm.encodes = True
            elif fault == "second part":
                # Of one layer half has come, and of the other nothing.
                await engine.receive_weights(part(9.0, "plain.weight"))
                broken = part(9.0, "processed.weight") | {"tensors": {"processed.weight": None}}
                with pytest.raises(RuntimeError, match="not of this GPU"):
                    await engine.receive_weights(broken)
            else:
                llm.workers[1].weight_transfer_engine.update_weights = lambda info: 1 / 0
                with pytest.raises(ZeroDivisionError):
                    await engine.receive_weights(part(9.0, "plain.weight"))
                del llm.workers[1].weight_transfer_engine.update_weights
            with pytest.raises(TransferError, match="mixture"):
                await engine.resume()
        await whole_update(engine, 3.0, version=2)
        check(llm, 3.0)

    asyncio.run(scenario())


def test_an_update_goes_through_its_states_and_leaves_none_by_a_step_that_does_not_fit(tmp_path: Path) -> None:
    engine = make_update(tmp_path, PlayedLlm())
    seen = [engine.state]

    async def step(work: Awaitable[None]) -> None:
        await work
        seen.append(engine.state)

    async def scenario() -> None:
        with pytest.raises(TransferError, match="engine rollout-0 is generating; pause it"):
            await engine.start_update({})
        await step(engine.join_transfer({"packed": True}))
        await step(engine.pause())
        await step(engine.pause())
        with pytest.raises(TransferError, match="rollout-0 is paused, and receives no update"):
            await engine.receive_weights(part(1.0, *SHAPES))
        await step(engine.start_update({}))
        with pytest.raises(IncompleteUpdateError):
            await engine.finish_update(1)
        await step(engine.leave_transfer())
        for late in (engine.receive_weights(part(1.0, *SHAPES)), engine.finish_update(1)):
            with pytest.raises(TransferError, match="rollout-0 is mixed, and receives no update"):
                await late
        await step(engine.join_transfer({"packed": True}))
        await step(engine.start_update({}))
        await step(engine.receive_weights(part(1.0, *SHAPES)))
        await step(engine.finish_update(1))
        await step(engine.resume())

    asyncio.run(scenario())
    generating, paused, receiving, mixed, _asleep = UpdateState
    assert seen == [
        *(generating, generating, paused, paused, receiving),
        *(mixed, mixed, receiving, receiving, paused, generating),
    ]


def test_requests_wait_from_pause_to_resume_and_share_no_cache_with_those_before(tmp_path: Path) -> None:
    engine = make_update(tmp_path, PlayedLlm())
    submissions = engine._submissions

    async def scenario() -> None:
        before = submissions.salt
        await engine.join_transfer({"packed": True})
        await engine.pause()
        assert submissions.lock.locked()
        await engine.start_update({})
        await engine.receive_weights(part(1.0, *SHAPES))
        await engine.finish_update(1)
        assert submissions.lock.locked()
        assert submissions.salt != before
        await engine.resume()
        assert not submissions.lock.locked()

    asyncio.run(scenario())
