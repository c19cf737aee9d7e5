"""The learner's settings. Importing this needs neither torch nor DeepSpeed."""

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

from learner.algorithms.advantages import AdvantageConfig
from learner.algorithms.advantages.grpo import GrpoAdvantage
from learner.algorithms.aggregation import AggregationConfig, TokenMean
from learner.algorithms.algorithm import Algorithm
from learner.algorithms.importance import ImportanceConfig, TokenImportance
from learner.algorithms.policy_losses import PolicyLossConfig
from learner.algorithms.policy_losses.grpo import GrpoLoss
from learner.algorithms.rejection import NoRejection, RejectionConfig
from learner.fields import Count, NotNegative, Positive
from learner.optimizers.config import ColdStartOptimizerConfig, OptimizerConfig
from spatial.strict import StrictModel
from spatial.tasks import Task
from vlm.attention import WITH_PADDING, AttentionName
from vlm.families import Part

Parts = tuple[Part, ...]

REDUCE_BUCKET = 100_000_000
"""Gradients that ranks sum up at a time; DeepSpeed holds room for twice as many, in float32. Its own default is five
times that, 4 GB on each GPU."""
LEAST_ADAPTER_RATE = 5e-6
"""Below this rate of learning adapters hardly move, which start from nothing."""


class DeepSpeedConfig(StrictModel):
    """How the model, its gradients and its optimiser are laid out over the ranks."""

    zero_stage: Annotated[int, Field(ge=0, le=3)] = 0
    """What is split over the ranks: 0 nothing, 1 optimiser states, 2 also gradients, 3 also weights."""
    micro_batch_rows: Count | None = 8
    """Most responses in one forward and backward pass of a rank; null: only `micro_batch_tokens` limits a pass."""
    micro_batch_tokens: Count | None = None
    """Most tokens per pass: of packed rows their sum, of padded ones rows × longest row. A longer row gets its own
    pass, and rows of similar length go together, whole groups if they can. This bounds memory. null: only
    `micro_batch_rows` limits a pass."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Number format of the weights during a pass; with bfloat16 the optimiser keeps float32 masters."""
    activation_checkpointing: bool = False
    """Recompute activations in the backward pass: about a third slower, far less memory."""
    attention: Literal["auto"] | AttentionName = "auto"
    """The implementation of attention. "auto": the fastest that works there, tried when the learner starts: on a GPU in
    bfloat16 flash-attn 4, else PyTorch's for rows of various lengths ("varlen"), else "sdpa"."""
    packing: Literal["auto"] | bool = "auto"
    """Whether the rows of a pass lie end to end, so that no padding is computed. "auto": where attention can compute
    them at full speed, that is with any but "sdpa" and "eager". With true, "sdpa" computes row by row."""
    optimizer_offload: Literal["none", "cpu"] = "none"
    """"cpu": float32 masters and moments stay in host memory, where each optimiser step is made: 12 bytes a weight less
    on the GPUs, in return for a slower step. Needs zero_stage >= 1."""
    passes_ahead: Annotated[int, Field(ge=0, le=4)] | None = None
    """Passes whose inputs a thread prepares (images decoded and cut into patches, rows padded) while another pass
    computes. null: 1 with GPUs; 0 on CPUs, where both would compete for the same cores."""
    image_features_mib: Annotated[int, Field(ge=0)] = 1024
    """Most memory of each rank's device, in MiB, for features of images, where neither vision nor projector is trained:
    an update then encodes each image once for all its passes. An image of a megapixel takes some 16 MiB with a 2B and
    32 with an 8B. 0: none are kept. Without effect under ZeRO 3."""
    collective_timeout_s: Positive = 1500.0
    """Seconds after which a collective that waits for another rank ends the process. While ranks start, save or push,
    `cluster.deadlines` may end the wait earlier."""

    @model_validator(mode="after")
    def _micro_batches_are_bounded(self) -> Self:
        if self.micro_batch_rows is None and self.micro_batch_tokens is None:
            raise ValueError("micro_batch_rows=null and micro_batch_tokens=null: a micro-batch needs one of the two")
        return self

    @model_validator(mode="after")
    def _attention_reads_such_rows(self) -> Self:
        if self.packing is True and self.attention == "eager":
            raise ValueError('packing=true, but attention=eager reads padded rows only; take "auto" or "sdpa"')
        if self.packing is False and self.attention not in ("auto", *WITH_PADDING):
            raise ValueError(
                f'packing=false, but attention={self.attention} reads packed rows only; take packing="auto", or '
                "attention=sdpa"
            )
        return self

    @model_validator(mode="after")
    def _half_precision_where_needed(self) -> Self:
        if self.dtype == "float32" and self.attention not in ("auto", *WITH_PADDING):
            raise ValueError(f'attention={self.attention} needs dtype=bfloat16; in float32 take "auto" or "sdpa"')
        return self

    @model_validator(mode="after")
    def _bfloat16_has_masters(self) -> Self:
        if self.dtype == "bfloat16" and self.zero_stage == 0:
            raise ValueError(
                "dtype=bfloat16 needs zero_stage >= 1: ZeRO 0 would accumulate gradients in bfloat16, "
                "where small ones are lost"
            )
        return self

    @model_validator(mode="after")
    def _offload_has_a_partition(self) -> Self:
        if self.optimizer_offload == "cpu" and self.zero_stage == 0:
            raise ValueError(
                "optimizer_offload=cpu needs zero_stage >= 1: ZeRO 0 has no float32 copies of the weights that could "
                "lie in host memory; set zero_stage=1, or optimizer_offload=none"
            )
        return self


