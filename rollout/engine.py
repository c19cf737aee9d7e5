"""One vLLM engine: requests in, trajectories out, weights in. A plain class, which may run in any process.

    engine = RolloutEngine(EngineSpec(model, images, PromptConfig(), EngineConfig(), name="rollout-0"))
    await engine.start()
    trajectory = await engine.generate(request)
    await engine.shutdown()

A push, as methods of `engine.update`: `join_transfer` (once per group) → `pause` → `start_update` →
`receive_weights` → `finish_update` → `resume`; then `engine.canary_logprobs`. An engine that takes turns with a learner
on the same GPUs: `engine.sleep`, and in the push that wakes it `wake_weights` before `start_update`.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flow.trajectory import RolloutRequest, Trajectory
from rollout.canary import Canary
from rollout.completeness import ExpectedWeights
from rollout.config import EngineConfig
from rollout.deadlines import EngineDeadlines
from rollout.engine_arguments import engine_arguments
from rollout.engine_update import EngineUpdate
from rollout.errors import EngineStartError, RolloutTimeout
from rollout.processes import ChildProcesses, prepare_environment, require_build
from rollout.start_errors import start_errors
from rollout.submissions import Submissions
from rollout.vitals import EngineUsage, usage_logger
from spatial.images import ImageStore
from vlm.config import PromptConfig

if TYPE_CHECKING:
    from vllm.v1.engine.async_llm import AsyncLLM

    from rollout.generation import Generation
    from vlm.prompt import PromptEncoder


@dataclass(frozen=True)
class EngineSpec:
    """What an engine is made from."""

    model: Path
    """A local folder in Hugging Face layout; its weights are version 0 until others are pushed."""
    images: ImageStore
    prompt: PromptConfig
    config: EngineConfig
    name: str
    """What errors and trajectories call it."""
    cpu_cores: Sequence[int] | None = None
    """Cores that this engine's threads are bound to, and no other engine's; None leaves them to the kernel."""
    top_p: float = 1.0
    """Below 1, log-probabilities are those of the truncated distribution (see `SamplingConfig`)."""
    on_gpu: bool = False
    """Whether it computes on GPUs that this process sees, or on the CPU, whatever cards there are."""
    gpus: tuple[int, ...] = ()
    """Which of these GPUs, by their position among them; empty: the first ones."""
    can_sleep: bool = False
    """Whether it gives its GPUs' memory back from time to time."""


@dataclass(frozen=True)
class Loaded:
    """What an engine has once it is loaded."""

    vllm: "AsyncLLM"
    encoder: "PromptEncoder"
    generation: "Generation"
    update: EngineUpdate


