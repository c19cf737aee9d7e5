import numpy as np
import pytest

from spatial.sample import ImageRef, Region
from vlm.hub.region_inputs import coverage
from vlm.region_geometry import geometry

IMAGE = ImageRef(sha256="0" * 64, width_px=80, height_px=40)


def spread(region: Region, num_rows: int = 2, num_columns: int = 4) -> np.ndarray:
    return coverage(geometry(region, IMAGE), num_rows, num_columns).reshape(num_rows, num_columns)


def test_a_box_weighs_cells_by_the_area_it_covers() -> None:
    # Cells are 20 × 20 px. The box covers 10 × 20 of cell (0, 0), 20 × 20 of (0, 1), and half of that in row 1.
    weights = spread(Region(mark="red", box_xyxy_px=(10.0, 0.0, 40.0, 30.0)))
    expected = np.array([[200, 400, 0, 0], [100, 200, 0, 0]]) / 900
    np.testing.assert_allclose(weights, expected, atol=1e-6)


def test_a_box_within_one_cell_is_that_cell() -> None:
    weights = spread(Region(mark="red", box_xyxy_px=(61.0, 21.0, 62.0, 22.0)))
    assert weights[1, 3] == pytest.approx(1.0)


def test_a_mask_over_a_box_is_the_box() -> None:
    filled = np.zeros((40, 80), dtype=bool)
    filled[0:30, 10:40] = True
    flat = filled.flatten(order="F")
    bounds = [0, *(np.flatnonzero(np.diff(flat)) + 1), flat.size]
    counts = tuple(int(n) for n in np.diff(bounds))
    counts = (0, *counts) if flat[0] else counts
    box = Region(mark="red", box_xyxy_px=(10.0, 0.0, 40.0, 30.0))
    np.testing.assert_allclose(spread(box.replace(rle_counts=counts)), spread(box), atol=1e-6)


def test_a_polygon_counts_what_lies_inside() -> None:
    # The lower left half of the left 40 × 40 pixels.
    polygon = ((0.0, 0.0), (0.0, 40.0), (40.0, 40.0))
    weights = spread(Region(mark="red", box_xyxy_px=(0.0, 0.0, 40.0, 40.0), polygon_px=polygon))
    np.testing.assert_allclose(weights, [[0.25, 0, 0, 0], [0.5, 0.25, 0, 0]], atol=0.03)


def test_shares_sum_to_one_on_any_grid() -> None:
    region = Region(mark="red", box_xyxy_px=(3.3, 7.7, 71.9, 39.1))
    for rows, columns in ((1, 1), (3, 5), (40, 80), (7, 2)):
        assert spread(region, rows, columns).sum() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"polygon_px": ((0, 0), (90, 0), (0, 9))}, "outside box_xyxy_px"),
        ({"rle_counts": (3200,)}, "no area"),
        ({"rle_counts": (0, 5), "polygon_px": ((1, 1), (2, 1), (2, 2))}, "one of them"),
    ],
)
def test_a_shape_that_is_none_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Region(mark="red", box_xyxy_px=(0.0, 0.0, 40.0, 30.0)).replace(**changes)
