"""Whether learner and engines fit their cards: on cards of their own, or both on one."""

from collections.abc import Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class CardPhase:
    """What is on a card at one time."""

    when: str
    """Such as "while the learner works"; empty if it is always the same."""
    needs: Sequence[Need]


def phases_of_card(shape: ModelShape, config: RunConfig, card_gib: float) -> list[CardPhase]:
    """What is on a learner's card. In a shared layout an engine is there too, with its share of the card; if the two
    take turns, the larger phase counts.

    Args:
        card_gib: how large the card is.
    """
    engine, layout = config.rollout.engine, config.cluster.layout
    learner = learner_needs(shape, config.learner, engine, image_tokens(shape, config))
    if layout.type == "split":
        return [CardPhase("", learner)]
    share = Need("engine", engine.gpu_memory_utilization * card_gib * GIB)
    if not layout.sleep:
        return [CardPhase("", [*learner, share])]
    resting = [Need(f"learner's {need.what}", need.num_bytes) for need in resident_needs(shape, config.learner)]
    return [
        CardPhase("while the learner works", [*learner, Need("engine asleep", float(ASLEEP_BYTES))]),
        CardPhase("while engines generate", [share, *resting]),
    ]


def image_tokens(shape: ModelShape, config: RunConfig) -> float:
    """Tokens of the images that one pass encodes. At most all of the prompts are images. A group's rows are in one pass
    and share theirs, and where a group is cut in two, its image is encoded in both."""
    engine, sampling, budget = config.rollout.engine, config.rollout.sampling, config.prompt.max_pixels
    longest_prompt = max(0, engine.max_model_len - sampling.max_response_tokens)
    in_prompts = pass_tokens(config.learner.deepspeed, engine.max_model_len) * longest_prompt / engine.max_model_len
    of_one = longest_prompt if budget is None or shape.vision is None else budget / shape.vision.token_pixels
    return min(in_prompts, in_prompts / config.training.group_size + of_one)


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
    detail = f"{_listed(largest(phases))} of {card_gib:g} GiB"
    if lacking_bytes(phases, card_gib) > 0:
        return Finding(name, "fail", f"{detail}, of which {SPARE_SHARE:.0%} must stay free", advice)
    return Finding(name, "ok", detail)


def unknown_card(phases: Sequence[CardPhase]) -> Finding:
    """What a learner's card must hold, where nobody knows how large it is."""
    return Finding("learner's GPU", "warn", _listed(largest(phases)), "give its size: --gpu-gib 80")


def _listed(phase: CardPhase) -> str:
    """Such as "61.2 GiB while the learner works (weights 15.5, activations 12.0)"."""
    listed = ", ".join(f"{need.what} {need.num_bytes / GIB:.1f}" for need in phase.needs if need.num_bytes >= GIB / 20)
    when = f" {phase.when}" if phase.when else " a rank"
    return f"{total(phase.needs) / GIB:.1f} GiB{when} ({listed})"


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
        advice = "raise rollout.engine.tensor_parallel_size or gpu_memory_utilization, or lower max_model_len"
        return Finding(name, "fail", detail, advice)
    if longest < config.max_num_seqs / 4:
        advice = (
            f"most of max_num_seqs={config.max_num_seqs} may have to wait; a higher tensor_parallel_size holds more"
        )
        return Finding(name, "warn", detail, advice)
    return Finding(name, "ok", detail)
