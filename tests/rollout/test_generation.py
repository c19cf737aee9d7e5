"""Requests to vLLM and its answers, over a played vLLM: when they are submitted, with which priority, how they end."""

import asyncio
import weakref
from types import SimpleNamespace
from typing import Any

import pytest

from rollout.canary import choose_canary
from rollout.completeness import ExpectedWeights
from rollout.config import CanaryConfig, EngineConfig
from rollout.deadlines import EngineDeadlines
from rollout.engine import EngineSpec, Loaded, RolloutEngine
from rollout.engine_update import EngineUpdate
from rollout.generation import Generation
from rollout.submissions import Submissions

from .conftest import PROMPT, TinyWorld


class PlayedQueue:
    """One request's output, once it is there."""

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self.output: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def get(self) -> Any:
        return await self.output


class PlayedLlm:
    """vLLM's `AsyncLLM`, as far as requests are concerned; the test answers them."""

    def __init__(self) -> None:
        self.renderer = SimpleNamespace(render_cmpl_async=self._render)
        self.prompts: list[dict[str, Any]] = []
        self.queues: list[PlayedQueue] = []
        self.priorities: list[int] = []
        self.aborted: list[str] = []

    async def _render(self, prompts: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return prompts

    async def add_request(self, request_id: str, prompt: dict[str, Any], sampling: Any, priority: int = 0) -> Any:
        self.prompts.append(prompt)
        self.priorities.append(priority)
        self.queues.append(PlayedQueue(request_id))
        return self.queues[-1]

    async def abort(self, request_id: str, internal: bool) -> None:
        self.aborted.append(request_id)

    async def submitted(self, number: int) -> None:
        """Wait until `number` requests have been submitted."""
        async with asyncio.timeout(10):
            while len(self.queues) < number:
                await asyncio.sleep(0)


def make_generation(world: TinyWorld, llm: PlayedLlm) -> tuple[Generation, Submissions]:
    submissions = Submissions()
    config = EngineConfig(max_model_len=512)
    return Generation(llm, world.encoder, config, "rollout-0", 1.0, submissions), submissions


def response(prompt: dict[str, Any], token_ids: list[int]) -> Any:
    """vLLM's output: `token_ids`, each of log-probability -0.5, by the weights of version 3."""
    completion = SimpleNamespace(
        token_ids=token_ids,
        finish_reason="length",
        logprobs=SimpleNamespace(logprobs=[-0.5] * len(token_ids)),
        weight_versions=[SimpleNamespace(version="3", start=0, end=len(token_ids))],
    )
    return SimpleNamespace(outputs=[completion], prompt_token_ids=prompt["prompt_token_ids"])


def test_a_response_becomes_a_trajectory_and_its_tokens_are_counted(world: TinyWorld) -> None:
    async def scenario() -> None:
        llm = PlayedLlm()
        generation, _ = make_generation(world, llm)
        asked = asyncio.create_task(generation.generate(world.request()))
        await llm.submitted(1)
        llm.queues[0].output.set_result(response(llm.prompts[0], [5, 6, 7]))
        trajectory = await asked
        assert trajectory.response_token_ids == (5, 6, 7)
        assert trajectory.rollout_logprobs == (-0.5,) * 3
        assert (trajectory.min_weight_version, trajectory.engine) == (3, "rollout-0")
        assert generation.num_tokens == 3

    asyncio.run(scenario())


def test_a_request_waits_while_submissions_are_held_and_uses_no_cache_of_older_weights(world: TinyWorld) -> None:
    async def scenario() -> None:
        llm = PlayedLlm()
        generation, submissions = make_generation(world, llm)
        early = asyncio.create_task(generation.generate(world.request()))
        await llm.submitted(1)
        async with submissions.lock:
            late = asyncio.create_task(generation.generate(world.request()))
            await asyncio.sleep(0.01)
            assert len(llm.queues) == 1
            submissions.weights_changed()
        await llm.submitted(2)
        before, after = (prompt["cache_salt"] for prompt in llm.prompts)
        assert before != after
        assert llm.prompts[0]["multi_modal_uuids"] == llm.prompts[1]["multi_modal_uuids"]
        early.cancel()
        late.cancel()

    asyncio.run(scenario())


def test_a_response_that_nobody_waits_for_is_aborted(world: TinyWorld) -> None:
    async def scenario() -> None:
        llm = PlayedLlm()
        generation, _ = make_generation(world, llm)
        asked = asyncio.create_task(generation.generate(world.request()))
        await llm.submitted(1)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert llm.aborted == [llm.queues[0].request_id]

    asyncio.run(scenario())


def test_the_canary_passes_what_waits_and_is_read_off_the_end_of_its_prompt(world: TinyWorld) -> None:
    canary = choose_canary(world.samples, CanaryConfig(), is_float32=True)
    assert canary is not None

    async def scenario() -> None:
        llm = PlayedLlm()
        generation, _ = make_generation(world, llm)
        asked = asyncio.create_task(generation.canary_logprobs(canary))
        await llm.submitted(1)
        tokens = canary.response_token_ids(world.encoder)
        assert tuple(llm.prompts[0]["prompt_token_ids"][-len(tokens) :]) == tokens
        assert llm.priorities[0] < 0
        seen = [None, {1: SimpleNamespace(logprob=-9.0)}]
        seen += [{token: SimpleNamespace(logprob=-0.1 * index)} for index, token in enumerate(tokens)]
        llm.queues[0].output.set_result(SimpleNamespace(prompt_logprobs=seen))
        assert await asked == pytest.approx([-0.1 * index for index in range(len(tokens))])

    asyncio.run(scenario())


def test_a_request_that_does_not_fit_is_refused_before_it_is_submitted(world: TinyWorld) -> None:
    request = world.request()
    two = type(request)(**{**vars(request), "sample": request.sample.replace(images=request.sample.images * 2)})

    async def scenario() -> None:
        llm = PlayedLlm()
        generation, submissions = make_generation(world, llm)
        with pytest.raises(ValueError, match=r"sample-0 has 2 images, but rollout\.engine\.max_images_per_prompt=1"):
            await generation.generate(two)
        with pytest.raises(ValueError, match=r"sample-0.*max_response_tokens=500 in .*max_model_len=512"):
            await generation.generate(world.request(max_tokens=500))
        assert not llm.queues
        assert not submissions.lock.locked()

    asyncio.run(scenario())


def test_an_engine_that_is_not_loaded_says_so(world: TinyWorld) -> None:
    engine = RolloutEngine(EngineSpec(world.model, world.images, PROMPT, EngineConfig(), "rollout-0"))
    with pytest.raises(RuntimeError, match="engine rollout-0 is not loaded: `start` comes first"):
        asyncio.run(engine.generate(world.request()))
    asyncio.run(engine.shutdown())  # never raises


def test_after_its_shutdown_an_engine_holds_vllm_no_longer(world: TinyWorld) -> None:
    """Or vLLM's destructor would run when the interpreter ends, and fail on modules that are gone."""

    class Ending(PlayedLlm):
        output_handler = None
        output_processor = SimpleNamespace(propagate_error=lambda error: None)

        def shutdown(self, timeout_s: float) -> None: ...

    async def scenario() -> weakref.ref[Ending]:
        vllm = Ending()
        generation, submissions = make_generation(world, vllm)
        config = EngineConfig()
        engine = RolloutEngine(EngineSpec(world.model, world.images, PROMPT, config, "rollout-0"))
        deadlines = EngineDeadlines("rollout-0", config)
        update = EngineUpdate("rollout-0", vllm, config, ExpectedWeights({}), submissions, deadlines)
        engine._loaded = Loaded(vllm, world.encoder, generation, update)
        held = weakref.ref(vllm)
        del vllm.renderer  # the played one holds its owner
        del vllm, generation, update
        await engine.shutdown()
        await engine.shutdown()  # a second one does nothing
        return held

    assert asyncio.run(scenario())() is None
