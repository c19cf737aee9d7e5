"""CA-1M captures: tars written here in the layout of the data set."""

import io
import json
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from corpora.readers import ca1m
from corpora.readers.ca1m import Ca1mReader
from spatial.dataset import Reject
from spatial.images import ImageStore
from spatial.sample import Box3DAnswer, PointAnswer, ReasoningPath, SpatialSample
from tests.corpora.fuzz import FEW, check_items, spoil

WIDTH_PX, HEIGHT_PX = 128, 96
K = [[100.0, 0.0, 64.0], [0.0, 100.0, 48.0], [0.0, 0.0, 1.0]]
HALF_K = [[50.0, 0.0, 32.0], [0.0, 50.0, 24.0], [0.0, 0.0, 1.0]]
Members = dict[str, Any]


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def turned(yaw_deg: float) -> list[list[float]]:
    """Columns are the axes of a box that stands in front of a level camera, its x axis turned to point away."""
    cos, sin = float(np.cos(np.radians(yaw_deg))), float(np.sin(np.radians(yaw_deg)))
    return [[cos, 0.0, -sin], [0.0, 1.0, 0.0], [sin, 0.0, cos]]


def an_instance(yaw_deg: float = 0.0, **changes: Any) -> dict[str, Any]:
    return {
        "id": "5f0c",
        "category": "office chair",
        "caption": "a chair",
        "position": [0.5, 0.5, 3.0],
        "scale": [0.8, 1.2, 0.4],
        "R": turned(yaw_deg),
        "corners": [],
        "box_2d_rend": [70.0, 45.0, 96.0, 87.0],
        "box_2d_proj": [67.0, 44.0, 96.0, 87.0],
        **changes,
    }


