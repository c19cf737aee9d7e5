"""The settings of the optimiser and of its learning rate."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from learner.fields import Fraction, NotNegative, Positive
from learner.optimizers.adafactor import ADAFACTOR
from learner.optimizers.adamw import ADAMW
from learner.optimizers.kind import OptimizerKind
from learner.optimizers.muon import MUON
from spatial.strict import StrictModel


class OptimizerConfig(StrictModel):
    """The optimiser and its learning rate over time. One section for all types, so that a change of `type` alone is a
    whole change; a setting that a type does not use is ignored."""

    type: Literal["adamw", "adafactor", "muon"] = "adamw"
    """"muon": Muon for matrices and AdamW for the rest; trains a small model from scratch in far fewer steps.
    "adafactor" (arXiv 1804.04235): each tensor moves in proportion to its own size, so that gains near 1 and matrix
    entries near 0.05 learn at the same relative rate; no momentum."""
    learning_rate: Positive = 1e-6
    """Peak, per optimiser step; with "adafactor" a share of the tensor's root mean square."""
    weight_decay: NotNegative = 0.01
    """Decoupled; applied to every trained weight."""
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    """Decay of the running first and second moments of the gradient; not used by "adafactor"."""
    epsilon: Positive = 1e-8
    """Added to the root of the second moment; not used by "adafactor"."""
    max_grad_norm: Positive = 1.0
    """A gradient with a larger 2-norm is scaled down to this norm."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Optimiser steps over which the rate rises linearly from 0 to its peak."""
    schedule: Literal["constant", "cosine"] = "constant"
    """After the warm-up: the peak, or half a cosine down to `final_fraction` of it at the last planned step."""
    final_fraction: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Where the cosine ends, as a share of the peak rate."""

    @property
    def kind(self) -> OptimizerKind:
        """The optimiser that `type` stands for."""
        match self.type:
            case "adamw":
                return ADAMW
            case "adafactor":
                return ADAFACTOR
            case "muon":
                return MUON

    @model_validator(mode="after")
    def _learning_rate_fits_the_type(self) -> Self:
        rate = self.kind.typical_rate
        if rate is not None and "learning_rate" not in self.model_fields_set:
            raise ValueError(f"type={self.type} needs a learning_rate: AdamW's means something else to it; try {rate}")
        return self

    def check_layout(self, name: str, zero_stage: int, dtype: str, offload: str) -> None:
        """
        Args:
            name: of this section, for the message.
            zero_stage, dtype, offload: how the model is laid out (`learner.deepspeed`).

        Raises:
            ValueError: the optimiser cannot work on a model laid out so.
        """
        if not self.kind.needs_whole_matrices:
            return
        wanted = {"zero_stage": (zero_stage, 0), "dtype": (dtype, "float32"), "optimizer_offload": (offload, "none")}
        wrong = [(setting, given, value) for setting, (given, value) in wanted.items() if given != value]
        if wrong:
            raise ValueError(
                f"{name}.type={self.type} works on whole matrices in the device's memory, not on the flat pieces that "
                f"{', '.join(f'deepspeed.{setting}={given}' for setting, given, _ in wrong)} makes of them: set "
                f"{' '.join(f'learner.deepspeed.{setting}={value}' for setting, _, value in wrong)}, or take another "
                f"optimiser (learner.{name}.type=adamw with a learning_rate of its own)"
            )


class ColdStartOptimizerConfig(OptimizerConfig):
    """The cold start's optimiser: the same settings with other defaults."""

    learning_rate: Positive = 1e-5
    """Peak, per optimiser step; with "adafactor" a share of the tensor's root mean square."""
    warmup_steps: Annotated[int, Field(ge=0)] = 20
    """Optimiser steps over which the rate rises linearly from 0 to its peak."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """After the warm-up: the peak, or half a cosine down to `final_fraction` of it at the last planned step."""
