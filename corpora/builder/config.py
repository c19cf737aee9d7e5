"""Settings of a build: where images come from, what is asked about them, who rewrites the chains."""

import difflib
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from spatial.questions.kinds import KINDS as QUESTION_KINDS
from spatial.questions.kinds import most_subjects
from spatial.questions.margins import Margins, Share
from spatial.sample import Mark, ReasoningPath
from spatial.scenes.config import SceneConfig
from spatial.strict import StrictModel

_FIRST = (
    *("left_right", "above_below", "closer_to_camera", "larger", "distance", "direction"),
    *("depth", "height", "width", "nearest", "count"),
)
_ASKED = [kind.name for kind in QUESTION_KINDS.values() if kind.full is not None]
KINDS = (*_FIRST, *(name for name in _ASKED if name not in _FIRST))
"""Kinds with a full phrasing. Another order would change the questions of every seed, so new kinds come last."""
Metres = Annotated[float, Field(gt=0)]


class SceneSource(StrictModel):
    """The project's own scenes, as if someone had annotated them. What `scenes` says about questions has no effect."""

    type: Literal["scenes"] = "scenes"
    scenes: SceneConfig = SceneConfig()
    """How the scenes are drawn."""
    num_images: Annotated[int, Field(ge=1)] = 1000
    """Number of images to make."""


class Omni3DSource(StrictModel):
    """A file in the layout of Omni3D: {"images": […], "annotations": […]}."""

    type: Literal["omni3d"] = "omni3d"
    file: Path
    """The JSON file."""
    images: Path
    """The folder that the file's `file_path`s start from."""
    domain: Annotated[str, Field(min_length=1)] = "omni3d"
    """Domain of the samples, and the beginning of their ids."""
    allow_outside: bool = False
    """Accept image paths that are absolute or contain `..`."""
    min_box_px: Annotated[float, Field(ge=1)] = 12.0
    """Shortest side of an object's 2D box."""
    max_depth_m: Metres = 60.0
    """Farthest centre along the camera's forward axis."""
    max_truncation: Share = 0.25
    """Largest share of an object that may lie outside the image, where that is annotated."""
    min_visibility: Share = 0.4
    """Smallest share of an object that others leave visible, where that is annotated."""
    max_tilt_deg: Annotated[float, Field(ge=0, lt=90)] = 60.0
    """Largest angle between an object's vertical and the camera's. Above it, which side is the height is unclear."""


class Splits(StrictModel):
    """Shares of the images. An image's own hash decides, so that adding images moves none to another split."""

    train: Share = 0.9
    """Share of the images to train on."""
    validation: Share = 0.05
    """Share of the images that a run validates on while it trains."""
    test: Share = 0.05
    """Share of the images that a run is evaluated on before and after training."""

    @model_validator(mode="after")
    def _sum_to_one(self) -> Self:
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-9 or self.train == 0:
            raise ValueError(
                f"train={self.train}, validation={self.validation}, test={self.test}: give shares that sum to 1, "
                "train above 0"
            )
        return self


class NoRewrite(StrictModel):
    """Chains stay as the templates write them."""

    type: Literal["none"] = "none"


class OpenAIRewrite(StrictModel):
    """A server with OpenAI's chat completions API rewrites the thoughts; a rewrite that fails a check is discarded."""

    type: Literal["openai"] = "openai"
    base_url: Annotated[str, Field(pattern=r"^https?://")]
    """Address of the API, such as "http://127.0.0.1:8000/v1"."""
    model: Annotated[str, Field(min_length=1)]
    """The model's name on the server."""
    api_key_env: Annotated[str, Field(min_length=1)] | None = None
    """The environment variable that holds the API key; null: the server needs none."""
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.7
    """The server's sampling temperature."""
    max_tokens: Annotated[int, Field(ge=1)] = 1024
    """Most tokens of a rewritten response."""
    min_words: Annotated[int, Field(ge=1)] = 100
    """Fewest words of a thought that the server is asked to write."""
    max_words: Annotated[int, Field(ge=1)] = 200
    """Most words of a thought that the server is asked to write."""
    words_slack: Share = 0.2
    """How much shorter or longer than asked for a thought may be, as a share."""
    concurrency: Annotated[int, Field(ge=1)] = 16
    """Most requests at a time."""
    timeout_s: Annotated[float, Field(gt=0)] = 120.0
    """Seconds that one attempt may take; a chain waits at most `attempts` times as long."""
    attempts: Annotated[int, Field(ge=1)] = 3
    """Most attempts for a chain, after status 429 or at least 500, a lost connection or a timeout; pauses grow."""

    @model_validator(mode="after")
    def _words_rise(self) -> Self:
        if self.min_words > self.max_words:
            raise ValueError(f"min_words={self.min_words} is more than max_words={self.max_words}")
        return self


class BuildConfig(StrictModel):
    """A build: its folder, its images, its questions."""

    out: Path
    """The folder for train.jsonl, validation.jsonl, test.jsonl, images/, report.json, and parts/ to resume from."""
    source: Annotated[SceneSource | Omni3DSource, Field(discriminator="type")]
    """Where annotated images come from."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the scenes and of the choice of questions."""
    questions_per_image: Annotated[int, Field(ge=1, le=len(KINDS))] = 6
    """Most questions about one image, each of another kind; fewer where the image allows no more."""
    kinds: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=lambda: dict.fromkeys(KINDS, 1.0))
    """Relative weight of each kind of question; a kind that is left out is not asked."""
    paths: Annotated[tuple[ReasoningPath, ...], Field(min_length=1)] = (ReasoningPath.LOR, ReasoningPath.DTR)
    """Paths that get a chain; `count` has no marked region, so it gets LOR only."""
    marks: Annotated[tuple[Mark, ...], Field(min_length=most_subjects("full"))] = ("red", "blue", "green", "yellow")
    """Marks of the regions, assigned in random order."""
    margins: Margins = Margins()
    """How clear an answer has to be."""
    max_count: Annotated[int, Field(ge=1, le=99)] = 8
    """Largest answer of a `count` question."""
    splits: Splits = Splits()
    """How images are divided."""
    rewrite: Annotated[NoRewrite | OpenAIRewrite, Field(discriminator="type")] = NoRewrite()
    """Who rewrites the chains in other words."""

    @field_validator("kinds")
    @classmethod
    def _kinds_exist(cls, weights: dict[str, float]) -> dict[str, float]:
        for kind in weights:
            if kind not in KINDS:
                near = difflib.get_close_matches(kind, KINDS, n=1, cutoff=0.0)[0]
                raise ValueError(f"unknown kind '{kind}': did you mean '{near}'? Known: {', '.join(KINDS)}")
        if not any(weights.values()):
            raise ValueError("kinds: all weights are 0; give one kind a weight")
        return weights

    @field_validator("paths")
    @classmethod
    def _paths_reason(cls, paths: tuple[ReasoningPath, ...]) -> tuple[ReasoningPath, ...]:
        if ReasoningPath.DIRECT in paths or len(set(paths)) != len(paths):
            raise ValueError(f"{[path.value for path in paths]}: give lor, dtr or both")
        return paths

    @field_validator("marks")
    @classmethod
    def _marks_differ(cls, marks: tuple[Mark, ...]) -> tuple[Mark, ...]:
        if len(set(marks)) != len(marks):
            raise ValueError(f"{list(marks)} names one twice")
        return marks
