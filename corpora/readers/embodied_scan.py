"""EmbodiedScan: scans of rooms (ScanNet, 3RScan, Matterport3D) with boxes of nine degrees of freedom.

`embodiedscan_infos_{train,val}.pkl` is a pickle with this content::

    {"metainfo": {"categories": {"chair": 5, …}},
     "data_list": [{"sample_idx": "scannet/scene0000_00",
                    "axis_align_matrix": 4 × 4, from the scan's frame to one with z up,
                    "cam2img": 4 × 4, or one in each image; "depth_cam2img": of the depth maps, where they have another,
                    "images": [{"img_path": "scannet/posed_images/scene0000_00/00000.jpg",
                                "depth_path": "scannet/posed_images/scene0000_00/00000.png",
                                "cam2global": 4 × 4, from the camera to the scan's frame,
                                "visible_instance_ids": [0, 3]}],     places in `instances`
                    "instances": [{"bbox_3d": [x, y, z, dx, dy, dz, alpha, beta, gamma], in the frame with z up,
                                   "bbox_label_3d": 5, "bbox_id": 12}]}]}

A box's angles are in radians, about its own z, then x, then y axis: its rotation is Rz(alpha)·Rx(beta)·Ry(gamma).
Depth maps have 1000 levels per metre, those of Matterport3D 4000.
"""

import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from corpora.formats.image_files import ImageImporter, inside
from corpora.formats.unpickle import read_pickle
from corpora.geometry.cameras import Integers, Matrix, Numbers, camera_of, pose_of, put_depth
from corpora.geometry.solids import Solid, nearest_axis
from corpora.layouts.grounding import CapturedImage, GroundingReader, SeenSolid, samples_about
from corpora.rows import IsNew, Raw, RowError, SampleOrReject, checked, known_ids, reject, samples_or_rejects
from spatial.images import ImageStore

_METRES_PER_LEVEL = {"matterport3d": 1 / 4000}
_MAX_SIDE_M = 1000.0
_MAX_LEAN_DEG = 15.0  # of an axis that counts as vertical


class EmbodiedScanReader(GroundingReader):
    """A file of infos, and the folder of the scans that it describes."""

    type: Literal["embodied_scan"] = "embodied_scan"
    reads: ClassVar[str] = "EmbodiedScan's infos, as grounding; the pickle is read without running code that it names"
    file: Path
    """`embodiedscan_infos_*.pkl`; read whole, without running code that it names."""
    images: Path
    """The folder that `img_path` and `depth_path` start from (it holds `scannet`, `3rscan`, `matterport3d`)."""

    def read(self, images: ImageStore) -> Iterator[SampleOrReject]:
        """Grounding samples, scan by scan and image by image; `Reject.line` counts the scans.

        Raises:
            FileNotFoundError: there is no such file.
        """
        with known_ids() as is_new:
            yield from _read(self, images, is_new)


class _Meta(Raw):
    categories: dict[str, int]


class _Infos(Raw):
    metainfo: _Meta
    data_list: list[Any]


class _Scan(Raw):
    sample_idx: Annotated[str, Field(min_length=1)]
    axis_align_matrix: Matrix | None = None
    """None: the scan's frame already has z up, as in the data set's own loader."""
    cam2img: Matrix | None = None
    depth_cam2img: Matrix | None = None
    images: list[Any]
    instances: list[Any]


class _Image(Raw):
    img_path: str
    depth_path: str | None = None
    cam2global: Matrix
    cam2img: Matrix | None = None
    visible_instance_ids: Integers


class _Instance(Raw):
    bbox_3d: Annotated[Numbers, Field(min_length=9, max_length=9)]
    bbox_label_3d: int


@dataclass(frozen=True, eq=False)
class _Object:
    """A box of a scan, in the frame with z up."""

    name: str
    center_m: np.ndarray
    size_m: tuple[float, float, float]
    rotation: np.ndarray


def _read(config: EmbodiedScanReader, images: ImageStore, is_new: IsNew) -> Iterator[SampleOrReject]:
    importer = ImageImporter(images, config.images, config.allow_outside)
    try:
        infos = checked(_Infos, read_pickle(config.file), "")
    except pickle.UnpicklingError as error:
        yield reject(config.file, 1, RowError("file", config.file.name, str(error)))
        return
    except RowError as error:
        yield reject(config.file, 1, error)
        return
    names = {label: name for name, label in infos.metainfo.categories.items()}
    for number, row in enumerate(infos.data_list, start=1):
        try:
            scan = checked(_Scan, row, "")
            to_upright = (
                np.eye(4) if scan.axis_align_matrix is None else pose_of(scan.axis_align_matrix, "axis_align_matrix")
            )
        except RowError as error:
            yield reject(config.file, number, error)
            continue
        reader = _ScanReader(config, images, importer, number, scan, to_upright)
        yield from reader.read(names, is_new)


