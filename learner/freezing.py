"""Which weights of the model are trained."""

from typing import Any

from learner.config import LearnerConfig
from vlm.families import family_of


def freeze(vlm: Any, config: LearnerConfig) -> None:
    """Switch off the gradients of all weights that `config` does not train; with `config.lora`, add the adapters that
    are trained instead."""
    if config.lora is not None:
        from learner.lora import add_adapters  # brings peft

        add_adapters(vlm, config)
        return
    family = family_of(vlm.config.model_type)
    first = config.first_language_layer(vlm.config.text_config.num_hidden_layers)
    for name, parameter in vlm.named_parameters():
        parameter.requires_grad_(family.is_trained(name, config.freeze, first))
