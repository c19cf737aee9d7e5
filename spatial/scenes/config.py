"""Settings of the synthetic scenes and their questions."""

import difflib
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from spatial.questions.kind import Named, ReasonedKind
from spatial.questions.kinds import KINDS, most_subjects
from spatial.sample import Mark
from spatial.strict import StrictModel

Family = Literal["tabletop", "room"]

_BRIEF = {name: (kind, kind.brief) for name, kind in KINDS.items() if kind.brief is not None}
_REASONED = {name: phrasing for name, (kind, phrasing) in _BRIEF.items() if isinstance(kind, ReasonedKind)}

REGION_KINDS = tuple(name for name, phrasing in _REASONED.items() if isinstance(phrasing.subjects, Named))
"""Kinds that refer to one or two objects: marked regions through DTR, objects by colour and shape through LOR."""
WHOLE_SCENE_KINDS = tuple(name for name in _REASONED if name not in REGION_KINDS)
"""Kinds about all that is in view: LOR only, since a mark would give the answer away."""
LOR_KINDS = WHOLE_SCENE_KINDS + REGION_KINDS
PERCEPTION_KINDS = tuple(name for name in _BRIEF if name not in _REASONED)
"""Kinds that are answered at once only: what there is, and where."""
DIRECT_KINDS = PERCEPTION_KINDS + LOR_KINDS

Range = tuple[float, float]


class FamilyConfig(StrictModel):
    """Ranges, low to high, that one family of scenes is drawn from; `TABLETOP` and `ROOM` are the defaults."""

    camera_height_m: Range
    """Height of the camera above the ground."""
    pitch_deg: Range
    """How far the camera looks down from the horizontal."""
    focal_share: Range
    """Focal length as a share of the image's side (1.0 sees 53 degrees)."""
    depth_m: Range
    """Distance of an object's centre along the camera's forward axis."""
    object_size_m: Range
    """Width of an object."""
    wall_ahead_m: Range
    """Horizontal distance from the camera to the wall behind."""

    @model_validator(mode="after")
    def _ranges_rise(self) -> Self:
        for field in type(self).model_fields:
            low, high = getattr(self, field)
            if not 0 < low <= high:
                raise ValueError(f"{field}=[{low}, {high}]: give 0 < low <= high")
        if self.pitch_deg[1] > 60:
            raise ValueError(f"pitch_deg goes to {self.pitch_deg[1]}: at most 60")
        return self


TABLETOP = FamilyConfig(
    camera_height_m=(0.45, 0.75),
    pitch_deg=(25.0, 40.0),
    focal_share=(0.95, 1.25),
    depth_m=(0.6, 1.6),
    object_size_m=(0.10, 0.24),
    wall_ahead_m=(2.0, 2.6),
)
ROOM = FamilyConfig(
    camera_height_m=(1.3, 1.8),
    pitch_deg=(14.0, 26.0),
    focal_share=(0.85, 1.15),
    depth_m=(1.5, 5.0),
    object_size_m=(0.35, 0.85),
    wall_ahead_m=(5.6, 6.6),
)