@dataclass(frozen=True, eq=False)
class _ScanReader:
    config: EmbodiedScanReader
    images: ImageStore
    importer: ImageImporter
    number: int
    scan: _Scan
    to_upright: np.ndarray
    """4 × 4, from the scan's frame to the one with z up."""

    def read(self, names: dict[int, str], is_new: IsNew) -> Iterator[SampleOrReject]:
        """The samples of a scan; a fault in an object or image is one reject and costs only this one."""
        objects: list[_Object | None] = []
        for index, row in enumerate(self.scan.instances):
            try:
                objects.append(_object(row, f"instances.{index}", names))
            except RowError as error:
                objects.append(None)
                yield reject(self.config.file, self.number, error)
        for index in range(0, len(self.scan.images), self.config.every_nth):
            field = f"images.{index}"
            try:
                raw = checked(_Image, self.scan.images[index], field)
                picture, to_camera = self._picture(raw, field)
            except RowError as error:
                yield reject(self.config.file, self.number, error)
                continue
            for place in dict.fromkeys(raw.visible_instance_ids):
                if not 0 <= place < len(objects):
                    advice = f"the scan has {len(objects)} instances, counted from 0"
                    yield reject(
                        self.config.file, self.number, RowError(f"{field}.visible_instance_ids", place, advice)
                    )
                elif found := objects[place]:
                    seen = _seen(f"{place}", found, to_camera)
                    make = partial(samples_about, self.config, picture, seen)
                    yield from samples_or_rejects(self.config.file, self.number, make, is_new)

    def _picture(self, raw: _Image, field: str) -> tuple[CapturedImage, np.ndarray]:
        """An image, and the transformation from the frame with z up to its camera frame (4 × 4)."""
        scan = self.scan
        matrix = raw.cam2img or scan.cam2img
        if matrix is None:
            raise RowError(f"{field}.cam2img", None, "give the scan or the image its camera matrix")
        camera = camera_of(matrix, f"{field}.cam2img")
        to_camera = np.linalg.inv(self.to_upright @ pose_of(raw.cam2global, f"{field}.cam2global"))
        source = scan.sample_idx.split("/")[0]
        image = self.importer.put(raw.img_path, f"{field}.img_path")
        depth = None
        if self.config.with_depth and raw.depth_path is not None:
            place = f"{field}.depth_path"
            data = inside(self.config.images, raw.depth_path, place, self.config.allow_outside).read_bytes()
            sensor = camera_of(scan.depth_cam2img, "depth_cam2img") if scan.depth_cam2img else camera
            depth = put_depth(self.images, data, place, _METRES_PER_LEVEL.get(source, 0.001), sensor, (image, camera))
        key = f"embodied_scan/{scan.sample_idx}/{Path(raw.img_path).stem}"
        return CapturedImage(key, self.config.domain or source, image, camera, depth), to_camera


def _object(row: Any, field: str, names: dict[int, str]) -> _Object:
    from scipy.spatial.transform import Rotation

    raw = checked(_Instance, row, field)
    if raw.bbox_label_3d not in names:
        raise RowError(f"{field}.bbox_label_3d", raw.bbox_label_3d, "metainfo.categories has no such label")
    center_m, (dx, dy, dz), angles_rad = raw.bbox_3d[:3], raw.bbox_3d[3:6], raw.bbox_3d[6:]
    if not 0 < min(dx, dy, dz) <= max(dx, dy, dz) <= _MAX_SIDE_M or max(map(abs, center_m)) > 1e4:
        raise RowError(f"{field}.bbox_3d", raw.bbox_3d, "give a centre and three sides in metres, none of them 0")
    # Capital letters mean intrinsic rotations: each about the axes that the one before has rotated.
    rotation = Rotation.from_euler("ZXY", angles_rad).as_matrix()
    return _Object(names[raw.bbox_label_3d], np.array(center_m), (dx, dy, dz), rotation)


def _seen(key: str, found: _Object, to_camera: np.ndarray) -> SeenSolid:
    turn, shift = to_camera[:3, :3], to_camera[:3, 3]
    x, y, z = (float(value) for value in turn @ found.center_m + shift)
    solid = Solid((x, y, z), found.size_m, turn @ found.rotation)
    axis, lean_deg = nearest_axis(solid, turn @ [0.0, 0.0, 1.0])
    return SeenSolid(key, found.name, solid, axis if lean_deg <= _MAX_LEAN_DEG else None)
