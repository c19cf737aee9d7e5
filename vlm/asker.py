"""Asks a model one question in this process, without engines."""

from pathlib import Path
from typing import Any

import torch

from spatial.images import ImageStore
from spatial.sample import ReasoningPath, SpatialSample
from vlm.config import PromptConfig
from vlm.policy import load_policy
from vlm.prompt import PromptEncoder, decode


class Asker:
    """A model with its prompts. It samples as the engines do: image and region tokens are never generated."""

    def __init__(self, model: Path, images: ImageStore, prompt: PromptConfig, device: str, seed: int = 0) -> None:
        """
        Args:
            model: the model's folder (Hugging Face layout).
            images: the store with the images of the samples.
            prompt: the prompt settings that the model was trained with.
            device: "cpu", "cuda", …; on a GPU the weights are bfloat16.
            seed: for sampling.

        Raises:
            CheckpointError: a weight is missing, unknown or has another shape.
        """
        self._encoder = PromptEncoder(model, images, prompt)
        dtype = torch.float32 if device == "cpu" else torch.bfloat16
        policy = load_policy(model, dtype)
        self._knows_regions = hasattr(policy.vlm.model, "region_encoder")
        self._vlm: Any = policy.vlm.to(device).eval()
        self._device = device
        torch.manual_seed(seed)

    def unknown_words(self, sample: SpatialSample, path: ReasoningPath) -> list[str]:
        """Parts of the prompt that the tokenizer does not know, if it is one of whole words, as the demo's."""
        tokenizer: Any = self._encoder.tokenizer
        if tokenizer.unk_token_id is None:
            return []
        text = self._encoder.text(sample, path)
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        pieces = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
        return sorted({text[start:end] for token, (start, end) in pieces if token == tokenizer.unk_token_id})

    def answer(self, sample: SpatialSample, path: ReasoningPath, max_tokens: int, temperature: float) -> str:
        """The model's response; `temperature` 0 takes the likeliest token each time."""
        encoder = self._encoder
        input_ids = torch.tensor([encoder.prompt_token_ids(sample, path)], device=self._device)
        vision = encoder.vision_inputs(sample, path)
        sampling = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature else {}
        with torch.no_grad():
            tokens = self._vlm.generate(
                input_ids=input_ids,
                attention_mask=torch.ones_like(input_ids),
                mm_token_type_ids=(input_ids == encoder.image_token_id).long(),
                pixel_values=vision.pixel_values.to(self._device, self._vlm.dtype),
                image_grid_thw=vision.image_grid_thw.to(self._device),
                **({"regions": vision.regions} if self._knows_regions else {}),
                **(sampling or {"do_sample": False}),
                max_new_tokens=max_tokens,
                suppress_tokens=list(encoder.banned_token_ids),
                eos_token_id=encoder.end_token_id,
                pad_token_id=encoder.pad_token_id,
            )
        return decode(encoder.tokenizer, tokens[0, input_ids.shape[1] :].tolist())
