"""Which settings would make a config fit its cards: the nearest first, each tried by the same arithmetic."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from pydantic import ValidationError

from launch.machine.findings import GIB
from launch.settings.config import RunConfig
from learner.config import LoraConfig

_MAX_NAMED = 4
_LEAST_PASS_TOKENS = 1024


class Change(NamedTuple):
    """One setting, or two that belong together."""

    words: str
    """As a person would write it."""
    make: Callable[[RunConfig], RunConfig]


def remedies(config: RunConfig, lacks: Callable[[RunConfig], float]) -> str:
    """What would make the config fit, in a sentence.

    Args:
        lacks: bytes by which the cards of a config are too small.
    """
    alone, together, tried = [], config, []
    for kind in _changes(config):
        # Of the values of one setting, the first that is enough.
        for change in kind:
            changed = _made(change, config)
            if changed is not None and lacks(changed) <= 0:
                alone.append(change.words)
                break
    if alone:
        return f"{'any of these' if len(alone) > 1 else 'this'} would be enough: {'; '.join(alone[:_MAX_NAMED])}"
    for kind in _changes(config):
        for change in list(kind)[-1:]:
            changed = _made(change, together)
            if changed is not None and lacks(changed) < lacks(together):
                together = changed
                tried.append(change.words)
            if lacks(together) <= 0:
                return f"these together would be enough: {', '.join(tried)}"
    return (
        f"a larger card, a smaller model, or more cards: with {', '.join(tried) or 'all that saves memory'} "
        f"{lacks(together) / GIB:.1f} GiB would still be lacking"
    )


def _made(change: Change, config: RunConfig) -> RunConfig | None:
    """None: the config does not allow it."""
    try:
        return change.make(config)
    except ValidationError:
        return None


def _changes(config: RunConfig) -> Iterator[Iterator[Change]]:
    """The settings that save memory, those first that cost the least; for each the values to try, nearest first."""
    learner, layout = config.learner, config.cluster.layout
    deepspeed = learner.deepspeed
    if not deepspeed.activation_checkpointing:
        yield iter([_deepspeed(activation_checkpointing=True)])
    yield _smaller_passes(config)
    if layout.type == "shared":
        yield _smaller_shares(config)
        if not layout.sleep and not config.training.max_staleness:
            yield iter([Change("cluster.layout.sleep=true", _asleep)])
    if deepspeed.optimizer_offload == "none":
        stage = {} if deepspeed.zero_stage else {"zero_stage": 1}
        yield iter([_deepspeed(**stage, optimizer_offload="cpu")])
    if learner.num_ranks > 1 and deepspeed.zero_stage < 3:
        yield iter([_deepspeed(zero_stage=stage) for stage in range(max(1, deepspeed.zero_stage + 1), 4)])
    if layout.type == "split" and deepspeed.zero_stage:
        yield iter([_learner(num_ranks=learner.num_ranks * times) for times in (2, 4, 8)])
    if learner.kl_coefficient and learner.lora is None:
        yield iter([_learner(kl_coefficient=0.0)])
    if learner.lora is None:
        yield iter([Change("learner.lora={rank: 32} with learner.optimizer.learning_rate=2e-5", _adapted)])


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


def _smaller_shares(config: RunConfig) -> Iterator[Change]:
    """Of the card, for the engine: in steps of a twentieth."""
    steps = int(config.rollout.engine.gpu_memory_utilization * 20 - 1e-6)
    for share in (step / 20 for step in range(steps, 1, -1)):
        yield Change(f"rollout.engine.gpu_memory_utilization={share:g}", _with_share(share))


def _with_share(share: float) -> Callable[[RunConfig], RunConfig]:
    def make(config: RunConfig) -> RunConfig:
        engine = config.rollout.engine.replace(gpu_memory_utilization=share)
        return config.replace(rollout=config.rollout.replace(engine=engine))

    return make


def _asleep(config: RunConfig) -> RunConfig:
    layout = config.cluster.layout.replace(sleep=True)
    return config.replace(cluster=config.cluster.replace(layout=layout))


def _adapted(config: RunConfig) -> RunConfig:
    learner = config.learner
    optimizer = learner.optimizer.replace(learning_rate=2e-5)
    return config.replace(learner=learner.replace(lora=LoraConfig(), optimizer=optimizer))