class RolloutEngine:
    """A vLLM `AsyncLLM` that speaks in requests and trajectories.

    One engine per process: thread binding and other things of vLLM's are process-wide (see `rollout.processes`).

    Raises (every coroutine):
        RolloutTimeout: a deadline of the config has passed; names engine, operation and seconds.
    """

    def __init__(self, spec: EngineSpec) -> None:
        """Nothing is started yet.

        Raises:
            FileNotFoundError: the model folder has no safetensors file.
        """
        self.name = spec.name
        self.usage = EngineUsage()
        self._spec = spec
        self._expected = ExpectedWeights.of_model(spec.model)
        self._deadlines = EngineDeadlines(spec.name, spec.config)
        self._children = ChildProcesses()
        self._loaded: Loaded | None = None
        self._probe = asyncio.Lock()
        """Held during a probe, whose token an engine that falls asleep would keep until it wakes."""

    @property
    def child_pids(self) -> list[int]:
        """vLLM's processes that are alive; if this process is killed, they must be ended from outside."""
        return self._children.pids

    @property
    def update(self) -> EngineUpdate:
        """Pause, new weights, resume."""
        return self._ready.update

    @property
    def vllm(self) -> "AsyncLLM":
        """vLLM's own engine, for measurements beside it. Requests that are put to it directly take part in no push."""
        return self._ready.vllm

    @property
    def encoder(self) -> "PromptEncoder":
        """Makes the prompts of its model."""
        return self._ready.encoder

    @property
    def num_tokens(self) -> int:
        """Response tokens given since the start."""
        return self._ready.generation.num_tokens

    @property
    def _ready(self) -> Loaded:
        if self._loaded is None:
            raise RuntimeError(f"engine {self.name} is not loaded: `start` comes first")
        return self._loaded

    async def start(self) -> None:
        """Load the model and start vLLM's processes (28 s on CPU for a tiny model).

        Raises:
            EngineStartError: it cannot start, and why.

        After a failure end this process: loading that passed its deadline continues in its thread, and whatever it
        still starts ends with this process (see `rollout.plugin`).
        """
        try:
            with start_errors() as errors, self._children.watch():
                try:
                    await self._deadlines.start(asyncio.to_thread(self._load))
                except RolloutTimeout:
                    raise
                except Exception as error:  # whatever vLLM raises here, its cause may be another process's
                    raise EngineStartError(errors.reason(error)) from error
        except BaseException:
            await asyncio.to_thread(self._children.end, 0.0)
            raise
        await self._deadlines.control("set weight version", self.vllm.update_weight_version("0"))

    def _load(self) -> None:
        spec = self._spec
        require_build(spec.on_gpu)
        prepare_environment(spec.config, spec.cpu_cores, spec.on_gpu)
        # Only now: vLLM reads its environment when it is imported.
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        from rollout.generation import Generation
        from vlm.prompt import PromptEncoder

        encoder = PromptEncoder(spec.model, spec.images, spec.prompt)
        vllm = AsyncLLM.from_engine_args(
            AsyncEngineArgs(
                **engine_arguments(
                    spec.model, spec.config, spec.on_gpu, spec.can_sleep, encoder.pixel_limits, spec.gpus
                )
            ),
            stat_loggers=[usage_logger(self.usage)],
        )
        submissions = Submissions()
        self._loaded = Loaded(
            vllm,
            encoder,
            Generation(vllm, encoder, spec.config, spec.name, spec.top_p, submissions),
            EngineUpdate(spec.name, vllm, spec.config, self._expected, submissions, self._deadlines),
        )

    async def shutdown(self) -> None:
        """End vLLM and every process it started; those that do not end by themselves are killed. Never raises."""
        timeout_s = self._spec.config.shutdown_timeout_s
        if self._loaded is not None:
            vllm = self._loaded.vllm
            # Before its processes end, or vLLM takes their end for a crash and logs it as one.
            if vllm.output_handler is not None:
                vllm.output_handler.cancel()
            vllm.output_processor.propagate_error(RuntimeError(f"engine {self.name} was shut down"))
            await asyncio.to_thread(vllm.shutdown, timeout_s)
            # Otherwise its destructor runs when the interpreter ends, and fails on modules that are gone.
            self._loaded = None
            del vllm
        await asyncio.to_thread(self._children.end, timeout_s)

    async def generate(self, request: RolloutRequest) -> Trajectory:
        """One response.

        Raises:
            BadImageError: an image is not in the store, or cannot be used.
            ValueError: the prompt leaves no room for a whole response.
        """
        return await self._deadlines.generate(self._ready.generation.generate(request))

    async def canary_logprobs(self, canary: Canary) -> list[float]:
        """See `Generation.canary_logprobs`. Needs the engine to be resumed."""
        return await self._deadlines.control("canary", self._ready.generation.canary_logprobs(canary))

    async def health_probe(self) -> None:
        """Generate one token (while paused: ask vLLM for its state). The caller sets the deadline.

        Raises:
            Exception: the engine's processes have died.
        """
        async with self._probe:
            if self.update.is_paused:
                await self.vllm.is_paused()
            else:
                await self._ready.generation.generate_one_token()

    async def sleep(self) -> float:
        """See `EngineUpdate.sleep`."""
        await self._deadlines.control("wait for a probe", self._probe.acquire())
        try:
            return await self.update.sleep()
        finally:
            self._probe.release()
