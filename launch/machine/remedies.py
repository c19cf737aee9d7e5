"""Which settings would make a config fit its cards: the nearest first, each tried by the same arithmetic."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, product
from typing import Any, NamedTuple

from pydantic import ValidationError

from launch.machine.card_memory import MOST_SHARE
from launch.machine.findings import GIB
from launch.settings.config import RunConfig
from learner.config import LoraConfig

_MAX_NAMED = 4
_LEAST_PASS_TOKENS = 1024
# As `gpu_memory_utilization`, in twentieths: an engine gets no less, and no more.
_LEAST_SHARE, _MOST_SHARE = 2, round(20 * MOST_SHARE)

Lacks = Callable[[RunConfig], float]
"""Bytes by which the cards of a config are too small; infinite where its engine does not fit its share."""


class Change(NamedTuple):
    """One setting, or two that belong together."""

    words: str
    """As a person would write it."""
    make: Callable[[RunConfig], RunConfig]
    is_method: bool = False
    """Whether it changes what is learnt, and not only how it is computed."""


def remedies(config: RunConfig, lacks: Lacks) -> str:
    """What would make the config fit, in a sentence."""
    kinds = [list(kind) for kind in _changes(config)]
    alone = [found for kind in kinds if (found := _first_enough(config, kind, lacks)) is not None]
    if any(not change.is_method for change in alone):
        named = "; ".join(change.words for change in alone[:_MAX_NAMED])
        return f"{'any of these' if len(alone) > 1 else 'this'} would be enough: {named}"
    pairs = list(_enough_in_pairs(config, [kind for kind in kinds if not kind[0].is_method], lacks))
    if pairs:
        ways = [*pairs[: _MAX_NAMED - 1], *(change.words for change in alone[:1])]
        return f"these together would be enough: {'; or '.join(ways)}"
    if alone:
        return f"this would be enough: {'; or '.join(change.words for change in alone)}"
    together = _together(config, kinds, lacks)
    words, lacking = ", ".join(change.words for change in together), lacks(_all_made(together, config))
    if lacking <= 0:
        return f"these together would be enough: {words}"
    if math.isinf(lacking):
        return (
            "a larger card or a smaller model: an engine does not fit this one with any "
            "rollout.engine.gpu_memory_utilization"
        )
    return (
        f"a larger card, a smaller model, or more cards: with {words or 'all that saves memory'} "
        f"{lacking / GIB:.1f} GiB would still be lacking"
    )


def _first_enough(config: RunConfig, kind: Sequence[Change], lacks: Lacks) -> Change | None:
    """Of the values of one setting, the first that is enough."""
    return next((change for change in kind if _lacking([change], config, lacks) <= 0), None)


def _enough_in_pairs(config: RunConfig, kinds: Sequence[Sequence[Change]], lacks: Lacks) -> Iterator[str]:
    """Of each two settings, the first values that are enough together."""
    for pair in combinations(kinds, 2):
        enough = (both for both in product(*pair) if _lacking(both, config, lacks) <= 0)
        if (both := next(enough, None)) is not None:
            yield ", ".join(change.words for change in both)


def _together(config: RunConfig, kinds: Sequence[Sequence[Change]], lacks: Lacks) -> list[Change]:
    """Of each setting the value that saves the most, one after the other until it is enough; then each as near to what
    it was as is still enough. What helps no more than nothing is left out."""
    chosen: dict[int, Change] = {}

    def lacking(number: int, change: Change | None) -> float:
        others = [chosen[at] for at in sorted(chosen) if at != number]
        return _lacking([*others, *([change] if change else [])], config, lacks)

    # Twice: what is no help while an engine does not fit, or while another phase is the larger, may be one later.
    for number, kind in [*enumerate(kinds), *enumerate(kinds)]:
        now = lacking(number, chosen.get(number))
        if now <= 0:
            break
        best = min(kind, key=lambda change: lacking(number, change))
        if lacking(number, best) < now:
            chosen[number] = best
    if _lacking(list(chosen.values()), config, lacks) <= 0:
        for number in sorted(chosen, reverse=True):  # those first that cost the most
            if lacking(number, None) <= 0:
                del chosen[number]
                continue
            chosen[number] = next(change for change in kinds[number] if lacking(number, change) <= 0)
    return [chosen[number] for number in sorted(chosen)]


def _lacking(changes: Sequence[Change], config: RunConfig, lacks: Lacks) -> float:
    """Infinite where the config does not allow the changes."""
    try:
        return lacks(_all_made(changes, config))
    except ValidationError:
        return math.inf


def _all_made(changes: Sequence[Change], config: RunConfig) -> RunConfig:
    for change in changes:
        config = change.make(config)
    return config


def _changes(config: RunConfig) -> Iterator[Iterator[Change]]:
    """The settings that save memory, those first that cost the least; for each the values to try, nearest first."""
    learner, layout = config.learner, config.cluster.layout
    deepspeed = learner.deepspeed
    if not deepspeed.activation_checkpointing:
        yield iter([_deepspeed(activation_checkpointing=True)])
    if passes := list(_smaller_passes(config)):
        yield iter(passes)
    if layout.type == "shared":
        yield _other_shares(config)
        if not layout.sleep:
            also = " with training.max_staleness=0" if config.training.max_staleness else ""
            yield iter([Change(f"cluster.layout.sleep=true{also}", _asleep)])
    if deepspeed.optimizer_offload == "none":
        stage = {} if deepspeed.zero_stage else {"zero_stage": 1}
        yield iter([_deepspeed(**stage, optimizer_offload="cpu")])
    if learner.num_ranks > 1 and deepspeed.zero_stage < 3:
        yield iter([_deepspeed(zero_stage=stage) for stage in range(max(1, deepspeed.zero_stage + 1), 4)])
    if layout.type == "split" and deepspeed.zero_stage:
        yield iter([_learner(num_ranks=learner.num_ranks * times) for times in (2, 4, 8)])
    if learner.freeze and learner.lora is None and learner.sft.freeze != learner.freeze:
        words = f"learner.sft.freeze=[{','.join(learner.freeze)}]"
        yield iter([Change(words, _cold_start_frozen, is_method=True)])
    if learner.kl_coefficient and learner.lora is None:
        yield iter([_learner(kl_coefficient=0.0)._replace(is_method=True)])
    if learner.lora is None:
        words = (
            "learner.lora={rank: 32} with learner.optimizer.learning_rate=2e-5 and "
            "learner.sft.optimizer.learning_rate=1e-4"
        )
        yield iter([Change(words, _adapted, is_method=True)])


def _learner(**settings: Any) -> Change:
    words = ", ".join(f"learner.{name}={value}" for name, value in settings.items())
    return Change(words, lambda config: config.replace(learner=config.learner.replace(**settings)))


def _deepspeed(**settings: Any) -> Change:
    words = ", ".join(f"learner.deepspeed.{name}={_written(value)}" for name, value in settings.items())

    def make(config: RunConfig) -> RunConfig:
        deepspeed = config.learner.deepspeed.replace(**settings)
        return config.replace(learner=config.learner.replace(deepspeed=deepspeed))

    return Change(words, make)


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _smaller_passes(config: RunConfig) -> Iterator[Change]:
    """A row has a pass of its own at the least, so the longest row is the least that helps."""
    deepspeed, longest = config.learner.deepspeed, config.rollout.engine.max_model_len
    tokens = deepspeed.micro_batch_tokens or (deepspeed.micro_batch_rows or 1) * longest
    while (tokens := tokens // 2) >= max(longest, _LEAST_PASS_TOKENS):
        yield _deepspeed(micro_batch_tokens=tokens)
    if _LEAST_PASS_TOKENS < longest < 2 * tokens:
        yield _deepspeed(micro_batch_tokens=longest)


def _other_shares(config: RunConfig) -> Iterator[Change]:
    """Of the card, for the engine, in steps of a twentieth: smaller ones, which leave more to the learner; then larger
    ones, for an engine that does not fit."""
    steps = config.rollout.engine.gpu_memory_utilization * 20
    smaller = range(math.ceil(steps - 1e-6) - 1, _LEAST_SHARE - 1, -1)
    larger = range(math.floor(steps + 1e-6) + 1, _MOST_SHARE + 1)
    for share in (step / 20 for step in (*smaller, *larger)):
        yield Change(f"rollout.engine.gpu_memory_utilization={share:g}", _with_share(share))


def _with_share(share: float) -> Callable[[RunConfig], RunConfig]:
    def make(config: RunConfig) -> RunConfig:
        engine = config.rollout.engine.replace(gpu_memory_utilization=share)
        return config.replace(rollout=config.rollout.replace(engine=engine))

    return make


def _asleep(config: RunConfig) -> RunConfig:
    """Learner and engine take turns, which only a synchronous run can."""
    layout = config.cluster.layout.replace(sleep=True)
    training = config.training.replace(max_staleness=0)
    return config.replace(cluster=config.cluster.replace(layout=layout), training=training)


def _cold_start_frozen(config: RunConfig) -> RunConfig:
    """The cold start trains no part that reinforcement learning does not."""
    learner = config.learner
    return config.replace(learner=learner.replace(sft=learner.sft.replace(freeze=learner.freeze)))


def _adapted(config: RunConfig) -> RunConfig:
    learner = config.learner
    optimizer = learner.optimizer.replace(learning_rate=2e-5)
    sft = learner.sft.replace(optimizer=learner.sft.optimizer.replace(learning_rate=1e-4))
    return config.replace(learner=learner.replace(lora=LoraConfig(), optimizer=optimizer, sft=sft))
