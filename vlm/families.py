"""The model families. A `Family` holds everything that learner, engine and tools need to know about one.

A new family is three files:

- `vlm/hub/TYPE.py`: its configuration, processor and model with region tokens, for transformers. This file is copied
  beside exported models.
- `rollout/families/TYPE.py`: its model with region tokens, for vLLM.
- this file: an entry in `FAMILIES`.

TYPE is the `model_type` in the family's config.json. Importing this needs neither torch nor transformers.

Left out on purpose: how an image is cut into tokens, and where these are. All families here have a Qwen-VL image
processor (patches, merged into cells of a grid) and M-RoPE, and `vlm.prompt`, `vlm.hub.region_inputs` and
`vlm.positions` rely on it.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

from vlm.config import TinyModelConfig
from vlm.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

    from vlm.image_features import ImageFeatures
    from vlm.policy import PolicyBatch

Part = Literal["vision", "projector", "region", "language"]
"""A part of the model that can be trained or frozen by itself: the vision tower; what carries its features over (the
mergers); what makes region tokens; all the rest, embeddings and head included."""

Settings = dict[str, Any]


@dataclass(frozen=True)
class FamilyClasses:
    """A family's classes: as transformers has them, and with region tokens."""

    plain_config: Any
    plain_processor: Any
    plain_model: Any
    config: Any
    processor: Any
    model: Any


@dataclass(frozen=True)
class Family:
    """Everything that differs between model families. The defaults are those of Qwen-VL models."""

    title: str
    """Its usual name, such as "Qwen3-VL"."""
    model_type: str
    """The `model_type` in its config.json, and the name of its modules in `vlm/hub` and `rollout/families`."""
    architecture: str
    """Its class in the `architectures` of its config.json; with "Region" before it, the class with region tokens."""
    classes: Callable[[], FamilyClasses]
    """Its classes; a function, so that transformers is imported only when they are needed."""
    tiny_text: Callable[[TinyModelConfig], Settings]
    """Settings of a tiny model's language model that other families do not have; see `vlm.tiny.model_config`."""
    tiny_vision: Callable[[TinyModelConfig], Settings]
    """The same for the vision tower."""
    encode_images: "Callable[[Any, Tensor, Tensor], list[ImageFeatures]]"
    """(model, pixel values, grids) → what the vision tower and the projector make of each image."""
    visual_inputs: "Callable[[PolicyBatch, list[ImageFeatures]], Settings]"
    """(batch, features of its images) → the inner model's arguments for images."""
    patch_embedding: Callable[[Any], Any]
    """(model) → the convolution that embeds patches; its stride must equal its kernel."""
    queries_and_keys: "Callable[[Any, Tensor, Any], tuple[Tensor, Tensor]] | None" = None
    """(attention layer, its hidden states, its position embeddings) → queries and keys, both [batch, heads, tokens,
    head width], rotated. The pointer loss needs it; None: that loss is refused."""
    parts: tuple[tuple[str, Part], ...] = (
        ("model.region_encoder.", "region"),
        ("model.visual.merger.", "projector"),
        ("model.visual.deepstack_merger_list.", "projector"),
        ("model.visual.", "vision"),
    )
    """Prefixes of weights' names, each with its part. The first that matches counts; all other weights are the language
    model's."""
    layers: str = "model.language_model.layers."
    """In the name of a layer's weight: the prefix before the layer's number."""
    final_norm: str = "model.language_model.norm."
    """The prefix of the norm after the last layer."""

    @property
    def region_architecture(self) -> str:
        """The name of the class with region tokens: in `architectures`, in `vlm/hub` and in `rollout/families`."""
        return f"Region{self.architecture}"

    def part_of(self, name: str) -> Part:
        """The part that a weight belongs to, by its name."""
        return next((part for prefix, part in self.parts if name.startswith(prefix)), "language")

    def layer_of(self, name: str) -> int | None:
        """The language model's layer that a weight belongs to; None if it belongs to no layer."""
        if not name.startswith(self.layers):
            return None
        return int(name.removeprefix(self.layers).split(".")[0])

    def is_trained(self, name: str, freeze: Collection[Part], first_layer: int) -> bool:
        """Whether a weight is trained.

        Args:
            freeze: the parts that are not trained.
            first_layer: the language model's first layer that is trained; 0: all of it, embeddings and head included.
        """
        part = self.part_of(name)
        if part in freeze or part != "language" or first_layer == 0:
            return part not in freeze
        layer = self.layer_of(name)
        return name.startswith(self.final_norm) if layer is None else layer >= first_layer


def _qwen_encode_images(vlm: Any, pixel_values: "Tensor", image_grid_thw: "Tensor") -> "list[ImageFeatures]":
    from vlm.image_features import ImageFeatures

    output = vlm.model.get_image_features(pixel_values.to(vlm.dtype), image_grid_thw, return_dict=True)
    layers = getattr(output, "deepstack_features", None) or ()
    return [
        ImageFeatures(merged, tuple(layer[image] for layer in layers))
        for image, merged in enumerate(output.pooler_output)
    ]


