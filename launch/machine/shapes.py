"""The sizes of a model that the arithmetic of memory asks for, from its config.json alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.settings.model_paths import find_shape
from learner.config import LearnerConfig


@dataclass(frozen=True)
class VisionShape:
    """A vision tower."""

    num_layers: int
    hidden_size: int
    intermediate_size: int
    patches_per_token: int
    """Patches that are merged into one token of the language model."""
    token_pixels: int
    """Pixels of the image that become one token."""
    patch_values: int
    """Numbers in one patch of the input."""
    is_gated: bool
    """Whether its layers are built as a language model's, with a gated MLP and RMSNorm; else GELU and LayerNorm."""
    is_trained: bool
    """Whether gradients flow through it, so that its activations are kept."""


@dataclass(frozen=True)
class ModelShape:
    """A VLM; widths are those of its language model."""

    num_parameters: int
    """Of the model itself, without adapters."""
    num_trained: int
    """Numbers that are trained: weights, or adapters."""
    num_layers: int
    hidden_size: int
    intermediate_size: int
    query_size: int
    """Width of the queries: number of heads × width of a head, which need not be `hidden_size`."""
    kv_size: int
    """Width of the keys, or of the values."""
    has_head_norms: bool
    """Whether queries and keys are normalised, as Qwen3 does."""
    vocab_size: int
    num_sent: int = 0
    """Weights that change, and are sent to the engines. With adapters these are the whole matrices that they belong
    to, many times `num_trained`."""
    largest_adapted: int = 0
    """Numbers in the largest matrix that has an adapter; 0: none has."""
    vision: VisionShape | None = None
    """None: its share is not counted."""

    @classmethod
    def of_model(cls, folder: Path | str, learner: LearnerConfig) -> "ModelShape":
        """From a model folder's config.json alone; see `empty_model`."""
        return cls.of_empty(empty_model(folder, learner))

    @classmethod
    def of_empty(cls, model: Any) -> "ModelShape":
        """Of a model whose weights may have no memory, and whose frozen parts are frozen."""
        from learner.whole_weights import outgoing_weights

        text = model.config.text_config
        head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        weights = outgoing_weights(model, with_tied=False)
        return cls(
            num_parameters=sum(weight.parameter.numel() for weight in weights),
            num_trained=sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
            num_layers=text.num_hidden_layers,
            hidden_size=text.hidden_size,
            intermediate_size=text.intermediate_size,
            query_size=text.num_attention_heads * head_dim,
            kv_size=text.num_key_value_heads * head_dim,
            has_head_norms=any(name.endswith("q_norm.weight") for name, _ in model.named_parameters()),
            vocab_size=text.vocab_size,
            num_sent=sum(weight.parameter.numel() for weight in weights if weight.is_trained),
            largest_adapted=max((weight.parameter.numel() for weight in weights if weight.adapter), default=0),
            vision=_vision(model, model.config.vision_config),
        )


def empty_model(folder: Path | str, learner: LearnerConfig) -> Any:
    """The model that a folder's config.json describes, without memory for its weights, and with the parts frozen that
    the learner does not train.

    Raises:
        ConfigError: there is no such model, here or in the hub's cache; the network is not asked.
    """
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    from learner.freezing import freeze
    from vlm import model_folders  # noqa: F401 - makes models with region tokens known to transformers

    config: Any = AutoConfig.from_pretrained(find_shape(str(folder)))
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
        freeze(model, learner)
    return model


def _vision(model: Any, config: Any) -> VisionShape:
    from vlm.families import family_of

    family = family_of(model.config.model_type)
    own = [(name, weight) for name, weight in model.named_parameters() if family.part_of(name) == "vision"]
    return VisionShape(
        num_layers=config.depth,
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        patches_per_token=config.spatial_merge_size**2,
        token_pixels=(config.patch_size * config.spatial_merge_size) ** 2,
        patch_values=config.in_channels * config.temporal_patch_size * config.patch_size**2,
        is_gated=any("gate_proj" in name for name, _ in own),
        is_trained=any(weight.requires_grad for _, weight in own),
    )
