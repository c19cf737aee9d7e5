"""EmbodiedScan infos, hand-written in the layout of the data set: one scan, one picture, a camera in a known place."""

import copy
import os
import pickle
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from corpora.readers.embodied_scan import EmbodiedScanReader
from spatial.dataset import Reject
from spatial.images import ImageStore
from spatial.sample import Box3DAnswer, PointAnswer, ReasoningPath, SpatialSample
from tests.corpora.fuzz import FEW, check_items, spoil

WIDTH_PX, HEIGHT_PX = 128, 96
# The frame with z up is the scan's, turned by a quarter about z and moved.
ALIGN = np.array([[0.0, -1.0, 0.0, 3.0], [1.0, 0.0, 0.0, 0.5], [0.0, 0.0, 1.0, 0.1], [0.0, 0.0, 0.0, 1.0]])
# In the frame with z up: a camera at (1, 2, 1.5) that looks level along +y, so that its x is x and its y is -z.
CAMERA = np.array([[1.0, 0.0, 0.0, 1.0], [0.0, 0.0, 1.0, 2.0], [0.0, -1.0, 0.0, 1.5], [0.0, 0.0, 0.0, 1.0]])
K = np.array([[100.0, 0.0, 64.0, 0.0], [0.0, 100.0, 48.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])


def an_instance(*angles_rad: float, center: tuple[float, ...] = (1.5, 5.0, 1.0), **changes: Any) -> dict[str, Any]:
    box = [*center, 0.8, 0.4, 1.2, *(angles_rad or (0.0, 0.0, 0.0))]
    return {"bbox_3d": box, "bbox_label_3d": 5, "bbox_id": 12, **changes}


def infos(*instances: dict[str, Any], sample_idx: str = "scannet/scene0000_00", **image: Any) -> dict[str, Any]:
    scan = {
        "sample_idx": sample_idx,
        "axis_align_matrix": ALIGN,
        "cam2img": K,
        "images": [
            {
                "img_path": "scannet/posed_images/scene0000_00/00000.jpg",
                "depth_path": "scannet/posed_images/scene0000_00/00000.png",
                "cam2global": np.linalg.inv(ALIGN) @ CAMERA,
                "visible_instance_ids": list(range(len(instances))),
                **image,
            }
        ],
        "instances": list(instances),
    }
    return {"metainfo": {"categories": {"chair": 5, "wall": 7}, "dataset": "embodiedscan"}, "data_list": [scan]}


def write(root: Path, content: Any) -> EmbodiedScanReader:
    folder = root / "scannet/posed_images/scene0000_00"
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (WIDTH_PX, HEIGHT_PX), "grey").save(folder / "00000.jpg")
    levels = np.full((HEIGHT_PX // 2, WIDTH_PX // 2), 2000, dtype=np.uint16)
    levels[:, 0] = 500
    Image.fromarray(levels).save(folder / "00000.png")
    file = root / "embodiedscan_infos_val.pkl"
    file.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content))
    return EmbodiedScanReader(file=file, images=root)


def read_all(root: Path, content: Any, **settings: Any) -> tuple[list[SpatialSample], list[Reject]]:
    found = list(write(root, content).replace(**settings).read(ImageStore(root / "store")))
    return [i for i in found if isinstance(i, SpatialSample)], [i for i in found if isinstance(i, Reject)]


def test_a_box_in_the_room_is_where_the_camera_sees_it(tmp_path: Path) -> None:
    (center, box), rejects = read_all(tmp_path, infos(an_instance()))
    assert not rejects
    assert center.answer == PointAnswer(center_m=(0.5, 0.5, 3.0))
    assert center.chains == {ReasoningPath.DIRECT: "<answer>0.50,0.50,3.00</answer>"}
    assert isinstance(box.answer, Box3DAnswer)
    assert box.answer.center_m == (0.5, 0.5, 3.0)
    assert box.answer.size_m == pytest.approx((0.8, 1.2, 0.4))
    assert box.answer.yaw_deg == pytest.approx(0.0)
    assert box.chains[ReasoningPath.DIRECT] == (
        '<answer><3d_box center="0.50,0.50,3.00" size="0.80,1.20,0.40" yaw="0.00">chair</3d_box></answer>'
    )