def _qwen_visual_inputs(batch: "PolicyBatch", features: "list[ImageFeatures]") -> Settings:
    """The features of each shown image."""
    shown = [features[image] for image in batch.shown_images.tolist()]
    encoded = SimpleNamespace(
        pooler_output=[image.merged for image in shown],
        deepstack_features=[list(layer) for layer in zip(*(image.deepstack for image in shown), strict=True)],
    )
    return {"mm_encoder_outputs": {"image": encoded}}


def _qwen_patch_embedding(vlm: Any) -> Any:
    return vlm.model.visual.patch_embed.proj


def _mrope_sections(config: TinyModelConfig) -> list[int]:
    """The dimensions of half a head, divided among time, height and width."""
    half = config.text_width // config.num_heads // 2
    return [half - 2 * (half // 3), half // 3, half // 3]


def _qwen3_vl_classes() -> FamilyClasses:
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration, Qwen3VLProcessor

    from vlm.hub import qwen3_vl as regions

    return FamilyClasses(
        plain_config=Qwen3VLConfig,
        plain_processor=Qwen3VLProcessor,
        plain_model=Qwen3VLForConditionalGeneration,
        config=regions.RegionQwen3VLConfig,
        processor=regions.RegionQwen3VLProcessor,
        model=regions.RegionQwen3VLForConditionalGeneration,
    )


def _qwen3_vl_tiny_text(config: TinyModelConfig) -> Settings:
    rope = {"mrope_interleaved": True, "mrope_section": _mrope_sections(config)}
    return {
        "num_key_value_heads": config.num_heads,
        "head_dim": config.text_width // config.num_heads,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, **rope},
    }


def _qwen3_vl_tiny_vision(config: TinyModelConfig) -> Settings:
    side = config.image_size_px // config.patch_size_px
    return {"num_position_embeddings": side**2, "deepstack_visual_indexes": [0]}


def _qwen3_queries_and_keys(attention: Any, hidden: "Tensor", positions: Any) -> "tuple[Tensor, Tensor]":
    from transformers.models.qwen3_vl.modeling_qwen3_vl import apply_rotary_pos_emb

    heads = (*hidden.shape[:-1], -1, attention.head_dim)
    queries = attention.q_norm(attention.q_proj(hidden).view(heads)).transpose(1, 2)
    keys = attention.k_norm(attention.k_proj(hidden).view(heads)).transpose(1, 2)
    return apply_rotary_pos_emb(queries, keys, *positions)


QWEN3_VL = Family(
    title="Qwen3-VL",
    model_type="qwen3_vl",
    architecture="Qwen3VLForConditionalGeneration",
    classes=_qwen3_vl_classes,
    tiny_text=_qwen3_vl_tiny_text,
    tiny_vision=_qwen3_vl_tiny_vision,
    encode_images=_qwen_encode_images,
    visual_inputs=_qwen_visual_inputs,
    patch_embedding=_qwen_patch_embedding,
    queries_and_keys=_qwen3_queries_and_keys,
)


def _qwen2_5_vl_classes() -> FamilyClasses:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor

    from vlm.hub import qwen2_5_vl as regions

    return FamilyClasses(
        plain_config=Qwen2_5_VLConfig,
        plain_processor=Qwen2_5_VLProcessor,
        plain_model=Qwen2_5_VLForConditionalGeneration,
        config=regions.RegionQwen2_5_VLConfig,
        processor=regions.RegionQwen2_5_VLProcessor,
        model=regions.RegionQwen2_5_VLForConditionalGeneration,
    )


def _qwen2_5_vl_tiny_text(config: TinyModelConfig) -> Settings:
    return {
        "num_key_value_heads": max(1, config.num_heads // 2),
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": _mrope_sections(config)},
    }


def _qwen2_5_vl_tiny_vision(config: TinyModelConfig) -> Settings:
    return {"window_size": 4 * config.patch_size_px, "fullatt_block_indexes": [config.vision_layers - 1]}


QWEN2_5_VL = Family(
    title="Qwen2.5-VL",
    model_type="qwen2_5_vl",
    architecture="Qwen2_5_VLForConditionalGeneration",
    classes=_qwen2_5_vl_classes,
    tiny_text=_qwen2_5_vl_tiny_text,
    tiny_vision=_qwen2_5_vl_tiny_vision,
    encode_images=_qwen_encode_images,
    visual_inputs=_qwen_visual_inputs,
    patch_embedding=_qwen_patch_embedding,
)

FAMILIES = (QWEN3_VL, QWEN2_5_VL)
"""All families that the program knows."""


def family_of(model_type: str, source: object = "the model") -> Family:
    """The family of a model, by the `model_type` of its config.json, with region tokens or without.

    Args:
        source: how the error names the model.

    Raises:
        CheckpointError: no known family has this `model_type`.
    """
    for family in FAMILIES:
        if model_type in (family.model_type, f"sr_real_{family.model_type}"):
            return family
    known = ", ".join(f"{family.title} ({family.model_type})" for family in FAMILIES)
    raise CheckpointError(
        f"{source} has the model_type {model_type!r}; the known families are {known}. "
        "CONTRIBUTING.md says how to add one"
    )
