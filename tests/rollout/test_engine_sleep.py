"""An engine that gives its memory back between pushes: vLLM's sleep is played, all around it is real."""

import asyncio
import gc
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from rollout.beside_weights import BesideWeights, storages_in
from rollout.config import EngineConfig, IpcTransferConfig
from rollout.engine_arguments import engine_arguments
from rollout.engine_update import EngineUpdate, UpdateState
from rollout.errors import IncompleteUpdateError, RolloutTimeout, TransferError
from tests.rollout.test_engine_update import SHAPES, PlayedLlm, PlayedWorker, check, make_update, part


class SleepyWorker(PlayedWorker):
    """Its model holds, beside its weights, features that are read whether or not they were written."""

    def __init__(self) -> None:
        super().__init__()
        self.model.features = [torch.zeros(4, 8)]
        self.free = 10

    def free_bytes(self) -> int:
        return self.free * 2**30

    def _memory_of_weights(self) -> list[tuple[int, int]]:
        held = (*self.model.parameters(), *self.model.buffers(), *self.model.features)
        return [(tensor.data_ptr(), tensor.data_ptr() + tensor.nbytes) for tensor in held]

    def forget(self) -> None:
        """What memory holds that somebody else had meanwhile."""
        for tensor in (*self.model.parameters(), *self.model.features):
            tensor.data.fill_(torch.nan)


