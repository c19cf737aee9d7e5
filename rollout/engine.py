"""One vLLM engine: requests in, trajectories out, weights in. A plain class; who runs it where is not its business.

A push, as its methods: `init_transfer` (once per group) → `pause` → `start_update` → `update_weights` →
`finish_update` → `resume` → `canary_logprobs`. Between pause and resume nothing is submitted and nothing is scheduled;
responses in flight wait, and go on under the new weights, each token labelled with the version that made it.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from flow.trajectory import RolloutRequest, Trajectory
from rollout.canary import Canary
from rollout.completeness import ExpectedWeights
from rollout.config import EngineConfig, GlooTransferConfig
from rollout.engine_arguments import engine_arguments
from rollout.errors import EngineStartError, RolloutTimeout, TransferError
from rollout.processes import ChildProcesses, prepare_environment, require_build
from rollout.responses import sampling_params, trajectory_of
from rollout.start_errors import start_errors
from rollout.vitals import EngineUsage, usage_logger
from spatial.images import ImageStore
from vlm.config import PromptConfig

if TYPE_CHECKING:
    from vllm import RequestOutput
    from vllm.inputs import TokensPrompt
    from vllm.v1.engine.output_processor import RequestOutputCollector

T = TypeVar("T")

# vLLM's priority of a request that does not wait for the responses before it; theirs is 0.
_BEFORE_ALL = -1


class RolloutEngine:
    """A vLLM `AsyncLLM` that speaks in requests and trajectories.

    One engine per process: thread binding and other things of vLLM's are process-wide (see `rollout.processes`).

    Raises (every coroutine):
        RolloutTimeout: a deadline of the config has passed; names engine, operation and seconds.
    """

    def __init__(
        self,
        checkpoint: Path,
        images: ImageStore,
        prompt: PromptConfig,
        config: EngineConfig,
        name: str,
        cpu_cores: Sequence[int] | None = None,
        top_p: float = 1.0,
        on_gpu: bool = False,
    ) -> None:
        """Nothing is started yet.

        Args:
            checkpoint: a local folder in Hugging Face layout; its weights are version 0 until others are pushed.
            cpu_cores: what this engine's threads are bound to, and no other engine's; None leaves them to the kernel.
            top_p: below 1, log-probabilities are those of the truncated distribution (see `SamplingConfig`).
            on_gpu: what it computes on: the GPUs that this process sees, or the CPU, whatever cards there are.

        Raises:
            FileNotFoundError: the checkpoint has no safetensors file.
        """
        self.name = name
        self._checkpoint = checkpoint
        self._images = images
        self._prompt_config = prompt
        self._config = config
        self._cpu_cores = cpu_cores
        self._top_p = top_p
        self._on_gpu = on_gpu
        self._expected = ExpectedWeights.of_checkpoint(checkpoint)
        self._children = ChildProcesses()
        self._request_numbers = itertools.count()
        self.usage = EngineUsage()
        self.num_tokens = 0
        """Response tokens given since the start."""
        # Held for each submission, and from pause to resume. A request that was prepared before vLLM's image caches
        # are reset must not arrive after: it would refer to pixels which the engine no longer has.
        self._submission = asyncio.Lock()
        self._is_paused = False
        self._is_mixed = False
        """Between the start of an update and its finish: weights may be partly old, partly new."""
        self._update_names: list[str] = []
        self._update_shapes: list[list[int]] = []
        self._left_out: Mapping[str, int] = {}
        self._version = 0
        self._num_updates = 0
        """Not the version: after a fall-back to older weights the same number stands for others."""

    # --- lifetime -----------------------------------------------------------------------------------------------------

    @property
    def child_pids(self) -> list[int]:
        """vLLM's processes that are alive: for whoever must reap them if this process is killed."""
        return self._children.pids

    async def start(self) -> None:
        """Load the checkpoint and start vLLM's processes (28 s on CPU for a tiny model).

        Raises:
            EngineStartError: it cannot start, and why.

        After a failure end this process: loading that passed its deadline goes on in its thread, and whatever it still
        starts follows this process into death (see `rollout.plugin`).
        """
        try:
            with start_errors() as errors, self._children.watch():
                try:
                    await self._within("start", self._config.start_timeout_s, asyncio.to_thread(self._load))
                except RolloutTimeout:
                    raise
                except Exception as error:  # whatever vLLM raises here, its cause may be another process's
                    raise EngineStartError(errors.reason(error)) from error
        except BaseException:
            await asyncio.to_thread(self._children.end, 0.0)
            raise
        await self._control("set weight version", self._llm.update_weight_version(str(self._version)))

    def _load(self) -> None:
        require_build(self._on_gpu)
        prepare_environment(self._config, self._cpu_cores, self._on_gpu)
        # Only now: vLLM reads its environment when it is imported.
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        from rollout.prompts import EnginePrompts
        from vlm.prompt import PromptEncoder

        self._encoder = PromptEncoder(self._checkpoint, self._images, self._prompt_config)
        self._prompts = EnginePrompts(self._encoder)
        self._llm = AsyncLLM.from_engine_args(
            AsyncEngineArgs(**engine_arguments(self._checkpoint, self._config, self._on_gpu)),
            stat_loggers=[usage_logger(self.usage)],
        )

    async def shutdown(self) -> None:
        """End vLLM and every process it started; those that do not end by themselves are killed. Never raises."""
        if hasattr(self, "_llm"):
            # Before its processes end, or vLLM takes their end for a crash and logs it as one.
            if self._llm.output_handler is not None:
                self._llm.output_handler.cancel()
            self._llm.output_processor.propagate_error(RuntimeError(f"engine {self.name} was shut down"))
            await asyncio.to_thread(self._llm.shutdown, self._config.shutdown_timeout_s)
            # Otherwise its destructor runs when the interpreter ends, and fails on modules that are gone.
            del self._llm
        await asyncio.to_thread(self._children.end, self._config.shutdown_timeout_s)

    # --- generation ---------------------------------------------------------------------------------------------------

    async def generate(self, request: RolloutRequest) -> Trajectory:
        """One response.

        Raises:
            BadImageError: an image is not in the store, or cannot be used.
            ValueError: the prompt leaves no room for a whole response.
        """
        output = await self._within("generate", self._config.generate_timeout_s, self._generate(request))
        trajectory = trajectory_of(request, output, self._encoder, self.name)
        self.num_tokens += len(trajectory.response_token_ids)
        return trajectory

    async def _generate(self, request: RolloutRequest) -> "RequestOutput":
        async with self._submission:
            # In mode "keep" a prompt's keys and values must not serve requests that come after a push.
            prompt = self._prompts.prompt(request.sample, request.path, salt=f"update {self._num_updates}")
            # Checked before rendering too: vLLM's own messages would not name the sample.
            self._check_images(request)
            self._check_length(request, len(prompt["prompt_token_ids"]))
            (rendered,) = await self._llm.renderer.render_cmpl_async([prompt])
            self._check_length(request, len(rendered["prompt_token_ids"]))
            sampling = sampling_params(request, self._top_p, self._encoder.banned_token_ids)
            queue = await self._llm.add_request(self._request_id(), rendered, sampling)
        return await self._output(queue)

    async def _output(self, queue: "RequestOutputCollector") -> "RequestOutput":
        try:
            # FINAL_ONLY: the first output is the whole response.
            return await queue.get()
        except asyncio.CancelledError:
            await self._llm.abort(queue.request_id, internal=True)
            raise

    def _request_id(self) -> str:
        return f"{self.name}-{next(self._request_numbers)}"

    def _check_images(self, request: RolloutRequest) -> None:
        num, most = len(request.sample.images), self._config.max_images_per_prompt
        if num > most:
            raise ValueError(
                f"sample {request.sample.sample_id} has {num} images, but rollout.engine.max_images_per_prompt={most}; "
                f"set that to {num}, or leave the sample out"
            )

    def _check_length(self, request: RolloutRequest, num_tokens: int) -> None:
        # vLLM would cut the response to what is left, and nothing would tell it from one that the model ended late.
        if num_tokens + request.max_response_tokens > self._config.max_model_len:
            raise ValueError(
                f"sample {request.sample.sample_id} through {request.path}: a prompt of {num_tokens} tokens leaves no "
                f"room for a response of max_response_tokens={request.max_response_tokens} in rollout.engine."
                f"max_model_len={self._config.max_model_len}; raise that, or ask for shorter responses"
            )

    # --- weights ------------------------------------------------------------------------------------------------------

    async def pause(self) -> None:
        """Stop scheduling; responses in flight are kept, new requests wait. A second call does nothing."""
        if self._is_paused:
            return
        # With "recompute" vLLM drops the keys and values of everything in flight, and all caches.
        clear = self._config.in_flight_kv == "recompute"
        await self._control("wait for submissions", self._submission.acquire())
        try:
            await self._control("pause", self._llm.pause_generation(mode="keep", clear_cache=clear))
        except BaseException:
            self._submission.release()
            raise
        self._is_paused = True

    async def resume(self) -> None:
        """Go on generating.

        Raises:
            TransferError: an update was started and not finished, so the weights may be a mixture.
        """
        if self._is_mixed:
            raise TransferError(f"engine {self.name} holds a mixture of weights; it needs a whole update first")
        if self._is_paused:
            await self._control("resume", self._llm.resume_generation())
            self._is_paused = False
            self._submission.release()

    async def init_transfer(self, init_info: dict[str, Any]) -> None:
        """Leave the old transfer group, if any, and join the one that `init_info` describes."""
        from vllm.distributed.weight_transfer.base import WeightTransferInitRequest

        await self.leave_transfer()
        await self._transfer(
            "join the transfer group", self._llm.init_weight_transfer_engine(WeightTransferInitRequest(init_info))
        )

    async def leave_transfer(self) -> None:
        """Leave the transfer group; an update that is open is given up."""
        await self._abandon_update()
        await self._transfer("leave the transfer group", self._llm.shutdown_weight_transfer_engine())

    async def start_update(self, left_out: Mapping[str, int], hashed: Sequence[str] = ()) -> None:
        """Prepare for new weights.

        Args:
            left_out: elements by name of the weights that the update will not bring, for they have not changed.
            hashed: names of the tensors that it will be verified by (`received_checksums`).

        Raises:
            TransferError: the engine is not paused.
        """
        if not self._is_paused:
            raise TransferError(f"engine {self.name} is generating; pause it before an update")
        await self._abandon_update()
        self._update_names, self._update_shapes, self._left_out = [], [], left_out
        self._is_mixed = True
        await self._control("choose checksums", self._llm.collective_rpc("expect_checksums", args=(list(hashed),)))
        await self._transfer("start an update", self._llm.start_weight_update())

    async def update_weights(self, update_info: dict[str, Any]) -> None:
        """Receive tensors, described by `names`, `dtype_names` and `shapes`; several calls may make an update."""
        from vllm.distributed.weight_transfer.base import WeightTransferUpdateRequest

        if isinstance(self._config.transfer, GlooTransferConfig):
            # All comes in one call: refuse before receiving rather than after.
            self._expected.check(update_info["names"], update_info["shapes"], self._left_out)
        self._update_names += update_info["names"]
        self._update_shapes += update_info["shapes"]
        await self._transfer("receive weights", self._llm.update_weights(WeightTransferUpdateRequest(update_info)))

    async def finish_update(self, version: int) -> None:
        """Put the received weights to use, call them `version`, and drop all that was computed with the old ones.

        Raises:
            IncompleteUpdateError: a tensor is missing.
        """
        self._expected.check(self._update_names, self._update_shapes, self._left_out)
        await self._transfer("finish the update", self._llm.finish_weight_update(str(version)))
        recompute = self._config.in_flight_kv == "recompute"
        # With "keep" this does nothing while responses are in flight, and the salt of prompts does its work.
        await self._control("reset the prefix cache", self._llm.reset_prefix_cache(reset_running_requests=recompute))
        await self._control("reset the multimodal cache", self._llm.reset_mm_cache())
        await self._control("reset the encoder cache", self._llm.reset_encoder_cache())
        self._version = version
        self._num_updates += 1
        self._is_mixed = False

    async def _abandon_update(self) -> None:
        if self._is_mixed:
            # Every rank knows by itself how far it came: one may have failed where another did not.
            await self._control("give the open update up", self._llm.collective_rpc("abandon_update"))

    async def weight_version(self) -> int:
        """The version that the engine itself says it has."""
        return int(await self._control("weight version", self._llm.get_weight_version()))

    async def received_checksums(self) -> list[dict[str, str]]:
        """BLAKE3 of the tensors that the latest update is verified by, as each rank's model was handed them.

        To be compared with `PackedSource.checksums` of the sender.
        """
        return await self._control("checksums", self._llm.collective_rpc("received_checksums"))

    async def canary_logprobs(self, canary: Canary) -> list[float]:
        """Log-probability of every token of the canary's response under the engine's weights: of the model itself, at
        temperature 1 and with no token banned. Goes before whatever waits, and needs the engine to be resumed."""
        return await self._control("canary", self._canary_logprobs(canary))

    async def _canary_logprobs(self, canary: Canary) -> list[float]:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        response = canary.response_token_ids(self._encoder)
        sampling = SamplingParams(
            max_tokens=1, prompt_logprobs=0, detokenize=False, output_kind=RequestOutputKind.FINAL_ONLY
        )
        async with self._submission:
            prompt = self._prompts.prompt(canary.sample, canary.path, salt=f"update {self._num_updates}")
            whole = {**prompt, "prompt_token_ids": [*prompt["prompt_token_ids"], *response]}
            (rendered,) = await self._llm.renderer.render_cmpl_async([whole])
            queue = await self._llm.add_request(self._request_id(), rendered, sampling, priority=_BEFORE_ALL)
        output = await self._output(queue)
        seen = output.prompt_logprobs[-len(response) :]
        return [logprobs[token].logprob for logprobs, token in zip(seen, response, strict=True)]

    async def health_probe(self) -> None:
        """Generate one token (while paused: ask the engine for its state). Whoever asks sets the deadline.

        Raises:
            Exception: the engine's processes have died.
        """
        if self._is_paused:
            await self._llm.is_paused()
        else:
            await self._generate_one_token()

    async def _generate_one_token(self) -> None:
        from vllm import SamplingParams

        prompt: TokensPrompt = {"prompt_token_ids": [self._encoder.end_token_id]}
        (rendered,) = await self._llm.renderer.render_cmpl_async([prompt])
        sampling = SamplingParams(max_tokens=1, detokenize=False)
        async for _ in self._llm.generate(rendered, sampling, self._request_id(), priority=_BEFORE_ALL):
            pass

    # --- deadlines ----------------------------------------------------------------------------------------------------

    async def _within(self, operation: str, seconds: float, work: Awaitable[T]) -> T:
        try:
            return await asyncio.wait_for(work, seconds)
        except TimeoutError:
            raise RolloutTimeout(self.name, operation, seconds) from None

    async def _control(self, operation: str, work: Awaitable[T]) -> T:
        return await self._within(operation, self._config.control_timeout_s, work)

    async def _transfer(self, operation: str, work: Awaitable[T]) -> T:
        return await self._within(operation, self._config.transfer_timeout_s, work)
