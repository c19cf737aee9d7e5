"""How long a step takes, phase by phase, computed before anything starts; and what bounds each phase.

Operations and bytes are counted from the model's shape, and divided by what the cards can do at most times a share that
programs of this kind reach. These shares are assumptions until a run on the same kind of card has been measured; they
stand below, each with its reason, and `sr-real doctor` prints them beside the measured run.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from launch.machine.findings import GIB
from launch.machine.memory import engine_needs, kv_bytes_per_token, total
from launch.machine.shapes import ModelShape
from launch.settings.config import RunConfig
from learner.cards import CardKind
from learner.flops import ModelFlops, RowSize, update_flops
from rollout.config import EngineConfig
from vlm.attention import WITH_PADDING

LEARNER_SHARE = 0.3
"""Of the peak, all operations of an update counted, those that are computed again too. On an H200, forward and backward
passes of a language model of 2 B over packed rows reached 0.31 to 0.33 of 989 TFLOP/s."""
PADDED_SHARE = 0.23
"""The same over padded rows, as it was measured there."""
PREFILL_SHARE = 0.5
"""Of the peak, when an engine reads prompts: long products, no backward pass."""
READING_SHARE = 0.6
"""Of the memory's bandwidth, when an engine makes tokens: attention over many short stretches reads less evenly."""
LINK_SHARE = 0.6
"""Of the link's rate in collectives and pushes."""
GRAPH_STEP_S, EAGER_LAYER_S = 0.005, 0.0004
"""Least time of an engine's step on the host: with graphs for the whole, without for each layer."""
BETWEEN_NODES_GB_PER_S = 25.0
"""Of one card's share of the network, where ranks are on several nodes: 200 Gbit/s."""
RANKS_PER_NODE = 8
HOST_GB_PER_S = 50.0
"""Between a card and pinned host memory: 54 were measured on an H200, each way."""
HOST_WEIGHTS_PER_S = 1e9
"""Weights that a rank's optimiser steps over in host memory, with a dozen cores."""
IPC_GB_PER_S = 15.0
"""Of a push inside a card: packed, checked and loaded. Measured on an H200 with 4.9 GB, while 64 responses were under
way; a copy alone is a hundred times as fast."""
GLOO_GB_PER_S = 2.0
"""Of a push through host memory, as measured on CPUs (docs/speed.md)."""
PUSH_S, WAKE_S = 0.1, 1.0
"""What a push, and an engine that wakes, take besides bytes."""
_SAMPLING_PASSES = 6
"""How often the logits are read or written while a token is drawn and its log-probability is taken."""
_BYTES = {"float32": 4, "bfloat16": 2}


@dataclass(frozen=True)
class Workload:
    """How long prompts and responses are: what nobody knows before a run, so it is said beside what follows from it."""

    text_tokens: int
    """Of a prompt besides its image."""
    image_tokens: int
    """Of its image."""
    response_tokens: int
    """Of a response, as a mean."""

    @property
    def prompt_tokens(self) -> int:
        return self.text_tokens + self.image_tokens

    def row(self, response_tokens: int, prompt: object) -> RowSize:
        """A prompt with a response of this length."""
        return RowSize(self.prompt_tokens + response_tokens, response_tokens, (self.image_tokens,), prompt)

    def describe(self) -> str:
        return (
            f"prompts of {self.prompt_tokens:,} tokens ({self.image_tokens:,} of the image) and responses of "
            f"{self.response_tokens:,}"
        )


@dataclass(frozen=True)
class Part:
    """One phase of a step."""

    what: str
    seconds: float
    bound: str
    """What it would take to make it shorter: such as "the learner's arithmetic"."""


@dataclass(frozen=True)
class StepEstimate:
    """A step's phases, and how they follow each other."""

    parts: tuple[Part, ...]
    at_once: bool
    """Whether engines generate while the learner works, on cards of their own."""

    @property
    def seconds(self) -> float:
        generation, *rest = (part.seconds for part in self.parts)
        return max(generation, sum(rest)) if self.at_once else generation + sum(rest)

    @property
    def longest(self) -> Part:
        """What bounds the step; of the learner's phases the longest stands for all, where both sides work at once."""
        generation, *rest = self.parts
        if self.at_once and generation.seconds >= sum(part.seconds for part in rest):
            return generation
        return max(rest if self.at_once else self.parts, key=lambda part: part.seconds)

    def of(self, what: str) -> float:
        """Seconds of one phase; 0 if it has no such."""
        return sum(part.seconds for part in self.parts if part.what == what)


