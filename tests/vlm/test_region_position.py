import math
from pathlib import Path

import numpy as np
import pytest

from spatial.images import ImageStore
from spatial.sample import Camera, DepthRef
from vlm.region_position import NUM_POSITION_FEATURES, back_project, position_features

CAMERA = Camera(fx_px=100.0, fy_px=50.0, cx_px=2.0, cy_px=1.0)


def test_a_pixel_is_back_projected_through_its_middle() -> None:
    points = back_project(np.full((2, 4), 2.0), CAMERA)
    # Pixel (row 0, column 3): x = (3.5 - 2) / 100 · 2, y = (0.5 - 1) / 50 · 2
    np.testing.assert_allclose(points[0, 3], [0.03, -0.02, 2.0])


def test_an_unknown_camera_looks_through_the_middle_with_the_longer_side_as_focal_length() -> None:
    points = back_project(np.full((2, 4), 2.0), None)
    np.testing.assert_allclose(points[1, 0], [(0.5 - 2) / 4 * 2, (1.5 - 1) / 4 * 2, 2.0])


def test_features_are_the_mean_code_of_the_known_pixels() -> None:
    points = np.full((1, 3, 3), np.nan)
    points[0, 0], points[0, 1] = (0.0, 0.0, 1.0), (0.0, 0.0, 3.0)
    features = position_features(points, np.array([[True, True, True]]))
    assert len(features) == NUM_POSITION_FEATURES
    assert features[:4] == (1.0, 0.0, 0.0, 2.0)
    # The first wavelength is 16 m: sin(2π/16) and sin(6π/16), on average.
    first_sine_of_z = features[4 + 2 * 6]
    assert first_sine_of_z == pytest.approx((math.sin(math.pi / 8) + math.sin(3 * math.pi / 8)) / 2)


def test_a_region_of_unknown_depth_has_no_features() -> None:
    points = np.full((2, 2, 3), np.nan)
    assert position_features(points, np.ones((2, 2), dtype=bool)) == (0.0,) * NUM_POSITION_FEATURES


def test_a_depth_map_survives_its_file_to_the_millimetre(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    depth_m = np.array([[0.5, 1.2344, np.inf], [np.nan, 65.535, 70.0]])
    found = store.open_depth(store.put_depth(depth_m))
    np.testing.assert_allclose(found, [[0.5, 1.234, np.nan], [np.nan, 65.535, np.nan]], atol=1e-9)


def test_a_depth_map_of_another_size_is_refused_by_name(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    ref = store.put_depth(np.ones((4, 4)))
    wrong = DepthRef(sha256=ref.sha256, width_px=5, height_px=4)
    with pytest.raises(ValueError, match=f"{ref.sha256}.png has 4x4 px, but its sample says 5x4"):
        store.open_depth(wrong)