def test_its_region_is_the_projected_box(tmp_path: Path) -> None:
    (center, _), _ = read_all(tmp_path, infos(an_instance()))
    # Corners at x 0.1 and 0.9, y -0.1 and 1.1, z 2.8 and 3.2.
    assert center.regions[0].box_xyxy_px == pytest.approx((67.125, 44.4286, 96.1429, 87.2857), abs=1e-3)
    assert center.regions[0].center_m == (0.5, 0.5, 3.0)
    assert center.regions[0].label in center.question
    assert (center.domain, center.kind, center.paths) == ("scannet", "region_center", (ReasoningPath.DIRECT,))
    assert center.camera is not None
    assert (center.camera.fx_px, center.camera.cx_px, center.camera.cy_px) == (100.0, 64.0, 48.0)


@pytest.mark.parametrize(
    ("angles_deg", "size_m", "yaw_deg"),
    [
        ((30, 0, 0), (0.8, 1.2, 0.4), 30.0),
        ((-30, 0, 0), (0.8, 1.2, 0.4), -30.0),
        ((210, 0, 0), (0.8, 1.2, 0.4), 30.0),
        # The other level side is the one across the view.
        ((120, 0, 0), (0.4, 1.2, 0.8), 30.0),
        # About z, then the box's own x: its x axis ends up ahead, its y axis up, its z axis to the right.
        ((90, 90, 0), (1.2, 0.4, 0.8), 0.0),
        # About z, then the box's own y: its x axis ends up below, its z axis ahead.
        ((90, 0, 90), (0.4, 0.8, 1.2), 0.0),
    ],
)
def test_its_angles_turn_it_about_z_then_x_then_y(
    tmp_path: Path, angles_deg: tuple[int, ...], size_m: tuple[float, ...], yaw_deg: float
) -> None:
    (_, box), _ = read_all(tmp_path, infos(an_instance(*np.radians(angles_deg).tolist())))
    assert isinstance(box.answer, Box3DAnswer)
    assert box.answer.size_m == pytest.approx(size_m)
    assert box.answer.yaw_deg == pytest.approx(yaw_deg, abs=1e-6)


def test_a_box_that_leans_is_asked_for_its_centre_alone(tmp_path: Path) -> None:
    samples, rejects = read_all(tmp_path, infos(an_instance(0.0, np.radians(20.0), 0.0)))
    assert [sample.kind for sample in samples] == ["region_center"]
    assert not rejects


@pytest.mark.parametrize("center", [(-0.9, 5.0, 1.0), (1.5, 2.0, 1.0), (1.5, -1.0, 1.0), (1.5, 40.0, 1.0)])
def test_what_is_not_well_in_view_is_not_asked_about(tmp_path: Path, center: tuple[float, ...]) -> None:
    samples, rejects = read_all(tmp_path, infos(an_instance(center=center), an_instance()))
    assert {sample.sample_id.split("/")[4] for sample in samples} == {"1"}
    assert not rejects


def test_what_is_too_far_is_not_asked_about(tmp_path: Path) -> None:
    assert read_all(tmp_path, infos(an_instance()), max_depth_m=2.9) == ([], [])


def test_the_true_centre_is_the_written_one(tmp_path: Path) -> None:
    (center, box), _ = read_all(tmp_path, infos(an_instance(center=(1.5041, 4.9962, 1.0049))))
    assert isinstance(box.answer, Box3DAnswer)
    assert center.answer == PointAnswer(center_m=(0.5, 0.5, 3.0))
    assert center.regions[0].center_m == box.answer.center_m == (0.5, 0.5, 3.0)