class SceneConfig(StrictModel):
    """How scenes are drawn, how many questions each gets, and of which kinds."""

    image_size_px: Annotated[int, Field(ge=32, le=1024)] = 128
    """Side of the square image."""
    families: Annotated[tuple[Family, ...], Field(min_length=1)] = ("tabletop", "room")
    """Families, which alternate from scene to scene; give one to build one domain only."""
    min_objects: Annotated[int, Field(ge=2, le=6)] = 2
    """Fewest solids in a scene."""
    max_objects: Annotated[int, Field(ge=2, le=6)] = 4
    """Most solids in a scene; every number in between is equally likely. Six is the number of colours."""
    min_visible_share: Annotated[float, Field(gt=0, le=1)] = 0.4
    """Smallest share of an object's pixels that others may leave visible."""
    min_visible_px: Annotated[int, Field(ge=1)] = 25
    """Fewest visible pixels of an object."""
    questions_per_scene: Annotated[int, Field(ge=1, le=20)] = 8
    """Questions about one scene, each of another kind on a path; fewer where the scene allows no more."""
    dtr_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the questions asked through DTR."""
    both_paths: bool = False
    """Ask every question about regions through LOR as well: same marks, same words, a chain for each path."""
    wrong_chain_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the reasoned chains that end in a wrong answer, to study a cold start on bad examples."""
    name_objects: bool = False
    """Record in each sample what is in view and where, for `learner.sft.pointer`."""
    store_depth: bool = False
    """Store the depth map of each image too, for `prompt.region_depth`."""
    lor_weights: dict[str, float] = Field(default_factory=lambda: dict.fromkeys(LOR_KINDS, 1.0))
    """Relative weight of each kind asked through LOR; a kind that is left out is not asked."""
    dtr_weights: dict[str, float] = Field(default_factory=lambda: dict.fromkeys(REGION_KINDS, 1.0))
    """Relative weight of each kind asked through DTR; a kind that is left out is not asked."""
    direct_per_scene: Annotated[int, Field(ge=0, le=40)] = 0
    """Questions about one scene that are answered at once, besides `questions_per_scene`; none is asked twice."""
    direct_weights: dict[str, float] = Field(default_factory=lambda: dict.fromkeys(DIRECT_KINDS, 1.0))
    """Relative weight of each kind answered at once; a kind that is left out is not asked."""
    marks: Annotated[tuple[Mark, ...], Field(min_length=most_subjects("brief"))] = ("red", "blue", "green", "yellow")
    """Marks of the regions, assigned at random, whatever the objects' own colours."""
    tabletop: FamilyConfig = TABLETOP
    """Ranges of the tabletop family."""
    room: FamilyConfig = ROOM
    """Ranges of the room family."""

    def family(self, family: Family) -> FamilyConfig:
        return self.tabletop if family == "tabletop" else self.room

    @field_validator("families", "marks")
    @classmethod
    def _no_doubles(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(values)) != len(values):
            raise ValueError(f"{list(values)} names one twice")
        return values

    @field_validator("lor_weights")
    @classmethod
    def _lor_kinds_exist(cls, weights: dict[str, float]) -> dict[str, float]:
        return _checked_weights(weights, LOR_KINDS)

    @field_validator("dtr_weights")
    @classmethod
    def _dtr_kinds_exist(cls, weights: dict[str, float]) -> dict[str, float]:
        return _checked_weights(weights, REGION_KINDS)

    @field_validator("direct_weights")
    @classmethod
    def _direct_kinds_exist(cls, weights: dict[str, float]) -> dict[str, float]:
        return _checked_weights(weights, DIRECT_KINDS)

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
        if self.min_objects > self.max_objects:
            raise ValueError(f"min_objects={self.min_objects} is more than max_objects={self.max_objects}")
        if self.dtr_share < 1 and not any(self.lor_weights.values()):
            raise ValueError("lor_weights are all 0: give one kind a weight, or set dtr_share=1")
        if self.dtr_share > 0 and not any(self.dtr_weights.values()):
            raise ValueError("dtr_weights are all 0: give one kind a weight, or set dtr_share=0")
        if self.direct_per_scene > 0 and not any(self.direct_weights.values()):
            raise ValueError("direct_weights are all 0: give one kind a weight, or set direct_per_scene=0")
        return self


def _checked_weights(weights: dict[str, float], known: tuple[str, ...]) -> dict[str, float]:
    for kind, weight in weights.items():
        if kind not in known:
            near = difflib.get_close_matches(kind, known, n=1, cutoff=0.0)[0]
            raise ValueError(f"unknown kind '{kind}': did you mean '{near}'? Known: {', '.join(known)}")
        if weight < 0:
            raise ValueError(f"weight of '{kind}' is {weight}: give 0 or more")
    return weights
