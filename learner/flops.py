"""How many floating-point operations an update needs, and what share of the cards' peak that is (MFU).

Counted is what the algorithm needs, however it is carried out: a token that passes a weight matrix of n entries costs
2·n operations on the way forward, 2·n for the gradient of what came in, and 2·n for the matrix's own gradient, which is
the 6·N of Kaplan et al. (arXiv 2001.08361); attention costs 4·width·length a token and layer forward and twice that
backward, which is the 12·layers·width·length of PaLM (arXiv 2204.02311, appendix B), without a discount for the causal
mask. Not counted are recomputed activations, padding, and an image's second encoding in one pass; these lower the MFU.

Left out because they are small: norms, the embedding's look-up, rotations, region tokens, the optimiser's arithmetic.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any

from learner.config import LearnerConfig
from vlm.families import family_of

if TYPE_CHECKING:
    # It brings torch.
    from learner.batch import Row

_PATCH_EMBEDDING = "model.visual.patch_embed."
_NUMBER = re.compile(r"\.(\d+)\.")


@dataclass(frozen=True)
class Matrices:
    """Entries of the weight matrices that a token passes in one part of the model."""

    forward: int = 0
    backward: int = 0
    """Of these, the matrices through which a gradient flows back to what lies before them."""
    trained: int = 0
    """Of these, the matrices that are trained."""

    def flops(self, num_tokens: float, is_training: bool) -> float:
        """Of `num_tokens` tokens on their way through all of them, and in training back."""
        entries = self.forward + (self.backward + self.trained if is_training else 0)
        return 2.0 * entries * num_tokens


@dataclass(frozen=True)
class AttentionLayers:
    """Layers of attention of one width."""

    num_layers: int
    num_backward: int
    """Layers through which a gradient flows."""
    width: int
    """Number of query heads × width of a head."""
    max_length: int | None = None
    """Longest stretch that a token looks at; None: all of its row or image."""

    def flops(self, length: float, is_training: bool) -> float:
        """Of a row, or an image, of this many tokens: two products with a square of the length."""
        seen = length if self.max_length is None else min(length, self.max_length)
        layers = self.num_layers + (2 * self.num_backward if is_training else 0)
        return 4.0 * layers * self.width * length * seen


@dataclass(frozen=True)
class RowSize:
    """How long one prompt with its response is."""

    num_tokens: int
    """Prompt and response, with image tokens."""
    num_response_tokens: int
    images: tuple[int, ...] = ()
    """Image tokens of each image."""
    prompt: object = None
    """Rows of the same prompt share their images, which are then encoded once a pass; None: they are its own."""

    @classmethod
    def of_tokens(cls, prompt: Sequence[int], num_response_tokens: int, image_token_id: int, name: object) -> "RowSize":
        """
        Args:
            prompt: token ids, with image tokens expanded; a marker stands between two images.
            name: of the prompt, shared by all rows that have it.
        """
        runs = ((token, len(list(run))) for token, run in groupby(prompt))
        images = tuple(length for token, length in runs if token == image_token_id)
        return cls(len(prompt) + num_response_tokens, num_response_tokens, images, name)


@dataclass(frozen=True)
class ModelFlops:
    """What a token costs in each part of a vision-language model."""

    text: Matrices
    """The language model's layers; every token passes them."""
    head: Matrices
    """The head; only tokens that predict a response token pass it."""
    projector: Matrices
    """What carries image features over; image tokens pass it."""
    vision: Matrices
    """The vision tower; patches pass it."""
    text_attention: AttentionLayers
    vision_attention: tuple[AttentionLayers, ...]
    patches_per_token: int
    """Patches that are merged into one image token."""

    @classmethod
    def of_model(cls, vlm: Any) -> "ModelFlops":
        """Count a Hugging Face model, whose parameters that are not trained are frozen already; it may have no memory
        of its own (`torch.device("meta")`), and be split over ranks."""
        return _Count(vlm).result

    @property
    def vision_is_trained(self) -> bool:
        return self.vision.trained > 0

    def of_rows(self, rows: Iterable[RowSize], is_training: bool) -> float:
        """Of the language model on these rows."""
        return sum(
            self.text.flops(row.num_tokens, is_training)
            + self.text_attention.flops(row.num_tokens, is_training)
            + self.head.flops(row.num_response_tokens, is_training)
            for row in rows
        )

    def of_images(self, rows: Iterable[RowSize], is_training: bool) -> float:
        """Of the vision tower and the projector, each image once."""
        prompts = {row.prompt if row.prompt is not None else index: row.images for index, row in enumerate(rows)}
        total = 0.0
        for num_tokens in (tokens for images in prompts.values() for tokens in images):
            num_patches = num_tokens * self.patches_per_token
            total += self.projector.flops(num_tokens, is_training) + self.vision.flops(num_patches, is_training)
            total += sum(layers.flops(num_patches, is_training) for layers in self.vision_attention)
        return total


