"""Pictures show what the scene says: literal projections of single solids, and surface equations on whole scenes."""

import math

import numpy as np
import pytest

from spatial.scenes.config import SceneConfig
from spatial.scenes.layout import NoSceneError, draw_scene, scene_truth
from spatial.scenes.render import BACKGROUND, Render, render
from spatial.scenes.scene import Scene, Shape, Solid, View

# A camera 0.1 m above the ground that looks straight ahead: a solid 0.2 m high has its middle on the axis.
LEVEL = View(height_m=0.1, pitch_rad=0.0, focal_px=100.0, size_px=128)


def scene_of(*solids: Solid, view: View = LEVEL) -> Scene:
    return Scene("tabletop", view, solids, light=(0.0, 1.0, 0.0), wall_ahead_m=5.0, hue=0.5)


def solid(shape: Shape, right_m: float = 0.0, ahead_m: float = 1.0) -> Solid:
    return Solid(shape, "red", width_m=0.2, height_m=0.2, right_m=right_m, ahead_m=ahead_m)


@pytest.mark.parametrize(
    ("shape", "depth_m", "box"),
    [
        # Silhouette of the sphere: 100 * 0.1 / sqrt(1 - 0.01) = 10.05 px around the middle.
        ("sphere", 0.9, (54, 54, 74, 74)),
        # Front face at 0.9 m: 100 * 0.1 / 0.9 = 11.1 px around the middle.
        ("cube", 0.9, (53, 53, 75, 75)),
        # Sides as of the sphere; the front of the base at 0.9 m.
        ("cylinder", 0.9, (54, 53, 74, 75)),
    ],
)
def test_a_solid_is_where_and_as_large_as_it_projects(shape: Shape, depth_m: float, box: tuple[int, ...]) -> None:
    scene = scene_of(solid(shape))
    picture = render(scene)
    truth = scene_truth(scene, picture).objects[0]
    assert truth.center_m == pytest.approx((0.0, 0.0, 1.0))
    assert truth.center_px == pytest.approx((64.0, 64.0))
    assert truth.box_xyxy_px == box
    assert picture.depth_hw[64, 64] == pytest.approx(depth_m, abs=2e-3)


def test_a_cone_is_half_as_wide_in_its_middle() -> None:
    picture = render(scene_of(solid("cone")))
    assert picture.depth_hw[64, 64] == pytest.approx(0.95, abs=3e-3)
    # Half-way up its radius is 0.05 m, seen from 1 m away: 5.0 px to either side.
    columns = np.flatnonzero(picture.labels_hw[64] == 0)
    assert (columns.min(), columns.max()) == (59, 68)


def test_a_solid_to_the_right_is_right_and_a_lower_one_lower() -> None:
    view = View(height_m=0.5, pitch_rad=math.radians(30), focal_px=100.0, size_px=128)
    scene = scene_of(solid("sphere", right_m=0.2, ahead_m=0.7), view=view)
    truth = scene_truth(scene, render(scene)).objects[0]
    # Its middle is 0.4 m below the camera: y = 0.4 cos 30 - 0.7 sin 30, z = 0.4 sin 30 + 0.7 cos 30.
    assert truth.center_m == pytest.approx((0.2, -0.0036, 0.8062), abs=1e-4)
    assert truth.center_px == pytest.approx((88.81, 63.55), abs=0.01)


def test_the_ground_is_as_deep_as_the_camera_is_high_and_steep() -> None:
    view = View(height_m=0.5, pitch_rad=math.radians(30), focal_px=100.0, size_px=128)
    picture = render(scene_of(view=view))
    row_slope = (100.5 - 64) / 100
    assert picture.depth_hw[100, 3] == pytest.approx(0.5 / (math.cos(view.pitch_rad) * row_slope + 0.5), rel=1e-4)
    assert (picture.labels_hw == BACKGROUND).all()


def test_the_nearer_solid_hides_the_farther_whatever_their_order() -> None:
    near, far = solid("cube", ahead_m=1.0), solid("sphere", right_m=0.2, ahead_m=2.0)
    for solids in ((near, far), (far, near)):
        scene = scene_of(*solids)
        picture = render(scene)
        truths = {truth.shape: truth for truth in scene_truth(scene, picture).objects}
        assert truths["cube"].visible_share == 1.0
        assert 0.0 < truths["sphere"].visible_share < 0.6
        assert picture.labels_hw[64, 66] == solids.index(near)