def a_frame(*instances: dict[str, Any], timestamp: int = 116505351959250, **changes: Any) -> Members:
    levels = np.full((HEIGHT_PX // 2, WIDTH_PX // 2), 1500, dtype=np.uint16)
    levels[0, 0] = 0
    parts = {
        "wide/image.png": png(np.full((HEIGHT_PX, WIDTH_PX, 3), timestamp % 200, dtype=np.uint8)),
        "_wide/image/size": b"[128, 96]",
        "wide/image/K.json": K,
        "wide/instances.json": list(instances),
        "wide/T_gravity.json": np.eye(3).tolist(),
        "gt/depth.png": png(levels),
        "gt/depth/K.json": HALF_K,
        "gt/RT.json": np.eye(4).tolist(),
        **changes,
    }
    return {f"42898570/{timestamp}.{part}": content for part, content in parts.items() if content is not None}


def a_tar(members: Iterable[tuple[str | tarfile.TarInfo, Any]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in members:
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = info.size or (len(data) if info.isfile() else 0)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def read_all(root: Path, content: bytes | Members, **settings: Any) -> tuple[list[SpatialSample], list[Reject]]:
    file = root / "ca1m-train-42898570.tar"
    file.write_bytes(content if isinstance(content, bytes) else a_tar(content.items()))
    found = check_items(Ca1mReader(file=file, **settings).read(ImageStore(root / "store")), root / "store")
    return [i for i in found if isinstance(i, SpatialSample)], [i for i in found if isinstance(i, Reject)]


def test_a_box_is_where_its_frame_says(tmp_path: Path) -> None:
    (center, box), rejects = read_all(tmp_path, a_frame(an_instance()))
    assert not rejects
    assert center.answer == PointAnswer(center_m=(0.5, 0.5, 3.0))
    assert box.answer == Box3DAnswer(center_m=(0.5, 0.5, 3.0), size_m=(0.8, 1.2, 0.4), yaw_deg=0.0)
    assert box.chains[ReasoningPath.DIRECT] == (
        '<answer><3d_box center="0.50,0.50,3.00" size="0.80,1.20,0.40" yaw="0.00">office chair</3d_box></answer>'
    )
    assert center.sample_id == "ca1m/42898570/116505351959250/5f0c/region_center"
    assert center.camera is not None
    assert (center.camera.fx_px, center.camera.cx_px, center.camera.cy_px) == (100.0, 64.0, 48.0)


@pytest.mark.parametrize(
    ("turn_deg", "size_m", "yaw_deg"),
    [(30.0, (0.8, 1.2, 0.4), 30.0), (-100.0, (0.4, 1.2, 0.8), -10.0), (180.0, (0.8, 1.2, 0.4), 0.0)],
)
def test_its_width_is_the_side_across_the_view(
    tmp_path: Path, turn_deg: float, size_m: tuple[float, ...], yaw_deg: float
) -> None:
    samples, _ = read_all(tmp_path, a_frame(an_instance(turn_deg)))
    assert isinstance(samples[1].answer, Box3DAnswer)
    assert samples[1].answer.size_m == pytest.approx(size_m)
    assert samples[1].answer.yaw_deg == pytest.approx(yaw_deg, abs=1e-9)


def test_its_region_is_the_rendered_box_or_else_the_projected_one(tmp_path: Path) -> None:
    instances = an_instance(), an_instance(id="hidden", box_2d_rend=None)
    samples, _ = read_all(tmp_path, a_frame(*instances), kinds=("region_center",))
    assert samples[0].regions[0].box_xyxy_px == (70.0, 45.0, 96.0, 87.0)
    assert samples[1].regions[0].box_xyxy_px == pytest.approx((67.125, 44.4286, 96.1429, 87.2857), abs=1e-3)


def test_the_projected_box_of_a_turned_box_holds_its_corners(tmp_path: Path) -> None:
    samples, _ = read_all(tmp_path, a_frame(an_instance(30.0, box_2d_rend=None)))
    # Its level corners (x, z): (0.746, 3.373), (0.946, 3.027), (0.254, 2.627), (0.054, 2.973).
    assert samples[0].regions[0].box_xyxy_px == pytest.approx((65.803, 44.193, 95.267, 89.876), abs=1e-2)


def test_depth_of_the_laser_scan_is_laid_over_the_image(tmp_path: Path) -> None:
    samples, _ = read_all(tmp_path, a_frame(an_instance()), with_depth=True)
    assert samples[0].depths[0] is not None
    depth_m = ImageStore(tmp_path / "store").open_depth(samples[0].depths[0])
    assert depth_m.shape == (HEIGHT_PX, WIDTH_PX)
    assert np.isnan(depth_m[:2, :2]).all()
    assert (depth_m[2:] == 1.5).all()


def test_frames_are_read_one_after_another_and_each_nth_is_taken(tmp_path: Path) -> None:
    frames = {k: v for n in range(5) for k, v in a_frame(an_instance(), timestamp=n).items()}
    frames["42898570/world.gt/instances.json"] = [{"no": "frame"}]
    samples, rejects = read_all(tmp_path, frames, every_nth=2)
    assert [sample.sample_id.split("/")[2] for sample in samples] == ["0", "0", "2", "2", "4", "4"]
    assert not rejects


def test_a_folder_of_captures_is_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name, timestamp in (("b", 2), ("a", 1)):
        (tmp_path / f"{name}.tar").write_bytes(a_tar(a_frame(an_instance(), timestamp=timestamp).items()))
    found = list(Ca1mReader(file=tmp_path).read(ImageStore(tmp_path / "store")))
    assert [i.sample_id.split("/")[2] for i in found if isinstance(i, SpatialSample)] == ["1", "1", "2", "2"]
    with pytest.raises(FileNotFoundError, match=r"no \.tar"):
        Ca1mReader(file=tmp_path / "store").read(ImageStore(tmp_path / "store"))


def links(name: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info


@pytest.mark.parametrize(
    "name",
    [
        "../../evil",
        "/tmp/sr-real-evil",
        "42898570/../../1.wide/image.png",
        "42898570/1\n.wide/image.png",
        links("42898570/1.wide/image.png", tarfile.SYMTYPE),
        links("42898570/1.wide/image.png", tarfile.LNKTYPE),
        links("42898570/1.wide/image.png", tarfile.FIFOTYPE),
    ],
)
def test_a_member_that_leads_out_or_links_is_a_reject_and_no_file_appears(
    tmp_path: Path, name: str | tarfile.TarInfo
) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    members = [(name, b"evil"), *a_frame(an_instance()).items()]
    samples, (reject,) = read_all(tmp_path / "a/b", a_tar(members))
    assert len(samples) == 2
    assert (reject.field, reject.line) == ("member", 1)
    files = {file for file in tmp_path.rglob("*") if file.is_file() and file.suffix != ".tar"}
    assert {file.relative_to(tmp_path / "a/b").parts[0] for file in files} == {"store"}
    assert not Path("/tmp/sr-real-evil").exists()


def test_a_member_that_is_too_large_is_a_reject_and_is_not_read(tmp_path: Path) -> None:
    large = bytes(ca1m.MAX_MEMBER_BYTES + 1)
    samples, rejects = read_all(tmp_path, a_frame(an_instance(), **{"wide/image.png": large}))
    assert not samples
    assert [(reject.field, reject.line) for reject in rejects] == [("member", 1), ("wide/image", 3)]


@pytest.mark.parametrize("lost_bytes", [1, 6000, 10240])
def test_a_tar_that_breaks_off_keeps_what_came_before_and_says_so(tmp_path: Path, lost_bytes: int) -> None:
    frames = {k: v for n in range(2) for k, v in a_frame(an_instance(), timestamp=n).items()}
    content = a_tar(frames.items()).rstrip(b"\0")
    samples, rejects = read_all(tmp_path, content[:-lost_bytes])
    assert len(samples) >= 2
    assert "breaks off" in rejects[-1].advice or "breaks off" in rejects[-2].advice


def test_a_tar_without_its_end_or_with_a_broken_header_says_so(tmp_path: Path) -> None:
    frames = {k: v for n in range(2) for k, v in a_frame(an_instance(), timestamp=n).items()}
    content = bytearray(a_tar(frames.items()).rstrip(b"\0"))
    content += bytes(-len(content) % tarfile.BLOCKSIZE)
    for whole in (content, content.replace(b"42898570/1.wide/image.png", b"42898570/2.wide/image.png")):
        samples, rejects = read_all(tmp_path, bytes(whole))
        assert len(samples) >= 2
        assert [reject.field for reject in rejects] == ["member"]
        assert "its last block is missing" in rejects[0].advice


@pytest.mark.parametrize(
    ("frame", "field"),
    [
        (a_frame(an_instance(position=[0.5, float("nan"), 3.0])), "wide/instances"),
        (a_frame(an_instance(scale=[0.8, 0.0, 0.4])), "wide/instances.0.scale.1"),
        (a_frame(an_instance(R=[[1.0, 0.0, 0.0]] * 3)), "wide/instances.0.R"),
        (a_frame(an_instance(box_2d_rend=[70.0, 45.0, 140.0, 87.0])), "wide/instances.0.box_2d_rend"),
        (a_frame(an_instance(box_2d_rend=[96.0, 45.0, 70.0, 87.0])), "wide/instances.0.box_2d_rend"),
        (a_frame(an_instance(category="<3d_box>")), "name"),
        (a_frame(an_instance(category="")), "name"),
        (a_frame("chair"), "wide/instances.0"),  # type: ignore[arg-type]
        (a_frame(an_instance(), **{"wide/image/K.json": None}), "wide/image/k"),
        (a_frame(an_instance(), **{"wide/image/K.json": [[0.0] * 3] * 3}), "wide/image/k"),
        (a_frame(an_instance(), **{"wide/image.png": b"\x89PNG"}), "wide/image"),
        (a_frame(an_instance(), **{"wide/instances.json": b"[{"}), "wide/instances"),
        (a_frame(an_instance(), **{"gt/depth.png": png(np.zeros((4, 4), np.uint8))}), "gt/depth"),
        (a_frame(an_instance(), **{"gt/depth.png": b"P5 9999999 9999999 65535\n"}), "gt/depth"),
    ],
)
def test_what_is_wrong_with_a_frame_is_one_named_reject(tmp_path: Path, frame: Members, field: str) -> None:
    samples, rejects = read_all(tmp_path, frame, with_depth=True)
    assert not samples
    assert [reject.field for reject in rejects] == [field]


def test_a_depth_map_that_is_too_large_is_not_decoded(tmp_path: Path) -> None:
    large = a_frame(an_instance(), **{"gt/depth.png": b"P5 9000 9000 65535\n"})
    _, (reject,) = read_all(tmp_path, large, with_depth=True)
    assert reject.advice == "more than 67108864 pixels"


def test_an_object_or_a_part_that_is_there_twice_is_read_once(tmp_path: Path) -> None:
    members = list(a_frame(an_instance(), an_instance()).items())
    samples, rejects = read_all(tmp_path, a_tar([*members, members[0]]))
    assert len(samples) == 2
    assert sorted(reject.field for reject in rejects) == ["member", "sample_id", "sample_id"]


@FEW
@given(data=st.data())
def test_whatever_stands_in_a_frame_it_is_samples_or_rejects(data: st.DataObject) -> None:
    frame = a_frame(an_instance(), an_instance(id=7, category="table", position=[-0.5, 0.2, 2.0], box_2d_rend=None))
    content: Members = {"42898570/1.wide/image.png": frame.pop("42898570/116505351959250.wide/image.png")}
    for name, value in frame.items():
        content[name.replace("116505351959250", "1")] = value
    spoilt = {k: v if isinstance(v, bytes) else json.dumps(v).encode() for k, v in spoil(content, data.draw).items()}
    with tempfile.TemporaryDirectory() as folder:
        read_all(Path(folder), spoilt, with_depth=data.draw(st.booleans()))


@FEW
@given(data=st.data())
def test_whatever_bytes_change_a_tar_is_samples_or_rejects(data: st.DataObject) -> None:
    content = bytearray(a_tar(a_frame(an_instance()).items()))
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with tempfile.TemporaryDirectory() as folder:
        found = read_all(Path(folder), bytes(content[: data.draw(st.integers(0, len(content)))]), with_depth=True)
        assert found[0] or found[1]