def update_flops(model: ModelFlops, rows: Sequence[RowSize], config: LearnerConfig) -> float:
    """Operations of one policy update over all ranks: the training pass; a forward pass of the reference, if there is a
    KL penalty; and one of the policy for all mini-batches but the first, for the proximal log-probabilities. A frozen
    vision tower encodes each image once in all."""
    if not rows:
        return 0.0
    num_groups = len({index if row.prompt is None else row.prompt for index, row in enumerate(rows)})
    num_mini_batches = min(config.optimizer_steps_per_batch, num_groups)
    proximal = 1 - 1 / num_mini_batches
    num_forward = proximal + (1.0 if config.kl_coefficient > 0 else 0.0)
    text = model.of_rows(rows, is_training=True) + num_forward * model.of_rows(rows, is_training=False)
    images = model.of_images(rows, is_training=True)
    if model.vision_is_trained:
        images += num_forward * model.of_images(rows, is_training=False)
    return text + images


def row_sizes(rows: "Iterable[Row]", image_token_id: int) -> list[RowSize]:
    """The sizes of the rows of a batch; those of one sample through one path share a prompt."""
    return [
        RowSize.of_tokens(
            row.prompt_token_ids, len(row.response_token_ids), image_token_id, (row.sample.sample_id, row.path)
        )
        for row in rows
    ]


def mfu(flops: float, seconds: float, num_cards: float, peak_tflops: float) -> float:
    """The share of the cards' peak: operations / (seconds × cards × peak)."""
    return flops / (seconds * num_cards * peak_tflops * 1e12)


class _Count:
    """Goes through a model's matrices once."""

    def __init__(self, vlm: Any) -> None:
        # Not at the top: torch loads only where there is a model to count.
        from torch import nn

        self._vlm = vlm
        self._family = family_of(vlm.config.model_type)
        # Names of peft's adapters stand behind the name of the layer that they adapt.
        self._matrices = [
            (name, self._family.part_of(f"{name}."), module)
            for name, module in vlm.named_modules()
            if isinstance(module, nn.Linear) or name == f"{_PATCH_EMBEDDING}proj"
        ]
        self._trained_parts = {
            self._family.part_of(name) for name, parameter in vlm.named_parameters() if parameter.requires_grad
        }
        self._trained_layers = {
            self._family.layer_of(name) for name, parameter in vlm.named_parameters() if parameter.requires_grad
        } - {None}

    @cached_property
    def result(self) -> ModelFlops:
        vision_config = self._vlm.config.vision_config
        return ModelFlops(
            text=self._add(lambda name, part: part == "language" and name != "lm_head"),
            head=self._add(lambda name, part: name == "lm_head"),
            projector=self._add(lambda name, part: part == "projector"),
            vision=self._add(lambda name, part: part == "vision"),
            text_attention=self._text_attention(),
            vision_attention=self._vision_attention(),
            patches_per_token=vision_config.spatial_merge_size**2,
        )

    def _add(self, is_meant: Any) -> Matrices:
        forward = backward = trained = 0
        for name, part, module in self._matrices:
            if is_meant(name, part):
                entries = _entries(module)
                forward += entries
                backward += entries if self._flows_through(name, part) else 0
                trained += entries if module.weight.requires_grad else 0
        return Matrices(forward, backward, trained)

    def _flows_through(self, name: str, part: str) -> bool:
        """Whether something before a matrix is trained, or it lies in a layer that is."""
        if name.startswith(_PATCH_EMBEDDING):
            return False  # pixels have no gradient
        if part == "vision":
            return "vision" in self._trained_parts
        if part == "projector":
            return bool({"vision", "projector"} & self._trained_parts)
        layer = self._family.layer_of(f"{name}.")
        return layer is None or layer >= self._first_layer

    @cached_property
    def _first_layer(self) -> int:
        """The language model's first layer through which gradients flow."""
        num_layers = self._vlm.config.text_config.num_hidden_layers
        embeddings = self._vlm.get_input_embeddings().weight
        if {"vision", "projector", "region"} & self._trained_parts or embeddings.requires_grad:
            return 0
        return min((layer for layer in self._trained_layers if layer is not None), default=num_layers)

    def _text_attention(self) -> AttentionLayers:
        text = self._vlm.config.text_config
        head_width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        layers = text.num_hidden_layers
        return AttentionLayers(layers, layers - min(self._first_layer, layers), text.num_attention_heads * head_width)

    def _vision_attention(self) -> tuple[AttentionLayers, ...]:
        config = self._vlm.config.vision_config
        is_trained = "vision" in self._trained_parts

        def layers(number: int, max_length: int | None = None) -> AttentionLayers:
            return AttentionLayers(number, number if is_trained else 0, config.hidden_size, max_length)

        whole = getattr(config, "fullatt_block_indexes", None)
        if whole is None:
            return (layers(config.depth),)
        # Qwen2.5-VL: most layers look at windows of `window_size` pixels a side.
        return (
            layers(len(whole)),
            layers(config.depth - len(whole), (config.window_size // config.patch_size) ** 2),
        )


def _entries(module: Any) -> int:
    """Of a linear layer, or of the convolution that embeds patches; its stride is its kernel, so each patch passes it
    once. From the layer's own description: under ZeRO-3 the weight itself is empty."""
    if hasattr(module, "in_features"):
        return int(module.in_features * module.out_features)
    entries = module.in_channels * module.out_channels
    for side in module.kernel_size:
        entries *= side
    return int(entries)