def test_nothing_is_asked_about_walls_or_what_others_hide(tmp_path: Path) -> None:
    content = infos(an_instance(bbox_label_3d=7), an_instance(), an_instance(), visible_instance_ids=np.array([0, 2]))
    samples, rejects = read_all(tmp_path, content)
    assert {sample.sample_id for sample in samples} == {
        f"embodied_scan/scannet/scene0000_00/00000/2/region_{kind}" for kind in ("center", "box")
    }
    assert not rejects


def test_each_images_own_camera_goes_before_the_scans(tmp_path: Path) -> None:
    samples, _ = read_all(tmp_path, infos(an_instance(), cam2img=K - np.diag([10.0, 10.0, 0.0, 0.0])))
    assert samples[0].camera is not None
    assert samples[0].camera.fx_px == 90.0


def test_a_smaller_depth_map_is_laid_over_the_image(tmp_path: Path) -> None:
    content = infos(an_instance())
    content["data_list"][0]["depth_cam2img"] = np.diag([0.5, 0.5, 1.0, 1.0]) @ K
    samples, _ = read_all(tmp_path, content, with_depth=True)
    assert samples[0].depths[0] is not None
    depth_m = ImageStore(tmp_path / "store").open_depth(samples[0].depths[0])
    assert depth_m.shape == (HEIGHT_PX, WIDTH_PX)
    assert (depth_m[:, :2] == 0.5).all()
    assert (depth_m[:, 2:] == 2.0).all()


def test_depth_of_matterport_has_4000_levels_a_metre(tmp_path: Path) -> None:
    content = infos(an_instance(), sample_idx="matterport3d/1mp3d/region0")
    samples, _ = read_all(tmp_path, content, with_depth=True)
    assert samples[0].depths[0] is not None
    # The same camera and half as many pixels: the lower right of the image lies outside.
    depth_m = ImageStore(tmp_path / "store").open_depth(samples[0].depths[0])
    assert depth_m[0, 1] == 0.5
    assert np.isnan(depth_m[:, 64:]).all()


@pytest.mark.parametrize(
    ("change", "field", "num_samples"),
    [
        (lambda scan: scan["instances"][0].update(bbox_label_3d=99), "instances.0.bbox_label_3d", 2),
        (lambda scan: scan["instances"][0]["bbox_3d"].__setitem__(0, float("nan")), "instances.0.bbox_3d.0", 2),
        (lambda scan: scan["instances"][0]["bbox_3d"].__setitem__(3, -0.8), "instances.0.bbox_3d", 2),
        (lambda scan: scan["instances"][0]["bbox_3d"].pop(), "instances.0.bbox_3d", 2),
        (lambda scan: scan["images"][0]["visible_instance_ids"].append(7), "images.0.visible_instance_ids", 4),
        (lambda scan: scan["images"][0].update(img_path="../secret.jpg"), "images.0.img_path", 0),
        (lambda scan: scan["images"][0].update(img_path="/etc/passwd"), "images.0.img_path", 0),
        (lambda scan: scan["images"][0].update(img_path="scannet/none.jpg"), "images.0.img_path", 0),
        (lambda scan: scan["images"][0].update(cam2global=2 * np.eye(4)), "images.0.cam2global", 0),
        (lambda scan: scan["images"][0].update(cam2global=np.full((4, 4), np.nan)), "images.0.cam2global.0.0", 0),
        (lambda scan: scan.update(cam2img=np.zeros((4, 4))), "images.0.cam2img", 0),
        (lambda scan: scan.pop("cam2img"), "images.0.cam2img", 0),
        (lambda scan: scan.update(axis_align_matrix=np.diag([1.0, 1.0, -1.0, 1.0])), "axis_align_matrix", 0),
        (lambda scan: scan.pop("sample_idx"), "sample_idx", 0),
    ],
)
def test_what_is_wrong_with_a_part_is_one_named_reject_and_costs_that_part(
    tmp_path: Path, change: Any, field: str, num_samples: int
) -> None:
    content = infos(an_instance(), an_instance(center=(0.8, 4.5, 1.4)))
    change(content["data_list"][0])
    samples, rejects = read_all(tmp_path, content)
    assert [reject.field for reject in rejects] == [field]
    assert len(samples) == num_samples