class PointerConfig(StrictModel):
    """A loss that makes one attention head look from the last token of an object's name to the object's place in the
    image. A small model trained from scratch learns many times sooner with it which name belongs to which place."""

    weight: Positive = 0.3
    """Weight of this loss, the mean of -log(attention on the object's cells), added to the likelihood loss."""
    layer: Annotated[int, Field(ge=0)] = 1
    """Layer of the language model, counted from 0; the layer before it gathers the words of a name."""
    head: Annotated[int, Field(ge=0)] = 0
    """Which attention head of that layer, counted from 0."""


class LoraConfig(StrictModel):
    """Low-rank adapters (LoRA, arXiv 2106.09685): the model's own weights stay, and small matrices beside those of its
    linear layers are trained. Gradients, optimiser states and checkpoints are those of the adapters alone."""

    rank: Count = 32
    """Rank of a matrix's change: higher learns more, and takes more memory."""
    alpha: Positive = 32.0
    """The change is multiplied by alpha / rank."""
    parts: Annotated[Parts, Field(min_length=1)] = ("language",)
    """Parts of the model whose linear layers get adapters: language, vision, projector. All else is frozen, except
    what makes region tokens, which is trained whole unless `freeze` names it."""

    @model_validator(mode="after")
    def _parts_take_adapters(self) -> Self:
        if "region" in self.parts:
            raise ValueError(
                f"lora.parts={list(self.parts)}: what makes region tokens is small and new, and is trained whole "
                "beside adapters (unless freeze names it); remove 'region' here"
            )
        return self


class SftConfig(StrictModel):
    """The cold start: supervised fine-tuning on whole correct responses."""

    optimizer: ColdStartOptimizerConfig = ColdStartOptimizerConfig()
    """The cold start's own optimiser; reinforcement learning starts with a fresh one."""
    steps: Count = 1000
    """How many optimiser steps the cold start makes."""
    rows_per_batch: Count = 64
    """Responses in one optimiser step, over all ranks."""
    blend: dict[Task, NotNegative] | None = None
    """Relative shares of the tasks (lor, dtr, grounding_3d, grounding_2d, plain), kept exactly; a task that is not
    listed is not trained. null: every response of the data once an epoch."""
    pointer: PointerConfig | None = None
    """A second loss that teaches which name belongs to which place, from samples that list the objects in view. null:
    likelihood alone."""
    freeze: Parts = ()
    """Parts of the model that the cold start does not train."""
    checkpoint_every: Count = 500
    """Optimiser steps between checkpoints."""
    sort_window_batches: Count = 8
    """Rows are sorted by length within this many batches, which saves padding; 1: no sorting."""

    @model_validator(mode="after")
    def _blend_has_weight(self) -> Self:
        if self.blend is not None and not any(self.blend.values()):
            raise ValueError(
                "sft.blend: all weights are 0; give a task a weight, or set null for every response once an epoch"
            )
        return self


class LearnerConfig(StrictModel):
    """The policy update."""

    num_ranks: Count = 1
    """Processes of the learner; with GPUs each has one."""
    deepspeed: DeepSpeedConfig = DeepSpeedConfig()
    """How the model is laid out over the ranks, and how large one pass is."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """The optimiser of reinforcement learning; the cold start has its own (`learner.sft.optimizer`)."""
    advantage: AdvantageConfig = GrpoAdvantage()
    """How the rewards of a group become advantages."""
    credit: Literal["response", "spans"] = "response"
    """"response": every token gets the advantage of the whole reward. "spans": a token gets the advantage of the parts
    of the reward that it can still change: accuracy and format, and up to the end of the detect block the centres as
    well. All are measured on the scale of the whole reward, so that the parts keep their weights in `rewards`."""
    mask_truncated: bool = False
    """Do not train on responses that were cut off at `max_response_tokens`, because their answers are not known (as in
    DAPO, arXiv 2503.14476). Their rewards still count in the means of their groups."""
    policy_loss: PolicyLossConfig = GrpoLoss()
    """The loss of each response token, and how far from the policy that met the batch it still has a gradient."""
    aggregation: AggregationConfig = TokenMean()
    """How the losses of tokens become the loss of a mini-batch: which responses weigh how much."""
    importance: ImportanceConfig = TokenImportance()
    """Weights that correct for responses sampled with older weights, or by an engine that rounds differently."""
    rejection: RejectionConfig = NoRejection()
    """Which tokens or responses get no policy loss because the policy has moved too far from the one that sampled them.
    Independent of `importance`."""
    kl_coefficient: NotNegative = 0.01
    """Weight of the k3 estimate of KL(policy || reference) in the loss; 0 loads no reference."""
    entropy_coefficient: NotNegative = 0.0
    """Weight of a bonus on the policy's entropy in the loss; 0: none."""
    optimizer_steps_per_batch: Count = 4
    """Mini-batches that a batch of trajectories is shuffled into, one optimiser step each. A group stays whole, so a
    batch with fewer groups than this makes fewer steps."""
    max_nonfinite_steps: Annotated[int, Field(ge=0)] = 3
    """How many optimiser steps in a row may be skipped because their loss or gradient is NaN or infinite. Each is
    reported and leaves the weights unchanged; one more stops the run."""
    freeze: Parts = ()
    """Parts of the model that reinforcement learning does not train. After the first push they are not sent to the
    engines either."""
    last_language_layers: Count | None = None
    """Train only this many last layers of the language model, and the norm after them. With only a few thousand
    responses this keeps noise out of the other layers, and the backward pass is shorter. null: all layers."""
    lora: LoraConfig | None = None
    """Train adapters instead of the model's own weights, in the cold start too. Engines and exports get both merged,
    and the KL penalty's reference is the model with its adapters off, not a second one in memory. null: train the
    weights themselves."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the shuffles into mini-batches, of the order of the cold start's responses, and of new adapters."""
    sft: SftConfig = SftConfig()
    """The cold start: supervised fine-tuning before reinforcement learning."""

    @property
    def algorithms(self) -> tuple[Algorithm, ...]:
        """The alternatives that were chosen, in the order in which they are applied."""
        return (self.advantage, self.policy_loss, self.importance, self.rejection, self.aggregation)

    @model_validator(mode="after")
    def _algorithms_go_together(self) -> Self:
        for algorithm in self.algorithms:
            algorithm.check(self)
        return self

    @model_validator(mode="after")
    def _optimizers_fit_the_layout(self) -> Self:
        for name, optimizer in (("optimizer", self.optimizer), ("sft.optimizer", self.sft.optimizer)):
            layout = self.deepspeed
            optimizer.check_layout(name, layout.zero_stage, layout.dtype, layout.optimizer_offload)
        return self

    @model_validator(mode="after")
    def _pointer_sees_the_layer(self) -> Self:
        if self.sft.pointer and (self.deepspeed.zero_stage == 3 or self.deepspeed.activation_checkpointing):
            raise ValueError(
                "sft.pointer calls a layer's projections a second time, which neither ZeRO 3 nor "
                "activation_checkpointing allows; use deepspeed.zero_stage <= 2 without activation_checkpointing"
            )
        return self

    @model_validator(mode="after")
    def _something_is_trained(self) -> Self:
        for name, parts in (("freeze", self.freeze), ("sft.freeze", self.sft.freeze)):
            if set(parts) == set(get_args(Part)):
                raise ValueError(f"{name}={list(parts)} leaves nothing to train")
        if self.last_language_layers is not None and "language" in self.freeze:
            raise ValueError(
                f"last_language_layers={self.last_language_layers}, but freeze has 'language': remove one of the two"
            )
        return self

    @model_validator(mode="after")
    def _adapters_have_something_to_adapt(self) -> Self:
        if self.lora is None:
            return self
        for name, frozen in (("freeze", self.freeze), ("sft.freeze", self.sft.freeze)):
            if both := [part for part in self.lora.parts if part in frozen]:
                rest = [part for part in self.lora.parts if part not in frozen]
                ways = [f"set lora.parts={rest}"] if rest else []
                ways.append(f"set {name}={[part for part in frozen if part not in both]}")
                raise ValueError(
                    f"lora.parts={list(self.lora.parts)}, but {name}={list(frozen)}: a frozen part gets no adapters; "
                    f"{' or '.join(ways)}"
                )
        if self.last_language_layers is not None and "language" not in self.lora.parts:
            raise ValueError(
                f"last_language_layers={self.last_language_layers}, but lora.parts={list(self.lora.parts)} adapts no "
                "language layer: set last_language_layers=null, or add 'language' to lora.parts"
            )
        for name, optimizer, rate in (
            ("optimizer", self.optimizer, "2e-5"),
            ("sft.optimizer", self.sft.optimizer, "1e-4"),
        ):
            if optimizer.learning_rate < LEAST_ADAPTER_RATE:
                raise ValueError(
                    f"lora needs {name}.learning_rate={LEAST_ADAPTER_RATE:g} or more: adapters hardly move at "
                    f"{optimizer.learning_rate:g}, a rate for whole weights; try {rate}"
                )
        return self

    def first_language_layer(self, num_layers: int) -> int:
        """The first layer of the language model that is trained, of `num_layers`, counted from 0.

        Raises:
            ValueError: it has fewer than `last_language_layers`.
        """
        last = self.last_language_layers or num_layers
        if last > num_layers:
            raise ValueError(
                f"learner.last_language_layers={last}, but the language model has {num_layers} layers; set "
                f"learner.last_language_layers={num_layers} at most, or null for all"
            )
        return num_layers - last

    @property
    def keeps_image_features(self) -> bool:
        """Whether an update keeps features of images, because no weight that makes them is trained. Under ZeRO-3 a call
        of the vision tower is a collective, which every rank must make equally often whatever it remembers."""
        makers = {"vision", "projector"}
        is_frozen = makers <= set(self.freeze) if self.lora is None else makers.isdisjoint(self.lora.parts)
        return is_frozen and self.deepspeed.zero_stage < 3 and self.deepspeed.image_features_mib > 0

    def for_cold_start(self) -> Self:
        """The same learner with the cold start's optimiser and frozen parts, and without a reference."""
        return self.replace(
            optimizer=self.sft.optimizer, kl_coefficient=0.0, freeze=self.sft.freeze, last_language_layers=None
        )
