"""The loss of each response token that the policy is trained with."""

from typing import Annotated

from pydantic import Field

from learner.algorithms.policy_losses.grpo import GrpoLoss
from learner.algorithms.policy_losses.gspo import GspoLoss

PolicyLossConfig = Annotated[GrpoLoss | GspoLoss, Field(discriminator="type")]
