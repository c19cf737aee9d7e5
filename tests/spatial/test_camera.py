"""Where a camera sees a point."""

from spatial.sample import Camera


def test_a_point_appears_at_f_x_over_z_plus_c_and_nowhere_behind_the_camera() -> None:
    camera = Camera(fx_px=64.0, fy_px=32.0, cx_px=30.0, cy_px=20.0)
    assert camera.project((0.5, 0.25, 2.0)) == (46.0, 24.0)
    assert camera.project((0.5, 0.25, -2.0)) is None
    assert camera.project((0.5, 0.25, 0.0)) is None
