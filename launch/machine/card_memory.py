"""Whether learner and engines fit their cards: on cards of their own, or both on one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from launch.machine.findings import GIB, Finding
from launch.machine.memory import (
    ASLEEP_BYTES,
    SPARE_SHARE,
    Need,
    engine_needs,
    kv_bytes_per_token,
    learner_needs,
    pass_tokens,
    resident_needs,
    total,
)
from launch.machine.shapes import ModelShape
from launch.settings.config import RunConfig
from rollout.config import EngineConfig

MOST_SHARE = 0.9
"""Of a card, as `gpu_memory_utilization`, that doctor advises to give an engine."""
COLD_START = "in the cold start"
# Of a prompt and its chain of thought, at the least.
_LEAST_TEXT_TOKENS = 150


@dataclass(frozen=True)
class CardPhase:
    """What is on a card at one time."""

    when: str
    """Such as "while the learner works"; empty if it is always the same."""
    needs: Sequence[Need]


class Shapes(NamedTuple):
    """The model as each phase trains it; the cold start trains other parts than reinforcement learning."""

    of_rl: ModelShape
    of_cold_start: ModelShape


def phases_of_card(shapes: Shapes, config: RunConfig, card_gib: float) -> list[CardPhase]:
    """What is on a learner's card. In a shared layout an engine is there too, with its share of the card, or the two
    take turns. The cold start comes last. The largest phase counts.

    Args:
        card_gib: how large the card is.
    """
    engine, layout, shape = config.rollout.engine, config.cluster.layout, shapes.of_rl
    learner = learner_needs(shape, config.learner, engine, image_tokens(shape, config))
    cold_tokens = image_tokens_of_rows(shapes.of_cold_start, config)
    cold = learner_needs(shapes.of_cold_start, config.learner.for_cold_start(), engine, cold_tokens)
    if layout.type == "split":
        return [CardPhase("", learner), CardPhase(COLD_START, cold)]
    share = Need("engine", engine.gpu_memory_utilization * card_gib * GIB)
    if not layout.sleep:
        return [CardPhase("", [*learner, share]), CardPhase(COLD_START, [*cold, share])]
    asleep = Need("engine asleep", float(ASLEEP_BYTES))
    resting = [Need(f"learner's {need.what}", need.num_bytes) for need in resident_needs(shape, config.learner)]
    return [
        CardPhase("while the learner works", [*learner, asleep]),
        CardPhase("while engines generate", [*_parts_of_share(shape, engine, share), *resting]),
        CardPhase(COLD_START, [*cold, asleep]),
    ]


def _parts_of_share(shape: ModelShape, engine: EngineConfig, share: Need) -> list[Need]:
    """What an engine does with its share of the card; the share as it is if the engine does not fit it."""
    parts = engine_needs(shape, engine)
    left = share.num_bytes - total(parts)
    if left < 0:
        return [share]
    own = [Need(f"engine's {need.what}", need.num_bytes) for need in parts]
    return [*own, Need("keys and values", left)]


def image_tokens(shape: ModelShape, config: RunConfig) -> float:
    """Tokens of the images that one pass of reinforcement learning encodes. A group's rows are in one pass and share
    theirs, and where a group is cut in two, its image is encoded in both."""
    in_prompts, of_one = _most_in_prompts(config), _tokens_of_one(shape, config)
    return min(in_prompts, in_prompts / config.training.group_size + of_one)


def image_tokens_of_rows(shape: ModelShape, config: RunConfig) -> float:
    """The same of the cold start, where each row has images of its own, and some text."""
    shown = _tokens_of_one(shape, config) * config.rollout.engine.max_images_per_prompt
    tokens = pass_tokens(config.learner.deepspeed, config.rollout.engine.max_model_len)
    return min(_most_in_prompts(config), tokens * shown / (shown + _LEAST_TEXT_TOKENS))


def _most_in_prompts(config: RunConfig) -> float:
    """Tokens of the prompts in a pass, if all responses are of the greatest length: no more are of images."""
    longest = config.rollout.engine.max_model_len
    return pass_tokens(config.learner.deepspeed, longest) * _longest_prompt(config) / longest


def _longest_prompt(config: RunConfig) -> int:
    return max(0, config.rollout.engine.max_model_len - config.rollout.sampling.max_response_tokens)


def _tokens_of_one(shape: ModelShape, config: RunConfig) -> float:
    """Of the largest image."""
    budget = config.prompt.max_pixels
    return _longest_prompt(config) if budget is None or shape.vision is None else budget / shape.vision.token_pixels


def largest(phases: Sequence[CardPhase]) -> CardPhase:
    """The phase that needs the most."""
    return max(phases, key=lambda phase: total(phase.needs))


def lacking_bytes(phases: Sequence[CardPhase], card_gib: float) -> float:
    """Bytes by which a card is too small; negative: what is left of it."""
    return total(largest(phases).needs) - card_gib * GIB * (1 - SPARE_SHARE)


def check_card(phases: Sequence[CardPhase], card_gib: float, advice: str = "") -> Finding:
    """Whether what is on a learner's card fits it.

    Args:
        advice: what would help, if it does not fit.
    """
    name = "learner's GPU"
    detail = f"{_described(phases)} of {card_gib:g} GiB"
    if lacking_bytes(phases, card_gib) > 0:
        return Finding(name, "fail", f"{detail}, of which {SPARE_SHARE:.0%} must stay free", advice)
    return Finding(name, "ok", detail)


def unknown_card(phases: Sequence[CardPhase]) -> Finding:
    """What a learner's card must hold, where nobody knows how large it is."""
    return Finding("learner's GPU", "warn", _described(phases), "give its size: --gpu-gib 80")