@dataclass(frozen=True)
class Estimator:
    """The arithmetic of one config on one kind of cards."""

    config: RunConfig
    shape: ModelShape
    flops: ModelFlops
    learner_card: CardKind
    engine_card: CardKind
    work: Workload

    def step(self) -> StepEstimate:
        """The phases in their order."""
        parts = [self.generation(), self.update(), self.push()]
        layout = self.config.cluster.layout
        if layout.type == "shared" and layout.sleep:
            parts.append(self.taking_turns())
        # On one card both sides compute in turns, whether or not they may work at once.
        at_once = layout.type == "split" and self.config.training.max_staleness > 0
        return StepEstimate(tuple(parts), at_once)

    @property
    def _num_groups(self) -> int:
        return sum(self.config.training.groups_per_step.values())

    @property
    def _num_responses(self) -> int:
        return self._num_groups * self.config.training.group_size

    # -- generation --------------------------------------------------------------------------------------------------

    def generation(self) -> Part:
        """All responses of a step, on all engines: prompts are read once a group, tokens are made seat by seat, and the
        longest responses are left over in the end."""
        config, engine = self.config.rollout, self.config.rollout.engine
        per_engine = self._num_responses / max(1, config.num_workers)
        seats = max(1.0, min(engine.max_num_seqs, per_engine, self._room_in_cache(engine)))
        longest = self.config.rollout.sampling.max_response_tokens
        full_s, bound = self._token_step(engine, seats)
        tail_s, _ = self._token_step(engine, 1.0)
        tokens_s = per_engine * self.work.response_tokens / seats * full_s
        if self.config.training.max_staleness == 0:  # else the next step's responses take the seats that become free
            tokens_s += max(0, longest - self.work.response_tokens) * tail_s
        prompts_s = self._num_groups / max(1, config.num_workers) * self._prompt_s(engine)
        if prompts_s > tokens_s:
            bound = "the engines' arithmetic, in prompts"
        elif seats == self._room_in_cache(engine):
            bound = f"room for keys and values ({seats:.0f} responses at once)"
        return Part("generation", prompts_s + tokens_s, bound)

    def _room_in_cache(self, engine: EngineConfig) -> float:
        """Responses whose keys and values fit at once, their prompts shared by a group."""
        card_bytes = engine.gpu_memory_utilization * self.engine_card.gib * GIB
        left = max(0.0, card_bytes - total(engine_needs(self.shape, engine)))
        own = self.work.response_tokens + self.work.prompt_tokens / self.config.training.group_size
        return left / (kv_bytes_per_token(self.shape, engine) * own)

    def _token_step(self, engine: EngineConfig, seats: float) -> tuple[float, str]:
        """Seconds in which an engine makes one token on each of its seats, and what bounds them."""
        ranks, card = engine.tensor_parallel_size, self.engine_card
        entries = (self.flops.text.forward + self.flops.head.forward) / ranks
        context = self.work.prompt_tokens + self.work.response_tokens / 2
        num_bytes = (
            entries * _BYTES[engine.dtype]
            + seats * context * kv_bytes_per_token(self.shape, engine)
            + seats * self.shape.vocab_size * 4 * _SAMPLING_PASSES
        )
        reading_s = num_bytes / (card.memory_gb_per_s * 1e9 * READING_SHARE)
        computing_s = 2 * seats * entries / (card.peak_tflops(engine.dtype) * 1e12 * PREFILL_SHARE)
        host_s = self.shape.num_layers * EAGER_LAYER_S if engine.enforce_eager else GRAPH_STEP_S
        remedy = " (enforce_eager=false is faster)" if engine.enforce_eager else ""
        return max(
            (reading_s, "the engines' memory bandwidth"),
            (computing_s, "the engines' arithmetic"),
            (host_s, f"the engines' host{remedy}"),
        )

    def _prompt_s(self, engine: EngineConfig) -> float:
        row = self.work.row(0, None)
        operations = self.flops.of_rows([row], is_training=False) + self.flops.of_images([row], is_training=False)
        peak = self.engine_card.peak_tflops(engine.dtype) * 1e12 * engine.tensor_parallel_size
        return operations / (peak * PREFILL_SHARE)

    # -- the learner -------------------------------------------------------------------------------------------------

    def update(self, response_tokens: int | None = None) -> Part:
        """One update.

        Args:
            response_tokens: of every response; None: as the workload has it.
        """
        learner = self.config.learner
        length = self.work.response_tokens if response_tokens is None else response_tokens
        size = self.config.training.group_size
        rows = [self.work.row(length, group) for group in range(self._num_groups) for _ in range(size)]
        operations = update_flops(self.flops, rows, learner)
        if learner.deepspeed.activation_checkpointing:
            operations += self.flops.of_rows(rows, is_training=False)
        peak = self.config.cluster.peak_tflops or self.learner_card.peak_tflops(learner.deepspeed.dtype)
        computing_s = operations / (learner.num_ranks * peak * 1e12 * self._learner_share)
        sending_s = self._collectives_s(sum(row.num_tokens for row in rows))
        stepping_s = self._host_steps_s()
        if sending_s > max(computing_s, stepping_s):
            bound = "the link between learner ranks"
        elif stepping_s > computing_s:
            bound = "optimiser steps in host memory (optimizer_offload=cpu)"
        else:
            bound = "the learner's arithmetic"
        return Part("update", max(computing_s, sending_s) + stepping_s, bound)

    @property
    def _learner_share(self) -> float:
        """By whether rows are packed, as `learner.attention` will choose if what it tries works."""
        layout = self.config.learner.deepspeed
        is_fast = layout.attention not in WITH_PADDING and layout.dtype == "bfloat16"
        is_packed = is_fast if layout.packing == "auto" else layout.packing
        return LEARNER_SHARE if is_packed else PADDED_SHARE

    def _host_steps_s(self) -> float:
        """Optimiser steps in host memory, with gradients in float32 there and weights back."""
        layout = self.config.learner.deepspeed
        if layout.optimizer_offload == "none":
            return 0.0
        weights = self.shape.num_trained / self.config.learner.num_ranks
        copied_s = weights * (4 + _BYTES[layout.dtype]) / (HOST_GB_PER_S * 1e9)
        return self.config.steps_per_update * (weights / HOST_WEIGHTS_PER_S + copied_s)

    def _collectives_s(self, num_tokens: int) -> float:
        """What ranks send each other while they compute: gradients for every optimiser step, or under
        ZeRO-2 and 3 for every pass; and under ZeRO-3 the weights, forth and back, for every pass."""
        learner, layout = self.config.learner, self.config.learner.deepspeed
        ranks = learner.num_ranks
        if ranks == 1:
            return 0.0
        share = (ranks - 1) / ranks
        row_tokens = num_tokens / self._num_responses
        bounds = [layout.micro_batch_tokens, layout.micro_batch_rows and layout.micro_batch_rows * row_tokens]
        pass_tokens = max(row_tokens, min(bound for bound in bounds if bound is not None))
        steps = self.config.steps_per_update
        passes = max(steps, math.ceil(num_tokens / ranks / pass_tokens))
        gradients = self.shape.num_trained * 4 * (passes if layout.zero_stage >= 2 else 2 * steps)
        weights = self.shape.num_parameters * _BYTES[layout.dtype]
        gathered = 2 * passes if layout.zero_stage == 3 else steps if layout.zero_stage else 0
        return share * (gradients + gathered * weights) / (self._link_gb_per_s(ranks) * 1e9 * LINK_SHARE)

    def _link_gb_per_s(self, num_cards: int) -> float:
        return self.learner_card.link_gb_per_s if num_cards <= RANKS_PER_NODE else BETWEEN_NODES_GB_PER_S

    def push(self) -> Part:
        """New weights, from the learner to all engines at once."""
        config = self.config
        engine = config.rollout.engine
        num_bytes = self._num_sent * _BYTES[engine.dtype]
        num_cards = config.learner.num_ranks + config.rollout.num_workers * engine.tensor_parallel_size
        rate = {
            "gloo": GLOO_GB_PER_S,
            "ipc": IPC_GB_PER_S,
            "nccl": self._link_gb_per_s(num_cards) * LINK_SHARE,
        }[engine.transfer.type]
        return Part("push", PUSH_S + num_bytes / (rate * 1e9), "the way of the weights to the engines")

    @property
    def _num_sent(self) -> float:
        """Weights of a push: those that change, and after a sleep all."""
        layout = self.config.cluster.layout
        if layout.type == "shared" and layout.sleep:
            return self.shape.num_parameters
        return self.shape.num_sent or self.shape.num_trained

    def taking_turns(self) -> Part:
        """Engines give their memory back and take it again; what the learner does not need while they generate goes to
        the host and comes back: optimiser states and gradients, and the reference, which never changes, only back."""
        learner, layout = self.config.learner, self.config.learner.deepspeed
        is_half = layout.dtype == "bfloat16"
        states = learner.optimizer.kind.state_bytes + (4 if is_half else 0)
        own = (0 if layout.optimizer_offload == "cpu" else states) + 4
        num_bytes = 2 * own * self.shape.num_trained / learner.num_ranks
        if learner.kl_coefficient and learner.lora is None:  # else the reference is the model without its adapters
            of_reference = learner.num_ranks if layout.zero_stage == 3 else 1
            num_bytes += _BYTES[layout.dtype] * self.shape.num_parameters / of_reference
        return Part("sleep and wake", WAKE_S + num_bytes / (HOST_GB_PER_S * 1e9), "copies to and from the host")


def describe_step(estimate: StepEstimate, num_steps: int) -> str:
    """Such as "a step in 41 s: generation 20 s, update 20 s, push 0.2 s; 200 steps in 2.3 h; bounded by …"."""
    parts = ", ".join(f"{part.what} {_shown(part.seconds)}" for part in estimate.parts)
    joined = ", engines and learner at once" if estimate.at_once else ""
    return (
        f"a step in {_shown(estimate.seconds)} ({parts}{joined}); {num_steps} steps in "
        f"{_shown(num_steps * estimate.seconds)}; bounded by {estimate.longest.bound}"
    )


def _shown(seconds: float) -> str:
    steps: Sequence[tuple[float, float, str]] = ((3600, 3600, "h"), (100, 60, "min"))
    for least, unit, name in steps:
        if seconds >= least:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
