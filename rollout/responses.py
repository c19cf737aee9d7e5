"""From a request to vLLM's sampling, and from its output to a trajectory."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from flow.trajectory import RolloutRequest, Trajectory, VersionSpan

if TYPE_CHECKING:
    from vllm import RequestOutput, SamplingParams

    from vlm.prompt import PromptEncoder


def sampling_params(request: RolloutRequest, top_p: float, banned_token_ids: Iterable[int]) -> "SamplingParams":
    """vLLM's settings for drawing a response."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        temperature=request.temperature,
        top_p=top_p,
        seed=request.seed,
        max_tokens=request.max_response_tokens,
        logit_bias=dict.fromkeys(banned_token_ids, -100.0),
        logprobs=0,  # only the sampled token's
        flat_logprobs=True,
        detokenize=False,  # decoding once at the end is cheaper than token by token
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def trajectory_of(
    request: RolloutRequest, output: "RequestOutput", encoder: "PromptEncoder", engine: str
) -> Trajectory:
    """
    Raises:
        RuntimeError: the response ended for another reason than its end token or its length.
    """
    from vlm.prompt import decode

    (completion,) = output.outputs
    if completion.finish_reason not in ("stop", "length"):
        raise RuntimeError(
            f"engine {engine}: the response to sample {request.sample.sample_id} ended by "
            f"{completion.finish_reason!r} after {len(completion.token_ids)} tokens"
        )
    return Trajectory.answering(
        request,
        prompt_token_ids=tuple(output.prompt_token_ids),
        response_token_ids=tuple(completion.token_ids),
        rollout_logprobs=tuple(completion.logprobs.logprobs),
        version_spans=tuple(
            VersionSpan(weight_version=int(span.version), num_tokens=span.end - span.start)
            for span in completion.weight_versions
        ),
        response_text=decode(encoder.tokenizer, completion.token_ids),
        finish_reason=completion.finish_reason,
        engine=engine,
    )