def test_a_scan_that_is_there_twice_is_read_once(tmp_path: Path) -> None:
    content = infos(an_instance())
    content["data_list"] *= 2
    samples, rejects = read_all(tmp_path, content)
    assert len(samples) == 2
    assert [reject.field for reject in rejects] == ["sample_id"] * 2


def test_each_nth_image_is_read(tmp_path: Path) -> None:
    content = infos(an_instance())
    scan = content["data_list"][0]
    scan["images"] = [scan["images"][0], *({"img_path": "never read"} for _ in range(2)), scan["images"][0]]
    samples, rejects = read_all(tmp_path, content, every_nth=3)
    assert len(samples) == 2
    assert [reject.field for reject in rejects] == ["sample_id"] * 2


class Evil:
    def __reduce__(self) -> Any:
        return os.mkdir, (f"{tempfile.gettempdir()}/sr-real-evil",)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (pickle.dumps({"metainfo": Evil()}), "posix.mkdir"),
        (b"cbuiltins\neval\n(S'1'\ntR.", "builtins.eval"),
        (pickle.dumps({"x": np.array([{}], dtype=object)}), "'O8'"),
        (b"cnumpy\nload\n(S'x'\ntR.", "numpy.load"),
        (b"P1\n.", "outside"),
        (pickle.dumps(infos(an_instance()))[:-9], "no whole pickle"),
        (b"", "no whole pickle"),
    ],
)
def test_a_pickle_that_names_code_or_breaks_off_is_a_named_reject(tmp_path: Path, content: bytes, named: str) -> None:
    samples, (reject,) = read_all(tmp_path, content)
    assert not samples
    assert (reject.field, reject.line) == ("file", 1)
    assert named in reject.advice
    assert not Path(f"{tempfile.gettempdir()}/sr-real-evil").exists()


def test_arrays_of_every_pickle_protocol_are_read(tmp_path: Path) -> None:
    expected, _ = read_all(tmp_path, infos(an_instance()))
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        samples, rejects = read_all(tmp_path, pickle.dumps(infos(an_instance()), protocol))
        assert samples == expected
        assert not rejects


def test_a_file_that_is_missing_stops_the_reader(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(EmbodiedScanReader(file=tmp_path / "none.pkl", images=tmp_path).read(ImageStore(tmp_path / "store")))


def as_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: as_lists(each) for key, each in value.items()}
    return (
        value.tolist()
        if isinstance(value, np.ndarray)
        else [*map(as_lists, value)]
        if isinstance(value, list)
        else value
    )


@FEW
@given(data=st.data())
def test_whatever_stands_in_the_infos_each_part_is_a_sample_or_a_reject(data: st.DataObject) -> None:
    content = spoil(as_lists(infos(an_instance(), an_instance(center=(0.8, 4.5, 1.4)))), data.draw)
    with tempfile.TemporaryDirectory() as folder:
        config = write(Path(folder), copy.deepcopy(content)).replace(with_depth=data.draw(st.booleans()))
        check_items(config.read(ImageStore(Path(folder) / "store")), Path(folder) / "store")


@FEW
@given(data=st.data())
def test_whatever_bytes_change_each_part_is_a_sample_or_a_reject(data: st.DataObject) -> None:
    content = bytearray(pickle.dumps(infos(an_instance()), data.draw(st.integers(0, 5))))
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with tempfile.TemporaryDirectory() as folder:
        config = write(Path(folder), bytes(content[: data.draw(st.integers(0, len(content)))]))
        check_items(config.read(ImageStore(Path(folder) / "store")), Path(folder) / "store", is_binary=True)