class SleepyLlm(PlayedLlm):
    """vLLM's sleep mode as its documentation and sources have it, and a list of what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.workers = [SleepyWorker()]
        self.calls: list[str] = []
        self.asleep: set[str] = set()
        self.hangs = False

    async def collective_rpc(self, method: str, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        return [getattr(worker, method)(*args, **(kwargs or {})) for worker in self.workers]

    async def pause_generation(self, mode: str, clear_cache: bool) -> None:
        self.calls.append("pause")

    async def resume_generation(self) -> None:
        assert not self.asleep
        self.calls.append("resume")

    async def sleep(self, level: int, mode: str) -> None:
        if self.hangs:
            await asyncio.sleep(60)
        assert (level, mode) == (2, "keep")
        self.asleep = {"weights", "kv_cache"}
        for worker in self.workers:
            worker.forget()
            worker.free += 30
        self.calls.append("sleep")

    async def wake_up(self, tags: list[str]) -> bool:
        self.asleep -= set(tags)
        self.calls.append(f"wake {' '.join(tags)}")
        return not self.asleep

    async def start_weight_update(self) -> None:
        assert self.asleep == {"kv_cache"} or not self.asleep
        self.calls.append("start_update")
        await super().start_weight_update()

    async def finish_weight_update(self, weight_version: str) -> None:
        self.calls.append("finish_update")
        await super().finish_weight_update(weight_version)


async def push(engine: EngineUpdate, value: float, version: int) -> None:
    await engine.join_transfer({"packed": True})
    await engine.pause()
    await engine.wake_weights()
    await engine.start_update({})
    await engine.receive_weights(part(value, *SHAPES))
    await engine.finish_update(version)
    await engine.resume()


def test_an_engine_sleeps_wakes_for_weights_before_a_push_and_for_keys_and_values_after_it(tmp_path: Path) -> None:
    llm = SleepyLlm()
    engine = make_update(tmp_path, llm)

    async def scenario() -> None:
        await push(engine, 1.0, version=1)
        llm.calls.clear()
        assert await engine.sleep() == 30
        assert engine.state is UpdateState.ASLEEP
        assert engine._submissions.lock.locked()
        await push(engine, 2.0, version=2)

    asyncio.run(scenario())
    assert llm.calls == [
        *("pause", "sleep", "wake weights", "start_update", "finish_update", "wake kv_cache", "resume"),
    ]
    check(llm, 2.0)
    assert llm.workers[0].model.features[0].eq(0).all()  # no push brings them
    assert not engine._submissions.lock.locked()


def test_an_engine_that_sleeps_neither_generates_nor_receives_before_it_has_room(tmp_path: Path) -> None:
    llm = SleepyLlm()
    engine = make_update(tmp_path, llm)

    async def scenario() -> None:
        await engine.join_transfer({"packed": True})
        await engine.sleep()
        with pytest.raises(TransferError, match="rollout-0 is asleep; wake it for an update"):
            await engine.resume()
        with pytest.raises(TransferError, match="rollout-0 is asleep; wake it before an update"):
            await engine.start_update({})
        await engine.wake_weights()
        with pytest.raises(TransferError, match="mixture"):
            await engine.resume()
        with pytest.raises(IncompleteUpdateError, match=r"dropped its weights .* leaves out 1 .*plain.bias"):
            await engine.start_update({"plain.bias": 8})
        await push(engine, 3.0, version=1)
        check(llm, 3.0)
        # From then on frozen weights are there again.
        await engine.pause()
        await engine.start_update({"plain.bias": 8})

    asyncio.run(scenario())


def test_an_update_that_fails_after_sleep_leaves_an_engine_that_a_second_attempt_wakes(tmp_path: Path) -> None:
    llm = SleepyLlm()
    engine = make_update(tmp_path, llm)

    async def scenario() -> None:
        await engine.join_transfer({"packed": True})
        await engine.sleep()
        await engine.wake_weights()
        await engine.start_update({})
        await engine.receive_weights(part(9.0, "plain.weight"))
        with pytest.raises(IncompleteUpdateError):
            await engine.finish_update(1)
        await push(engine, 4.0, version=1)

    asyncio.run(scenario())
    assert llm.calls.count("wake weights") == llm.calls.count("wake kv_cache") == 1
    check(llm, 4.0)


def test_an_engine_that_does_not_fall_asleep_in_time_is_named_and_never_resumes(tmp_path: Path) -> None:
    llm = SleepyLlm()
    engine = make_update(tmp_path, llm)
    engine._memory._deadlines._config = EngineConfig(transfer=IpcTransferConfig(), control_timeout_s=0.05)
    llm.hangs = True

    async def scenario() -> None:
        with pytest.raises(RolloutTimeout, match=r"engine rollout-0: 'sleep' did not finish within 0\.05 s"):
            await engine.sleep()
        with pytest.raises(TransferError, match="asleep"):
            await engine.resume()

    asyncio.run(scenario())


def test_only_engines_that_take_turns_load_into_memory_that_can_be_given_back() -> None:
    config = EngineConfig(transfer=IpcTransferConfig())
    for can_sleep in (False, True):
        assert (
            engine_arguments(Path("model"), config, on_gpu=True, can_sleep=can_sleep)["enable_sleep_mode"] is can_sleep
        )
    assert "enable_sleep_mode" not in engine_arguments(Path("model"), EngineConfig(), on_gpu=False)


class Holder(nn.Module):
    """Weights and a buffer, and tensors elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))
        self.register_buffer("table", torch.ones(4), persistent=False)
        self.levels = [torch.full((2, 3), 5.0), torch.full((2, 3), 6.0)]
        self.helper = type("Helper", (), {})()
        self.helper.view_of_level = self.levels[0][1:]
        self.helper.far = torch.full((3,), 8.0)


def test_what_lies_among_the_weights_and_is_none_is_found_whoever_holds_it_and_put_back() -> None:
    model = Holder()
    inside = (model.weight, model.table, *model.levels)
    spans = [(tensor.data_ptr(), tensor.data_ptr() + tensor.nbytes) for tensor in inside]
    gc.freeze()  # as vLLM does once it has loaded
    try:
        found = {storage.data_ptr() for storage in storages_in(spans, (model.weight, model.table))}
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
    assert found == {level.data_ptr() for level in model.levels}
    beside = BesideWeights(model)
    for _ in range(2):
        assert beside.keep(spans) == 2 * 6 * 4
        for tensor in (*model.levels, model.helper.far):
            tensor.fill_(torch.nan)
        beside.put_back()
        assert [level[1, 2].item() for level in model.levels] == [5.0, 6.0]
        assert model.helper.view_of_level.eq(5).all()
    assert model.helper.far.isnan().all()  # of other memory, which nobody gives back
