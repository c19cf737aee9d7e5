"""What the shared model side can be told. Importing this needs no torch."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from spatial.prompts import instruction
from spatial.sample import ReasoningPath
from spatial.strict import StrictModel

RegionStyle = Literal["tokens", "marks", "points"]

LOGIT_ROWS = 1024
"""Response tokens whose logits are held at once: 1,024 × 152k vocabulary × 4 bytes is 0.6 GB."""


class TinyModelConfig(StrictModel):
    """A Qwen3-VL of a few million parameters, built from its configuration with random weights."""

    type: Literal["tiny"] = "tiny"
    image_size_px: Annotated[int, Field(ge=32, multiple_of=32)] = 128
    """Side of the square images it is made for; sets the table of vision positions."""
    patch_size_px: Annotated[int, Field(ge=4)] = 16
    """Side of one vision patch."""
    merge_size: Annotated[int, Field(ge=1)] = 2
    """This many patches along each side are merged into one image token. Objects that share a token are hard to tell
    apart, so small images learn far faster with 1."""
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
    """Standard deviation of the first weights. The usual 0.02 is made for widths in the thousands; here it is slow."""
    max_tokens: Annotated[int, Field(ge=64)] = 1024
    """Longest sequence, prompt and response together."""


class CheckpointModelConfig(StrictModel):
    """An existing Qwen3-VL or Qwen2.5-VL checkpoint."""

    type: Literal["checkpoint"] = "checkpoint"
    path: str
    """A local folder, or a hub name that is already in the local cache."""


ModelConfig = Annotated[TinyModelConfig | CheckpointModelConfig, Field(discriminator="type")]


class PromptConfig(StrictModel):
    """How a sample becomes a prompt; learner and engine must share it."""

    instructions: Literal["short", "full"] = "full"
    """"full" explains the path's grammar to a pretrained model; "short" names the path in a few words."""
    own_instructions: dict[ReasoningPath, Annotated[str, Field(min_length=1)]] = Field(default_factory=dict)
    """Your own instruction for a path (lor, dtr, direct), in place of the text that `instructions` chooses. What is
    read in a reply stays the same, so ask for the path's tags; `spatial/prompts.py` has our texts."""
    regions: RegionStyle = "tokens"
    """How a region reaches the model: "tokens", as one embedding made from the image's features there; "marks", drawn
    on the image, with its box as coordinates in the text, and "points", its middle as coordinates in the text, for a
    model that is to stay as it is."""
    lor_regions: RegionStyle | None = None
    """How a region reaches the model through LOR, if differently from `regions`; null: as `regions`. With "marks" or
    "points" LOR reads regions in words, and only DTR gets region tokens."""
    region_depth: bool = False
    """With "tokens": where a sample has a depth map, region tokens also carry the 3D positions of the region's
    pixels."""
    coordinate_grid: Annotated[int, Field(ge=10, le=1000)] = 1000
    """With "marks" and "points": coordinates in prompts run from 0 to this, whatever the image's size."""
    mark_width_px: Annotated[int, Field(ge=1)] = 2
    """With "marks": line width of the drawn boxes."""
    image_cache_mib: Annotated[int, Field(ge=0)] = 64
    """Memory for decoded images in each process, so that the members of a group decode their image once."""

    @field_validator("own_instructions")
    @classmethod
    def _texts_are_words(cls, texts: dict[ReasoningPath, str]) -> dict[ReasoningPath, str]:
        for path, text in texts.items():
            if "<|" in text:
                raise ValueError(f"{path.value}: {text!r} holds '<|', which begins a token with a meaning of its own")
        return texts

    def instruction(self, path: ReasoningPath) -> str:
        """What a prompt of `path` asks for, after the question."""
        return self.own_instructions.get(path) or instruction(path, self.instructions)

    def regions_for(self, path: ReasoningPath) -> RegionStyle:
        """How a region reaches the model through `path`."""
        return self.lor_regions if path is ReasoningPath.LOR and self.lor_regions is not None else self.regions

    @property
    def has_region_tokens(self) -> bool:
        """Whether any path needs a model that knows region tokens."""
        return "tokens" in (self.regions, self.lor_regions)
