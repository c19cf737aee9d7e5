"""Which weights of the model are trained."""

from typing import Any

from learner.config import LearnerConfig, Part


def part_of(name: str) -> Part:
    """The part of the VLM that a weight belongs to, by its name."""
    if name.startswith("model.region_encoder."):
        return "region"
    if not name.startswith("model.visual."):
        return "language"
    return "projector" if "merger" in name else "vision"


def freeze(vlm: Any, config: LearnerConfig) -> None:
    """Leave as they are all weights that `config` does not train."""
    num_layers = vlm.config.text_config.num_hidden_layers
    first = num_layers - (config.last_language_layers or num_layers)
    last = [f"model.language_model.layers.{index}." for index in range(first, num_layers)]
    for name, parameter in vlm.named_parameters():
        part = part_of(name)
        is_last = first == 0 or name.startswith((*last, "model.language_model.norm."))
        parameter.requires_grad_(part not in config.freeze and (part != "language" or is_last))