def test_more_light_falls_on_the_side_that_faces_it() -> None:
    view = View(height_m=0.5, pitch_rad=math.radians(25), focal_px=100.0, size_px=128)
    upright = Solid("sphere", "red", 0.3, 0.3, right_m=0.0, ahead_m=0.8)
    from_left = Scene("tabletop", view, (upright,), light=(-0.8, 0.6, 0.0), wall_ahead_m=3.0, hue=0.5)
    truth = scene_truth(from_left, picture := render(from_left)).objects[0]
    row, column = int(truth.center_px[1]), int(truth.center_px[0])
    assert picture.image_hw3[row, column - 10].sum() > 1.3 * picture.image_hw3[row, column + 10].sum()


@pytest.fixture(scope="module")
def drawn() -> list[tuple[Scene, Render]]:
    config = SceneConfig()
    return [
        draw_scene(config, family, np.random.default_rng([seed, 5])) for seed in range(30) for family in config.families
    ]


def surface_error_m(scene: Scene, item: Solid, points_p3: np.ndarray) -> np.ndarray:
    """How far camera-frame points are from the surface of a solid, by its equation in its own frame, metres."""
    local = (points_p3 - np.array(item.center_m(scene.view))) @ np.array(item.axes(scene.view)).T
    radial, up = np.hypot(local[:, 0], local[:, 2]), local[:, 1]
    radius, half = item.width_m / 2, item.height_m / 2
    match item.shape:
        case "sphere":
            return np.abs(np.linalg.norm(local, axis=1) - radius)
        case "cube":
            return np.abs(np.abs(local).max(axis=1) - radius)
        case "cylinder":
            return np.abs(np.maximum(radial - radius, np.abs(up) - half))
        case "cone":
            return np.abs(radial - radius * (half - up) / (2 * half))


def test_every_labelled_pixel_lies_on_the_surface_of_its_solid(drawn: list[tuple[Scene, Render]]) -> None:
    seen = set()
    for scene, picture in drawn:
        for index, item in enumerate(scene.solids):
            rows, columns = np.nonzero(picture.labels_hw == index)
            z, view = picture.depth_hw[rows, columns].astype(float), scene.view
            middle = view.size_px / 2
            x, y = (columns + 0.5 - middle) / view.focal_px * z, (rows + 0.5 - middle) / view.focal_px * z
            assert surface_error_m(scene, item, np.stack([x, y, z], axis=1)).max() < 2e-3, item
            seen.add(item.shape)
    assert seen == {"sphere", "cube", "cylinder", "cone"}


def test_objects_are_whole_visible_apart_and_of_different_colours(drawn: list[tuple[Scene, Render]]) -> None:
    for scene, picture in drawn:
        low, high = SceneConfig().family(scene.family).depth_m
        truths = scene_truth(scene, picture).objects
        assert len({truth.name.split()[0] for truth in truths}) == len(truths)
        for truth in truths:
            assert low <= truth.center_m[2] <= high
            assert truth.visible_px >= 25
            assert 0.4 <= truth.visible_share <= 1.0
            assert min(truth.box_xyxy_px) >= 1
            assert max(truth.box_xyxy_px) <= 127
        for i, one in enumerate(scene.solids):
            for other in scene.solids[:i]:
                gap = math.hypot(one.right_m - other.right_m, one.ahead_m - other.ahead_m)
                assert gap > one.footprint_radius_m + other.footprint_radius_m


def test_boxes_are_tight(drawn: list[tuple[Scene, Render]]) -> None:
    for scene, picture in drawn:
        names = [item.name for item in scene.solids]
        for truth in scene_truth(scene, picture).objects:
            mask = picture.labels_hw == names.index(truth.name)
            left, top, right, bottom = (int(edge) for edge in truth.box_xyxy_px)
            inside = mask[top:bottom, left:right]
            assert inside.sum() == mask.sum() == truth.visible_px
            assert all(edge.any() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))


def test_all_numbers_of_objects_are_as_likely() -> None:
    config = SceneConfig()
    numbers = [len(draw_scene(config, "tabletop", np.random.default_rng([7, seed]))[0].solids) for seed in range(240)]
    # 80 each on average, with a standard deviation of 7.3.
    assert all(52 <= numbers.count(number) <= 108 for number in (2, 3, 4))


def test_ranges_without_room_say_what_to_lower() -> None:
    config = SceneConfig(min_visible_px=9000)
    with pytest.raises(NoSceneError, match="lower max_objects"):
        draw_scene(config, "room", np.random.default_rng(0))


def test_a_solid_that_cannot_be_seen_has_no_truth() -> None:
    scene = scene_of(solid("cube", ahead_m=1.0), solid("sphere", ahead_m=2.0))
    with pytest.raises(ValueError, match="the red sphere is hidden completely"):
        scene_truth(scene, render(scene))
