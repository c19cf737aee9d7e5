"""The policy in the learner: log-probabilities of response tokens, given prompts with images."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MethodType
from typing import Any, Self

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vlm.attention import PADDED, Attention
from vlm.config import LOGIT_ROWS as _LOGIT_ROWS
from vlm.errors import CheckpointError
from vlm.families import family_of
from vlm.hub.region_inputs import RegionInputs
from vlm.image_features import FeatureCache, ImageFeatures, ImageName
from vlm.model_folders import load_model_config, model_class
from vlm.packed_rows import PackedRows, set_attention
from vlm.positions import mrope_positions
from vlm.prompt import VisionInputs
from vlm.tensors import moved

# Far below any real logit, but finite, so that no entropy contains 0 × infinity.
BANNED_LOGIT = -1e4


@dataclass(frozen=True)
class PolicyRow:
    """One prompt with its response, before padding. `prompt_token_ids` have their image tokens expanded."""

    prompt_token_ids: Sequence[int]
    response_token_ids: Sequence[int]
    vision: VisionInputs


@dataclass(frozen=True)
class PolicyBatch:
    """Rows padded on the right to one length."""

    input_ids: Int[Tensor, "batch tokens"]
    attention_mask: Int[Tensor, "batch tokens"]
    """1 for real tokens, 0 for padding."""
    response_mask: Bool[Tensor, "batch tokens"]
    """True for response tokens, end token included: the tokens that the policy is trained on."""
    position_ids: Int[Tensor, "3 batch tokens"]
    """Where each token is in time, height and width; see `vlm.positions`."""
    pixel_values: Float[Tensor, "patches patch_values"]
    """Each image once, even if several rows show it: a group's responses share their images."""
    image_grid_thw: Int[Tensor, "images 3"]
    image_names: tuple[ImageName, ...]
    """What tells each image from all others; see `VisionInputs.image_names`."""
    shown_images: Int[Tensor, " shown"]
    """The index of each shown image, row by row."""
    regions: RegionInputs
    lengths: tuple[int, ...]
    """Real tokens of each row."""
    num_head_calls: int
    """In how many calls of the head the response tokens are processed."""

    @classmethod
    def collate(
        cls, rows: Sequence[PolicyRow], pad_token_id: int, image_token_id: int, min_head_calls: int = 1
    ) -> Self:
        """Pad rows on the right; an image that several rows show, by its name, is there once.

        `min_head_calls`: the calls of the head that other ranks make in the same pass (see `MicroPlan`).
        """
        lengths = tuple(len(row.prompt_token_ids) + len(row.response_token_ids) for row in rows)
        input_ids = torch.full((len(rows), max(lengths)), pad_token_id)
        attention_mask = torch.zeros_like(input_ids)
        response_mask = torch.zeros_like(input_ids, dtype=torch.bool)
        position_ids = torch.zeros(3, *input_ids.shape, dtype=torch.long)
        for index, row in enumerate(rows):
            tokens = [*row.prompt_token_ids, *row.response_token_ids]
            input_ids[index, : len(tokens)] = torch.tensor(tokens)
            attention_mask[index, : len(tokens)] = 1
            response_mask[index, len(row.prompt_token_ids) : len(tokens)] = True
            position_ids[:, index, : len(tokens)] = mrope_positions(tokens, image_token_id, row.vision.image_grid_thw)
        images: dict[ImageName, tuple[Tensor, Tensor]] = {}
        for vision in {id(row.vision): row.vision for row in rows}.values():
            pixels = vision.pixel_values.split(vision.image_grid_thw.prod(-1).tolist())
            for name, values, grid in zip(vision.image_names, pixels, vision.image_grid_thw, strict=True):
                images.setdefault(name, (values, grid))
        pixel_values, grids = zip(*images.values(), strict=True)
        places = {name: place for place, name in enumerate(images)}
        return cls(
            input_ids=input_ids,
            attention_mask=attention_mask,
            response_mask=response_mask,
            position_ids=position_ids,
            pixel_values=torch.cat(pixel_values),
            image_grid_thw=torch.stack(grids),
            image_names=tuple(images),
            shown_images=torch.tensor([places[name] for row in rows for name in row.vision.image_names]),
            regions=RegionInputs.cat([row.vision.regions for row in rows]),
            lengths=lengths,
            num_head_calls=max(min_head_calls, head_calls(sum(len(row.response_token_ids) for row in rows))),
        )

    def to(self, device: torch.device | str) -> Self:
        return moved(self, device)


