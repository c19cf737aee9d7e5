"""Requests to vLLM, and what comes back: responses, the canary's log-probabilities, a token to see that it is well."""

import asyncio
import itertools
from typing import TYPE_CHECKING

from flow.trajectory import RolloutRequest, Trajectory
from rollout.canary import Canary
from rollout.config import EngineConfig
from rollout.prompts import EnginePrompts
from rollout.responses import sampling_params, trajectory_of
from rollout.submissions import Submissions
from vlm.prompt import PromptEncoder

if TYPE_CHECKING:
    from vllm import RequestOutput, SamplingParams
    from vllm.inputs import TokensPrompt
    from vllm.v1.engine.async_llm import AsyncLLM
    from vllm.v1.engine.output_processor import RequestOutputCollector

# vLLM's priority of a request that does not wait for the responses before it; theirs is 0.
_BEFORE_ALL = -1


class Generation:
    """Puts requests to a loaded vLLM. Deadlines are the caller's business.

    Args:
        vllm: loaded.
        encoder: of the model that it has loaded.
        config: of the engine.
        name: the engine's.
        top_p: below 1, log-probabilities are those of the truncated distribution (see `SamplingConfig`).
        submissions: shared with the engine's weight updates.
    """

    def __init__(
        self,
        vllm: "AsyncLLM",
        encoder: PromptEncoder,
        config: EngineConfig,
        name: str,
        top_p: float,
        submissions: Submissions,
    ) -> None:
        self._vllm = vllm
        self._encoder = encoder
        self._config = config
        self._name = name
        self._top_p = top_p
        self._submissions = submissions
        self._prompts = EnginePrompts(encoder)
        self._request_numbers = itertools.count()
        self.num_tokens = 0
        """Response tokens given so far."""

    async def generate(self, request: RolloutRequest) -> Trajectory:
        """One response. If the caller stops waiting, vLLM stops generating it.

        Raises:
            BadImageError: an image is not in the store, or cannot be used.
            ValueError: the prompt leaves no room for a whole response.
        """
        async with self._submissions.lock:
            # In mode "keep" a prompt's keys and values must not serve requests that come after a push.
            prompt = self._prompts.prompt(request.sample, request.path, self._submissions.salt)
            # Checked before rendering too: vLLM's own messages would not name the sample.
            self._check_images(request)
            self._check_length(request, len(prompt["prompt_token_ids"]))
            (rendered,) = await self._vllm.renderer.render_cmpl_async([prompt])
            self._check_length(request, len(rendered["prompt_token_ids"]))
            sampling = sampling_params(request, self._top_p, self._encoder.banned_token_ids)
            queue = await self._vllm.add_request(self._request_id(), rendered, sampling)
        trajectory = trajectory_of(request, await self._output(queue), self._encoder, self._name)
        self.num_tokens += len(trajectory.response_token_ids)
        return trajectory

    async def canary_logprobs(self, canary: Canary) -> list[float]:
        """Log-probability of every token of the canary's response under the present weights: of the model itself, at
        temperature 1 and with no token banned. Passes all that waits; while the engine is paused it waits itself."""
        response = canary.response_token_ids(self._encoder)
        async with self._submissions.lock:
            prompt = self._prompts.prompt(canary.sample, canary.path, self._submissions.salt)
            whole = {**prompt, "prompt_token_ids": [*prompt["prompt_token_ids"], *response]}
            (rendered,) = await self._vllm.renderer.render_cmpl_async([whole])
            sampling = _one_token(prompt_logprobs=0)
            queue = await self._vllm.add_request(self._request_id(), rendered, sampling, priority=_BEFORE_ALL)
        output = await self._output(queue)
        seen = output.prompt_logprobs[-len(response) :]
        return [logprobs[token].logprob for logprobs, token in zip(seen, response, strict=True)]

    async def generate_one_token(self) -> None:
        """See that vLLM generates. Passes all that waits, and takes no notice of a pause."""
        prompt: TokensPrompt = {"prompt_token_ids": [self._encoder.end_token_id]}
        (rendered,) = await self._vllm.renderer.render_cmpl_async([prompt])
        async for _ in self._vllm.generate(rendered, _one_token(), self._request_id(), priority=_BEFORE_ALL):
            pass

    async def _output(self, queue: "RequestOutputCollector") -> "RequestOutput":
        try:
            # FINAL_ONLY: the first output is the whole response.
            return await queue.get()
        except asyncio.CancelledError:
            await self._vllm.abort(queue.request_id, internal=True)
            raise

    def _request_id(self) -> str:
        return f"{self._name}-{next(self._request_numbers)}"

    def _check_images(self, request: RolloutRequest) -> None:
        num, most = len(request.sample.images), self._config.max_images_per_prompt
        if num > most:
            raise ValueError(
                f"sample {request.sample.sample_id} has {num} images, but rollout.engine.max_images_per_prompt={most}; "
                f"set that to {num}, or leave the sample out"
            )

    def _check_length(self, request: RolloutRequest, num_tokens: int) -> None:
        # vLLM would cut the response to what is left, and it would look like one that reached its length.
        if num_tokens + request.max_response_tokens > self._config.max_model_len:
            raise ValueError(
                f"sample {request.sample.sample_id} through {request.path}: a prompt of {num_tokens} tokens leaves no "
                f"room for a response of max_response_tokens={request.max_response_tokens} in rollout.engine."
                f"max_model_len={self._config.max_model_len}; raise that, or ask for shorter responses"
            )


def _one_token(prompt_logprobs: int | None = None) -> "SamplingParams":
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        max_tokens=1,
        prompt_logprobs=prompt_logprobs,
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )
