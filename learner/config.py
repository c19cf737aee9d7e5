"""What the learner can be told. Importing this needs neither torch nor DeepSpeed."""

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

from spatial.strict import StrictModel
from spatial.tasks import Task

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


Part = Literal["vision", "projector", "region", "language"]
"""Of a VLM: the vision tower; what carries its features over (merger, DeepStack mergers); what makes region tokens; all
the rest, embeddings and head included."""
Parts = tuple[Part, ...]


class OptimizerConfig(StrictModel):
    """The optimiser and its learning rate over time."""

    type: Literal["adamw", "adafactor", "muon"] = "adamw"
    """"muon": Muon for matrices and AdamW for the rest; learns a small model from scratch in far fewer steps.
    "adafactor" (arXiv 1804.04235): each tensor moves in proportion to its own size, so that gains near 1 and matrix
    entries near 0.05 learn at the same relative rate; no momentum."""
    learning_rate: Positive = 1e-6
    """Peak, per optimiser step; with "adafactor" a share of the tensor's root mean square."""
    weight_decay: NotNegative = 0.01
    """Decoupled; applied to every trained weight."""
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    """Decay of the running first and second moments of the gradient; "adafactor" has its own."""
    epsilon: Positive = 1e-8
    """Added to the root of the second moment; "adafactor" has its own."""
    max_grad_norm: Positive = 1.0
    """A gradient with a larger 2-norm is scaled down to it."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Optimiser steps over which the rate rises linearly from 0 to its peak."""
    schedule: Literal["constant", "cosine"] = "constant"
    """After the warm-up: the peak, or half a cosine down to `final_fraction` of it at the last planned step."""
    final_fraction: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Where the cosine ends, as a share of the peak rate."""

    @model_validator(mode="after")
    def _has_a_rate_of_its_own(self) -> Self:
        if self.type != "adamw" and "learning_rate" not in self.model_fields_set:
            raise ValueError(
                f"type={self.type} needs a learning_rate: AdamW's means something else to it; try 4e-3 for muon, 8e-3 "
                "for adafactor (a share of each tensor's size)"
            )
        return self


class ColdStartOptimizerConfig(OptimizerConfig):
    """The cold start's optimiser: the same settings with defaults of their own."""

    learning_rate: Positive = 1e-5
    """Peak, per optimiser step; with "adafactor" a share of the tensor's root mean square."""
    warmup_steps: Annotated[int, Field(ge=0)] = 20
    """Optimiser steps over which the rate rises linearly from 0 to its peak."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """After the warm-up: the peak, or half a cosine down to `final_fraction` of it at the last planned step."""


class DeepSpeedConfig(StrictModel):
    """How the model, its gradients and its optimiser are laid out over the ranks."""

    zero_stage: Annotated[int, Field(ge=0, le=3)] = 0
    """What is split over ranks: 0 nothing, 1 optimiser state, 2 and gradients, 3 and weights."""
    micro_batch_rows: Count | None = 8
    """Most responses in one forward and backward pass of a rank; null: only `micro_batch_tokens` limits a pass."""
    micro_batch_tokens: Count | None = None
    """Most tokens per pass, padding included (rows × longest row). A longer row gets its own pass, and rows of similar
    length go together. This bounds memory. null: only `micro_batch_rows` limits a pass."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Number format of the weights during a pass; with bfloat16 the optimiser keeps float32 masters."""
    activation_checkpointing: bool = False
    """Recompute activations in the backward pass: about a third slower, far less memory."""
    attention: Literal["auto", "sdpa", "flash_attention_2", "eager"] = "auto"
    """"auto": flash-attn where a GPU, bfloat16 and the package are there, else PyTorch's own."""
    collective_timeout_s: Positive = 1500.0
    """A collective that waits longer than this for another rank ends the process."""

    @model_validator(mode="after")
    def _micro_batches_are_bounded(self) -> Self:
        if self.micro_batch_rows is None and self.micro_batch_tokens is None:
            raise ValueError("micro_batch_rows=null and micro_batch_tokens=null: a micro-batch needs one of the two")
        return self

    @model_validator(mode="after")
    def _bfloat16_has_masters(self) -> Self:
        if self.dtype == "bfloat16" and self.zero_stage == 0:
            raise ValueError(
                "dtype=bfloat16 needs zero_stage >= 1: ZeRO 0 would accumulate gradients in bfloat16, "
                "where small ones are lost"
            )
        return self


class GrpoAdvantage(StrictModel):
    """(r - mean) / (std + 1e-6) over the group, arXiv 2402.03300."""

    type: Literal["grpo"] = "grpo"


class DrGrpoAdvantage(StrictModel):
    """r - mean over the group, arXiv 2503.20783: easy and hard questions are not given extra weight."""

    type: Literal["dr_grpo"] = "dr_grpo"


AdvantageConfig = Annotated[GrpoAdvantage | DrGrpoAdvantage, Field(discriminator="type")]


class GrpoLoss(StrictModel):
    """PPO's clipped objective with one ratio a token, arXiv 2402.03300; clip-higher as in arXiv 2503.14476."""

    type: Literal["grpo"] = "grpo"
    clip_low: Fraction = 0.2
    """The ratio is clipped below 1 - this."""
    clip_high: NotNegative = 0.3
    """The ratio is clipped above 1 + this."""
    dual_clip: Annotated[float, Field(gt=1)] | None = 3.0
    """With a negative advantage the loss is at most this times its size (arXiv 1912.09729); null: no bound."""


class GspoLoss(StrictModel):
    """One ratio a response, the exponential of its mean log-ratio, arXiv 2507.18071. Its clip range is far narrower,
    and every response weighs the same: it needs `aggregation: {type: sequence_mean}`."""

    type: Literal["gspo"] = "gspo"
    clip_low: Fraction = 3e-4
    """The response's ratio is clipped below 1 - this."""
    clip_high: NotNegative = 4e-4
    """The response's ratio is clipped above 1 + this."""
    dual_clip: Annotated[float, Field(gt=1)] | None = None
    """As in "grpo"; the paper has no such bound."""


PolicyLossConfig = Annotated[GrpoLoss | GspoLoss, Field(discriminator="type")]


class TokenMean(StrictModel):
    """Every response token of a mini-batch weighs the same."""

    type: Literal["token_mean"] = "token_mean"


class SequenceMean(StrictModel):
    """Every response of a mini-batch weighs the same, its tokens sharing that weight."""

    type: Literal["sequence_mean"] = "sequence_mean"


class ConstantLength(StrictModel):
    """Dr.GRPO: a response's tokens are summed and divided by a constant, so that length earns nothing."""

    type: Literal["dr_grpo"] = "dr_grpo"
    normalizer_tokens: Count
    """The constant, usually the longest response allowed."""


AggregationConfig = Annotated[TokenMean | SequenceMean | ConstantLength, Field(discriminator="type")]


class NoImportance(StrictModel):
    """Rollout and proximal policy are taken to be the same."""

    type: Literal["none"] = "none"


class TokenImportance(StrictModel):
    """Each token weighs min(proximal / rollout probability, cap)."""

    type: Literal["token"] = "token"
    cap: Positive = 2.0
    """Largest weight."""


class SequenceImportance(StrictModel):
    """All tokens of a response weigh min(proximal / rollout probability of the whole response, cap)."""

    type: Literal["sequence"] = "sequence"
    cap: Positive = 2.0
    """Largest weight."""


ImportanceConfig = Annotated[NoImportance | TokenImportance | SequenceImportance, Field(discriminator="type")]


class NoRejection(StrictModel):
    """Every response token is trained on."""

    type: Literal["none"] = "none"


class TokenRejection(StrictModel):
    """A token whose ratio proximal / rollout probability lies outside [low, high] has no policy loss, as in IcePop,
    arXiv 2510.18855."""

    type: Literal["token"] = "token"
    low: Fraction = 0.5
    """Smallest ratio that is trained on."""
    high: Annotated[float, Field(gt=1)] = 5.0
    """Largest ratio that is trained on; up to here, what is beyond `importance.cap` is truncated."""


class SequenceRejection(StrictModel):
    """A response has no policy loss where its geometric mean of the tokens' ratios lies outside [low, high] (verl calls
    it "geometric"). A mean over many tokens strays far less than one of them, so the range is far narrower."""

    type: Literal["sequence"] = "sequence"
    low: Fraction = 0.99
    """Smallest mean ratio that is trained on."""
    high: Annotated[float, Field(gt=1)] = 1.01
    """Largest mean ratio that is trained on."""


RejectionConfig = Annotated[NoRejection | TokenRejection | SequenceRejection, Field(discriminator="type")]


class PointerConfig(StrictModel):
    """A loss that makes one attention head look from the last token of an object's name to the object's place in the
    image. From scratch a small model ties names to places many times sooner with it."""

    weight: Positive = 0.3
    """Weight of this loss, the mean of -log(attention on the object's cells), added to the likelihood loss."""
    layer: Annotated[int, Field(ge=0)] = 1
    """Layer of the language model, counted from 0; the layer before it gathers the words of a name."""
    head: Annotated[int, Field(ge=0)] = 0
    """Which attention head of that layer, counted from 0."""


class SftConfig(StrictModel):
    """The cold start: supervised fine-tuning on whole true responses."""

    optimizer: ColdStartOptimizerConfig = ColdStartOptimizerConfig()
    """The cold start's own optimiser; reinforcement learning starts with a fresh one."""
    steps: Count = 1000
    """Optimiser steps."""
    rows_per_batch: Count = 64
    """Responses in one optimiser step, over all ranks."""
    blend: dict[Task, NotNegative] | None = None
    """Relative shares of the tasks (lor, dtr, grounding_3d, grounding_2d, plain), kept exactly; a task left out is not
    trained. null: all responses as they come."""
    pointer: PointerConfig | None = None
    """Ties names to places, in samples that tell which objects are in view; null: likelihood alone."""
    freeze: Parts = ()
    """Parts that the cold start leaves as they are."""
    checkpoint_every: Count = 500
    """Optimiser steps between checkpoints."""
    sort_window_batches: Count = 8
    """Rows are sorted by length within this many batches, which saves padding; 1 keeps the shuffled order."""

    @model_validator(mode="after")
    def _blend_has_weight(self) -> Self:
        if self.blend is not None and not any(self.blend.values()):
            raise ValueError("sft.blend: all weights are 0; give one task a weight, or null for all as they come")
        return self


class LearnerConfig(StrictModel):
    """The policy update."""

    num_ranks: Count = 1
    """Processes of the learner, one GPU each where there are GPUs."""
    deepspeed: DeepSpeedConfig = DeepSpeedConfig()
    """How the model is laid out over the ranks, and how large one pass is."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """The optimiser of reinforcement learning; the cold start has its own (`learner.sft.optimizer`)."""
    advantage: AdvantageConfig = GrpoAdvantage()
    """How the rewards of a group become advantages."""
    credit: Literal["response", "spans"] = "response"
    """"response": every token gets the advantage of the whole reward. "spans": a token gets the advantages of what it
    can still change: of accuracy and format, and, up to the end of the detect block, that of the centres as well. Both
    are divided by the standard deviation of the whole reward, so that the parts keep their weights in `rewards`."""
    mask_truncated: bool = False
    """Leave out of the loss the responses that were cut at `max_response_tokens` (as in DAPO, arXiv 2503.14476): what
    they would have answered is not known. Their rewards still count in the means of their groups."""
    policy_loss: PolicyLossConfig = GrpoLoss()
    """The clipped policy objective: one ratio a token ("grpo") or one a response ("gspo")."""
    aggregation: AggregationConfig = TokenMean()
    """How the losses of tokens become the loss of a mini-batch."""
    importance: ImportanceConfig = TokenImportance()
    """Correction for responses sampled from older weights, or by an engine that rounds otherwise."""
    rejection: RejectionConfig = NoRejection()
    """Which responses or tokens are too far from the policy that sampled them and get no policy loss. Independent of
    `importance`."""
    kl_coefficient: NotNegative = 0.01
    """Weight of the k3 estimate of KL(policy || reference) in the loss; 0 loads no reference."""
    entropy_coefficient: NotNegative = 0.0
    """Weight of the bonus on the policy's entropy."""
    optimizer_steps_per_batch: Count = 4
    """Mini-batches that a batch of trajectories is shuffled into; fewer where it has fewer responses."""
    max_nonfinite_steps: Annotated[int, Field(ge=0)] = 3
    """Optimiser steps in a row that may be left out because their loss or gradient is not finite (NaN or infinite).
    Each is reported, and the weights stay as they were; one more stops the run."""
    freeze: Parts = ()
    """Parts that reinforcement learning leaves as they are: neither updated nor sent to the engines after the first
    push."""
    last_language_layers: Count | None = None
    """Train only this many last layers of the language model, and the norm after them. With a few thousand responses
    this avoids moving weights by chance, and the backward pass ends early. null: all layers."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the shuffles into mini-batches and of the cold start's order."""
    sft: SftConfig = SftConfig()
    """The cold start: supervised fine-tuning before reinforcement learning."""

    @model_validator(mode="after")
    def _has_whole_matrices(self) -> Self:
        for name, optimizer in (("optimizer", self.optimizer), ("sft.optimizer", self.sft.optimizer)):
            if optimizer.type != "adamw" and (self.deepspeed.zero_stage > 0 or self.deepspeed.dtype != "float32"):
                raise ValueError(
                    f"{name}.type={optimizer.type} needs deepspeed.zero_stage=0 and dtype=float32: it works on "
                    f"whole matrices, not on the flat pieces of ZeRO {self.deepspeed.zero_stage}"
                )
        return self

    @model_validator(mode="after")
    def _gspo_weighs_responses(self) -> Self:
        if self.policy_loss.type == "gspo" and self.aggregation.type == "token_mean":
            raise ValueError(
                "policy_loss.type=gspo, but aggregation.type=token_mean: GSPO has one ratio a response, and a token "
                "mean would give long responses more weight; set aggregation.type=sequence_mean"
            )
        return self

    @model_validator(mode="after")
    def _pointer_sees_the_layer(self) -> Self:
        if self.sft.pointer and (self.deepspeed.zero_stage == 3 or self.deepspeed.activation_checkpointing):
            raise ValueError(
                "sft.pointer goes through a layer's projections once more, which neither ZeRO 3 nor "
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

    def for_cold_start(self) -> Self:
        """The same learner with the cold start's optimiser and frozen parts, and without a reference."""
        return self.replace(
            optimizer=self.sft.optimizer, kl_coefficient=0.0, freeze=self.sft.freeze, last_language_layers=None
        )