def _described(phases: Sequence[CardPhase]) -> str:
    """All phases; of a cold start that is not the largest only the sum."""
    most = largest(phases)
    return "; ".join(
        _listed(phase) if phase is most or phase.when != COLD_START else f"{_sum(phase)} {phase.when}"
        for phase in phases
    )


def _listed(phase: CardPhase) -> str:
    """Such as "61.2 GiB while the learner works (weights 15.5, activations 12.0)"."""
    listed = ", ".join(f"{need.what} {need.num_bytes / GIB:.1f}" for need in phase.needs if need.num_bytes >= GIB / 20)
    return f"{_sum(phase)} {phase.when or 'a rank'} ({listed})"


def _sum(phase: CardPhase) -> str:
    return f"{total(phase.needs) / GIB:.1f} GiB"


def num_responses_held(shape: ModelShape, config: EngineConfig, gpu_gib: float) -> float:
    """Responses of the maximum length whose keys and values an engine can hold at once."""
    return _kv_bytes(shape, config, gpu_gib) / kv_bytes_per_token(shape, config) / config.max_model_len


def _kv_bytes(shape: ModelShape, config: EngineConfig, gpu_gib: float) -> float:
    return max(0.0, config.gpu_memory_utilization * gpu_gib * GIB - total(engine_needs(shape, config)))


def check_engine(shape: ModelShape, config: EngineConfig, gpu_gib: float | None) -> Finding:
    """Whether an engine fits its GPUs, and how many responses it can hold at once."""
    name, needed = "engine's GPU", total(engine_needs(shape, config))
    if gpu_gib is None:
        detail = f"{needed / GIB:.1f} GiB besides keys and values"
        return Finding(name, "warn", detail, "give its size: --rollout-gpu-gib 40")
    left, longest = _kv_bytes(shape, config, gpu_gib), num_responses_held(shape, config, gpu_gib)
    detail = (
        f"{needed / GIB:.1f} GiB, and {left / GIB:.1f} GiB for keys and values: "
        f"{longest * config.max_model_len:,.0f} tokens, {longest:.0f} responses of the maximum length"
    )
    if longest < 1:
        return Finding(name, "fail", detail, _advice_to_fit(shape, config, gpu_gib))
    if longest < config.max_num_seqs / 4:
        advice = (
            f"most of max_num_seqs={config.max_num_seqs} may have to wait: set "
            f"rollout.engine.max_num_seqs={math.floor(longest)}, or give engines more memory (gpu_memory_utilization)"
        )
        return Finding(name, "warn", detail, advice)
    return Finding(name, "ok", detail)


def _advice_to_fit(shape: ModelShape, config: EngineConfig, gpu_gib: float) -> str:
    """For an engine that cannot hold one response: the share that could, or what else would help."""
    least = total(engine_needs(shape, config)) + kv_bytes_per_token(shape, config) * config.max_model_len
    share = math.ceil(least / gpu_gib / GIB * 100) / 100
    if share <= MOST_SHARE:
        return f"rollout.engine.gpu_memory_utilization={share:g} or more"
    return (
        f"it needs {least / GIB:.1f} GiB: a larger card, a smaller model, a lower rollout.engine.max_model_len, or, "
        "where an engine may have several cards, a higher rollout.engine.tensor_parallel_size"
    )