def head_calls(num_response_tokens: int) -> int:
    """How many calls of the head this many response tokens need, so that their logits fit in memory."""
    return -(-num_response_tokens // _LOGIT_ROWS)


def banned_token_ids(config: Any) -> tuple[int, ...]:
    """Placeholder tokens of images, videos and regions. In a response they would stand for something that is not there.

    The engine never samples them and the policy gives them no probability, so both sides normalise alike.
    """
    region = getattr(config, "region_token_id", None)
    return (config.image_token_id, config.video_token_id, *([] if region is None else [region]))


class Policy(nn.Module):
    """A Hugging Face VLM; its forward pass returns the log-probability of each response token."""

    def __init__(self, vlm: Any, attention: Attention = PADDED) -> None:
        """
        Args:
            vlm: a Hugging Face model, such as Qwen3VLForConditionalGeneration.
            attention: what it computes attention with, and whether rows are packed for it.

        Raises:
            CheckpointError: the model is of no known family.
        """
        super().__init__()
        self._family = family_of(vlm.config.model_type)
        self.vlm: Any = vlm
        self._banned = banned_token_ids(vlm.config)
        self._knows_regions = hasattr(vlm.model, "region_encoder")
        self._packed = attention.packed
        set_attention(vlm, attention)
        self.feature_cache: FeatureCache | None = None
        """Set while features of images may be kept from pass to pass, because no weight that makes them is trained."""

    def forward(
        self, batch: PolicyBatch, temperature: float = 1.0, bans: bool = True
    ) -> tuple[Float[Tensor, "batch tokens"], Float[Tensor, "batch tokens"]]:
        """Log-probabilities and entropies at response tokens (natural units, fp32); 0 elsewhere.

        Without `bans`, banned tokens keep their probability: this is the model itself, not the policy.
        Entry [b, t] belongs to token `input_ids[b, t]` given all tokens before it. Only hidden states that predict a
        response token go through the head, so memory grows with the responses, not with the prompts. The head is
        called `batch.num_head_calls` times, some with no tokens if there are fewer tokens than calls.
        """
        rows = PackedRows.of(batch.lengths, batch.input_ids.device) if self._packed else None
        hidden = self.vlm.model(
            **self._text_inputs(batch, rows),
            **self._family.visual_inputs(batch, self._image_features(batch)),
            **({"regions": batch.regions} if self._knows_regions else {}),
            use_cache=False,
        ).last_hidden_state
        mask = batch.response_mask
        # The token before a response token is of the same row, packed or not: no prompt is empty.
        places = mask if rows is None else rows.pack(mask)
        predictors = hidden[:, :-1][places[:, 1:]]
        targets = batch.input_ids[mask]
        parts = [
            checkpoint(self._head, rows, wanted, temperature, bans, use_reentrant=False)
            for rows, wanted in zip(
                predictors.tensor_split(batch.num_head_calls), targets.tensor_split(batch.num_head_calls), strict=True
            )
        ]
        logprobs, entropies = (torch.cat(column) for column in zip(*parts, strict=True))
        shape = torch.zeros(mask.shape, dtype=torch.float32, device=mask.device)
        return shape.masked_scatter(mask, logprobs), shape.masked_scatter(mask, entropies)

    def _image_features(self, batch: PolicyBatch) -> list[ImageFeatures]:
        encode = partial(self._family.encode_images, self.vlm)
        if self.feature_cache is None:
            return encode(batch.pixel_values, batch.image_grid_thw)
        return self.feature_cache.features(batch, encode)

    def _text_inputs(self, batch: PolicyBatch, rows: PackedRows | None) -> dict[str, Any]:
        """The inner model's arguments for tokens and positions."""
        if rows is None:
            return {
                "input_ids": batch.input_ids,
                "attention_mask": batch.attention_mask,
                "position_ids": batch.position_ids,
            }
        # Kernels go by the ends of the rows. The first of these four says the same to transformers, which given only
        # the three of M-RoPE would take all rows for one.
        number_in_row = batch.attention_mask.cumsum(-1) - 1
        return {
            "input_ids": rows.pack(batch.input_ids),
            "position_ids": rows.pack(torch.cat([number_in_row[None], batch.position_ids])),
            **rows.arguments(),
        }

    def _head(
        self, hidden: Float[Tensor, "rows width"], targets: Int[Tensor, " rows"], temperature: float, bans: bool
    ) -> tuple[Float[Tensor, " rows"], Float[Tensor, " rows"]]:
        logits = self.vlm.lm_head(hidden).float() / temperature
        if bans:
            logits = logits.index_fill(-1, torch.tensor(self._banned, device=logits.device), BANNED_LOGIT)
        log_softmax = F.log_softmax(logits, dim=-1)
        entropy = -(log_softmax.exp() * log_softmax).sum(-1)
        return log_softmax.gather(-1, targets[:, None])[:, 0], entropy


def load_policy(
    folder: Path | str,
    dtype: torch.dtype = torch.float32,
    attention: Attention = PADDED,
) -> Policy:
    """Load a model folder of one of the known families.

    Raises:
        CheckpointError: it is of another family; or a weight is missing, unknown or has another shape. (transformers
            would leave a missing one randomly initialised, with a log line.)
    """
    config = load_model_config(folder)
    family = family_of(config.model_type, f"model folder {folder}")
    vlm, info = model_class(config).from_pretrained(
        str(folder), config=config, dtype=dtype, attn_implementation="sdpa", output_loading_info=True
    )
    faults = {name: sorted(map(str, info[name])) for name in ("missing_keys", "unexpected_keys", "mismatched_keys")}
    if any(faults.values()):
        listed = "; ".join(f"{name.replace('_', ' ')}: {', '.join(keys[:5])}" for name, keys in faults.items() if keys)
        raise CheckpointError(f"model folder {folder} does not fit its own config.json: {listed}")
    _multiply_patches(family.patch_embedding(vlm))
    return Policy(vlm, attention)


def _multiply_patches(convolution: nn.Module) -> None:
    """Compute the patch embedding as a matrix product. Its stride equals its kernel, so the result is the same, and on
    CPU it is four times as fast."""

    def forward(
        self: Any, patches: Float[Tensor, "patches channels time height width"]
    ) -> Float[Tensor, "patches embedding"]:
        return F.linear(patches.flatten(1), self.weight.flatten(1), self.bias)

    # Bound as a method, so that a copy of the model uses its own weights.
    convolution.forward = MethodType(forward, convolution)
