"""Settings of the model and of its prompts. Importing this needs no torch."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from spatial.prompts import instruction
from spatial.sample import ReasoningPath
from spatial.strict import StrictModel

RegionStyle = Literal["tokens", "marks", "points"]

LOGIT_ROWS = 1024
"""Response tokens whose logits are held in memory at once: 1,024 × a vocabulary of 152k × 4 bytes is 0.6 GB."""


class TinyModelConfig(StrictModel):
    """A Qwen3-VL of a few million parameters, built from its configuration with random weights."""

    type: Literal["tiny"] = "tiny"
    image_size_px: Annotated[int, Field(ge=32, multiple_of=32)] = 128
    """Side of the square images that the model is made for; sets the number of vision positions."""
    patch_size_px: Annotated[int, Field(ge=4)] = 16
    """Side of one vision patch."""
    merge_size: Annotated[int, Field(ge=1)] = 2
    """Patches along each side that are merged into one image token. Objects that share a token are hard to tell apart,
    so on small images a model learns much faster with 1."""
    vision_layers: Annotated[int, Field(ge=1)] = 3
    """Layers of the vision tower."""
    vision_width: Annotated[int, Field(ge=8, multiple_of=8)] = 96
    """Width of the vision tower."""
    text_layers: Annotated[int, Field(ge=1)] = 3
    """Layers of the language model."""
    text_width: Annotated[int, Field(ge=16, multiple_of=16)] = 128
    """Width of the language model."""
    num_heads: Annotated[int, Field(ge=1)] = 4
    """Attention heads of both towers."""
    initializer_range: Annotated[float, Field(gt=0)] = 0.06
    """Standard deviation of the initial weights. The usual 0.02 suits widths in the thousands; here it is slow."""
    max_tokens: Annotated[int, Field(ge=64)] = 1024
    """Longest sequence in tokens, prompt and response together."""


class CheckpointModelConfig(StrictModel):
    """An existing model folder of one of the families in `vlm.families`: Qwen3-VL or Qwen2.5-VL."""

    type: Literal["checkpoint"] = "checkpoint"
    path: str
    """A local folder, or the name of a model in the local Hugging Face cache."""


ModelConfig = Annotated[TinyModelConfig | CheckpointModelConfig, Field(discriminator="type")]


class PromptConfig(StrictModel):
    """How a sample becomes a prompt; the same for learner and engine."""

    instructions: Literal["short", "full"] = "full"
    """"full" explains the path's response format to a pretrained model; "short" only names the path."""
    own_instructions: dict[ReasoningPath, Annotated[str, Field(min_length=1)]] = Field(default_factory=dict)
    """Your own instruction for a path (lor, dtr, direct), instead of the text that `instructions` selects. Responses
    are read as before, so ask for the path's tags; `spatial/prompts.py` has the built-in texts."""
    regions: RegionStyle = "tokens"
    """How a region is shown to the model. "tokens": as one embedding, pooled from the image's features in the region.
    "marks": drawn on the image, with its box as coordinates in the text. "points": its centre as coordinates in the
    text. The last two leave the model unchanged."""
    lor_regions: RegionStyle | None = None
    """How a region is shown on the LOR path; null: as in `regions`. With "marks" or "points" LOR reads regions from the
    text, and only DTR gets region tokens."""
    region_depth: bool = False
    """With "tokens": if a sample has a depth map, region tokens also encode the 3D positions of the region's pixels."""
    coordinate_grid: Annotated[int, Field(ge=10, le=1000)] = 1000
    """With "marks" and "points": coordinates in prompts are scaled to 0 … this number, whatever the image's size."""
    mark_width_px: Annotated[int, Field(ge=1)] = 2
    """With "marks": line width of the drawn boxes."""
    min_pixels: Annotated[int, Field(ge=1)] | None = None
    """Fewest pixels of an image when the model sees it; a smaller one is enlarged. null: as the model's own image
    processor has it (65,536 with Qwen3-VL)."""
    max_pixels: Annotated[int, Field(ge=1)] | None = None
    """Most pixels of an image when the model sees it; a larger one is made smaller, then regions are drawn on it. An
    image token stands for 32 × 32 pixels with Qwen3-VL (28 × 28 with Qwen2.5-VL), so that 400,000 pixels are at most
    390 tokens. null: as the model's own image processor has it (16.8 million with Qwen3-VL)."""
    image_cache_mib: Annotated[int, Field(ge=0)] = 64
    """Memory for decoded images in each process, in MiB, so that the members of a group decode their image once."""

    @field_validator("own_instructions")
    @classmethod
    def _texts_are_words(cls, texts: dict[ReasoningPath, str]) -> dict[ReasoningPath, str]:
        for path, text in texts.items():
            if "<|" in text:
                raise ValueError(f"{path.value}: {text!r} contains '<|', which starts special tokens; remove it")
        return texts

    @model_validator(mode="after")
    def _pixels_can_be_both(self) -> Self:
        if self.min_pixels is not None and self.max_pixels is not None and self.min_pixels > self.max_pixels:
            raise ValueError(
                f"min_pixels={self.min_pixels} is above max_pixels={self.max_pixels}, so no image could have a size: "
                f"set prompt.min_pixels={self.max_pixels} or less, or prompt.max_pixels={self.min_pixels} or more"
            )
        return self

    def instruction(self, path: ReasoningPath) -> str:
        """The instruction that follows the question in a prompt of `path`."""
        return self.own_instructions.get(path) or instruction(path, self.instructions)

    def regions_for(self, path: ReasoningPath) -> RegionStyle:
        """How a region is shown on `path`."""
        return self.lor_regions if path is ReasoningPath.LOR and self.lor_regions is not None else self.regions

    @property
    def has_pixel_budget(self) -> bool:
        """Whether images are resized for these prompts, and not as the model's own processor does it."""
        return self.min_pixels is not None or self.max_pixels is not None

    @property
    def has_region_tokens(self) -> bool:
        """Whether any path needs a model with region tokens."""
        return "tokens" in (self.regions, self.lor_regions)
