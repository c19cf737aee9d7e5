"""Which weights of the model are trained."""

from typing import Any

from learner.config import LearnerConfig
from vlm.families import family_of


def freeze(vlm: Any, config: LearnerConfig) -> None:
    """Switch off the gradients of all weights that `config` does not train."""
    family = family_of(vlm.config.model_type)
    num_layers = vlm.config.text_config.num_hidden_layers
    first = num_layers - (config.last_language_layers or num_layers)
    for name, parameter in vlm.named_parameters():
        parameter.requires_grad_(family.is_trained(name, config.freeze, first))
