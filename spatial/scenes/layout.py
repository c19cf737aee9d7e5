"""Drawing a scene: camera, solids and light from the family's ranges, until every object is visible enough."""

import math

import numpy as np

from spatial.scenes.config import Family, FamilyConfig, SceneConfig
from spatial.scenes.render import Render, render
from spatial.scenes.scene import COLOURS, SHAPES, Colour, ObjectTruth, Scene, SceneTruth, Shape, Solid, View

_MAX_SCENES = 500
_MAX_PLACES = 40


class NoSceneError(RuntimeError):
    """The ranges of the config leave no room for a scene."""


def draw_scene(config: SceneConfig, family: Family, rng: np.random.Generator) -> tuple[Scene, Render]:
    """A scene of the family whose objects are all visible enough, and its picture.

    The number of objects is drawn once and kept through all attempts, so that every number is equally likely.

    Raises:
        NoSceneError: the ranges leave no room for that number of objects.
    """
    num_objects = int(rng.integers(config.min_objects, config.max_objects + 1))
    for _ in range(_MAX_SCENES):
        scene = _attempt(config, family, num_objects, rng)
        if scene is None:
            continue
        picture = render(scene)
        if _is_visible(config, picture):
            return scene, picture
    raise NoSceneError(
        f"{_MAX_SCENES} attempts at a {family} scene of {num_objects} objects failed: lower max_objects, "
        f"{family}.object_size_m, min_visible_share or min_visible_px"
    )


def scene_truth(scene: Scene, picture: Render) -> SceneTruth:
    """What is true of the scene and of its solids.

    Raises:
        ValueError: a solid is not visible.
    """
    truths = []
    for index, solid in enumerate(scene.solids):
        rows, columns = np.nonzero(picture.labels_hw == index)
        if not len(rows):
            raise ValueError(f"the {solid.name} is hidden completely: there is nothing to ask about it")
        center_m = solid.center_m(scene.view)
        truths.append(
            ObjectTruth(
                name=solid.name,
                shape=solid.shape,
                center_m=center_m,
                size_m=(solid.width_m, solid.height_m, solid.width_m),
                yaw_deg=math.degrees(solid.yaw_rad) if solid.shape == "cube" else 0.0,
                center_px=scene.view.project(center_m),
                box_xyxy_px=(
                    float(columns.min()),
                    float(rows.min()),
                    float(columns.max() + 1),
                    float(rows.max() + 1),
                ),
                visible_px=len(rows),
                visible_share=len(rows) / picture.unoccluded_px[index],
            )
        )
    objects = tuple(sorted(truths, key=lambda truth: truth.center_px[0]))
    return SceneTruth(objects, (scene.view.size_px, scene.view.size_px))


def _attempt(config: SceneConfig, family: Family, num_objects: int, rng: np.random.Generator) -> Scene | None:
    ranges = config.family(family)
    view = View(
        height_m=_uniform(rng, ranges.camera_height_m),
        pitch_rad=math.radians(_uniform(rng, ranges.pitch_deg)),
        focal_px=_uniform(rng, ranges.focal_share) * config.image_size_px,
        size_px=config.image_size_px,
    )
    solids: list[Solid] = []
    for index in rng.permutation(len(COLOURS))[:num_objects].tolist():
        for _ in range(_MAX_PLACES):
            solid = _draw_solid(COLOURS[index], ranges, view, rng)
            if solid is not None and _fits(solid, solids, ranges, view):
                solids.append(solid)
                break
        else:
            return None
    side = float(rng.choice((-1.0, 1.0))) * _uniform(rng, (0.35, 0.75))
    light = np.array([side, 1.0, -_uniform(rng, (0.25, 0.7))])  # from above, behind the camera
    right, up, ahead = (float(part) for part in light / np.linalg.norm(light))
    wall_ahead_m = _uniform(rng, ranges.wall_ahead_m)
    return Scene(family, view, tuple(solids), (right, up, ahead), wall_ahead_m, hue=float(rng.random()))


def _draw_solid(colour: Colour, ranges: FamilyConfig, view: View, rng: np.random.Generator) -> Solid | None:
    """A solid that stands on the ground seen at a random pixel, so that all parts of the picture are used."""
    shape: Shape = SHAPES[int(rng.integers(len(SHAPES)))]
    width_m = _uniform(rng, ranges.object_size_m)
    slender = _uniform(rng, (0.8, 1.6)) if shape in ("cylinder", "cone") else 1.0
    place = view.ground_at(*(rng.random(2) * view.size_px).tolist())
    if place is None:
        return None
    yaw_rad = float(rng.random()) * math.pi / 2
    return Solid(shape, colour, width_m, width_m * slender, *place, yaw_rad)


def _fits(solid: Solid, others: list[Solid], ranges: FamilyConfig, view: View) -> bool:
    """Whether it lies in the family's depth range and wholly in the picture, and touches no other solid."""
    if not ranges.depth_m[0] <= solid.center_m(view)[2] <= ranges.depth_m[1]:
        return False
    bounds = solid.bounds_px(view)
    if bounds is None or min(bounds) < 1 or max(bounds) > view.size_px - 1:
        return False
    return all(
        math.hypot(solid.right_m - other.right_m, solid.ahead_m - other.ahead_m)
        > 1.1 * (solid.footprint_radius_m + other.footprint_radius_m)
        for other in others
    )


def _is_visible(config: SceneConfig, picture: Render) -> bool:
    visible = np.bincount(picture.labels_hw.ravel() + 1, minlength=len(picture.unoccluded_px) + 1)[1:]
    return all(
        seen >= config.min_visible_px and seen >= config.min_visible_share * whole
        for seen, whole in zip(visible.tolist(), picture.unoccluded_px, strict=True)
    )


def _uniform(rng: np.random.Generator, span: tuple[float, float]) -> float:
    return float(rng.uniform(*span))
