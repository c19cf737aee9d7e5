"""Annotated images from a file in the layout of Omni3D.

::

    {"images": [{"id", "width", "height", "file_path", "K": 3×3}, …],
     "annotations": [{"image_id", "category_name", "valid3D", "behind_camera", "truncation", "visibility",
                      "bbox2D_tight" | "bbox2D_trunc" | "bbox2D_proj": [left, top, right, bottom],
                      "center_cam": [x, y, z], "dimensions": [w, h, l], "R_cam": 3×3}, …]}

Metres, pixels, and the camera frame of `spatial.sample`; -1 says that a value is missing. In a box's own frame the
length lies along x, the height along y and the width along z (Omni3D, Brazil et al., CVPR 2023, and its DATA.md).

The annotations of an image may stand anywhere in the file, and the file may be larger than the memory: it is read once
into a temporary table on disk, from which images are taken by their index.
"""

import hashlib
import sqlite3
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import orjson
from pydantic import ValidationError

from corpora.builder.annotated import AnnotatedImage, AnnotatedObject, LoadedImage
from corpora.builder.config import Omni3DSource
from corpora.builder.report import RejectCounts
from corpora.formats.image_files import ImageImporter
from corpora.formats.json_rows import json_array
from corpora.geometry.solids import Solid, is_rotation, upright_extent
from corpora.rows import Raw, RowError, value_of
from spatial.dataset import Reject, shorten
from spatial.images import ImageStore
from spatial.questions.scene import EVERY_NAME
from spatial.sample import Camera

_Row = tuple[float, float, float]
_Box = tuple[float, float, float, float]


class _RawImage(Raw):
    id: int
    width: int
    height: int
    file_path: str
    K: tuple[_Row, _Row, _Row]


class _RawObject(Raw):
    category_name: str
    valid3D: bool = True  # noqa: N815 - the file's own name
    behind_camera: bool = False
    truncation: float = -1
    visibility: float = -1
    bbox2D_tight: _Box | None = None  # noqa: N815
    bbox2D_trunc: _Box | None = None  # noqa: N815
    bbox2D_proj: _Box | None = None  # noqa: N815
    center_cam: _Row
    dimensions: _Row
    R_cam: tuple[_Row, _Row, _Row]


class Omni3DImages:
    """The images of one file.

    Args:
        on_reject: called with each rejected row that belongs to no image; by default they are counted in `rejects`.

    Raises:
        FileNotFoundError: there is no such file.
    """

    def __init__(
        self, config: Omni3DSource, images: ImageStore, on_reject: Callable[[Reject], None] | None = None
    ) -> None:
        self._config = config
        self._importer = ImageImporter(images, config.images, config.allow_outside)
        self.rejects = RejectCounts()
        self._on_reject = on_reject or self.rejects.add
        with config.file.open("rb") as content:
            self.fingerprint = hashlib.file_digest(content, "sha256").hexdigest()
        self._folder = tempfile.TemporaryDirectory()
        self._rows = sqlite3.connect(Path(self._folder.name) / "rows")
        self._rows.executescript(
            """
            PRAGMA journal_mode=OFF;
            PRAGMA synchronous=OFF;
            CREATE TABLE images (position INTEGER PRIMARY KEY, number INTEGER, id TEXT UNIQUE, body BLOB);
            CREATE TABLE objects (number INTEGER, image_id TEXT, body BLOB);
            """
        )
        self._rows.executemany("INSERT INTO objects VALUES (?, ?, ?)", self._keyed("annotations", "image_id"))
        self._rows.execute("CREATE INDEX of_image ON objects (image_id, number)")
        for position, row in enumerate(self._keyed("images", "id")):
            try:
                self._rows.execute("INSERT INTO images VALUES (?, ?, ?, ?)", (position, *row))
            except sqlite3.IntegrityError:
                self._reject(row[0], RowError("images.id", row[1], "an earlier image has this id; keep one of them"))
        self._positions = [position for (position,) in self._rows.execute("SELECT position FROM images ORDER BY 1")]
        orphans = self._rows.execute(
            "SELECT number, image_id FROM objects WHERE image_id NOT IN (SELECT id FROM images) ORDER BY number"
        )
        for number, image_id in orphans:
            self._reject(number, RowError("annotations.image_id", image_id, "the file has no image with this id"))

    def __len__(self) -> int:
        return len(self._positions)

    def load(self, index: int) -> LoadedImage:
        """Image `index` in the order of the file, with its objects; bad ones are rejects."""
        number, key, body = self._rows.execute(
            "SELECT number, id, body FROM images WHERE position = ?", (self._positions[index],)
        ).fetchone()
        try:
            raw = _RawImage.model_validate_json(body)
            image = self._importer.put(raw.file_path, "images.file_path")
            if (image.width_px, image.height_px) != (raw.width, raw.height):
                advice = f"the file has {image.width_px}x{image.height_px} px, so K is not its camera; scale neither"
                raise RowError("images.width", f"{raw.width}x{raw.height}", advice)
            camera = Camera(fx_px=raw.K[0][0], fy_px=raw.K[1][1], cx_px=raw.K[0][2], cy_px=raw.K[1][2])
        except (RowError, ValidationError) as error:
            return LoadedImage(None, (self._named(number, error, "images"),))
        objects: list[AnnotatedObject] = []
        rejects: list[Reject] = []
        uncountable: set[str] = set()
        for row, content in self._rows.execute(
            "SELECT number, body FROM objects WHERE image_id = ? ORDER BY number", (key,)
        ):
            try:
                found = read_object(content, self._config)
                check_box(found, image.width_px, image.height_px, self._config.min_box_px)
                objects.append(found)
            except (RowError, ValidationError) as error:
                rejects.append(self._named(row, error, "annotations"))
                name = orjson.loads(content).get("category_name")
                # An object of unknown category may belong to any.
                uncountable |= {name} if isinstance(name, str) else EVERY_NAME
        annotated = AnnotatedImage(
            key=key,
            domain=self._config.domain,
            image=image,
            camera=camera,
            objects=tuple(objects),
            uncountable=frozenset(uncountable),
        )
        return LoadedImage(annotated, tuple(rejects))

    def close(self) -> None:
        """Remove the temporary table."""
        self._rows.close()
        self._folder.cleanup()

    def _keyed(self, array: str, key: str) -> Iterable[tuple[int, str, bytes]]:
        """Rows of an array of the file: number from 1, id of its image, and the row as JSON. Bad rows are rejected."""
        for number, found in json_array(self._config.file, f"{array}.item"):
            if isinstance(found, RowError) and array == "images":
                return  # the file breaks off, which was reported when its annotations were read
            try:
                row = value_of(found)
                if not isinstance(row, dict) or type(row.get(key)) is not int:
                    raise RowError(f"{array}.{key}", row, "give each row the id of its image, a whole number")
                yield number, str(row[key]), orjson.dumps(row)
            except RowError as error:
                self._reject(number, error)
            except orjson.JSONEncodeError as error:  # an integer of more than 64 bits
                self._reject(number, RowError(array, row, f"cannot be stored: {error}"))

    def _reject(self, number: int, error: RowError) -> None:
        self._on_reject(self._named(number, error, ""))

    def _named(self, number: int, error: RowError | ValidationError, array: str) -> Reject:
        if isinstance(error, RowError):
            return Reject(self._config.file, number, error.field, shorten(repr(error.value)), error.advice)
        reject = Reject.of(self._config.file, number, error)
        return Reject(reject.file, reject.line, f"{array}.{reject.field}", reject.value, reject.advice)


def read_object(content: bytes | str, config: Omni3DSource) -> AnnotatedObject:
    """One annotation, as JSON.

    Raises:
        RowError: the object cannot be asked about.
        ValidationError: a field is missing or of a wrong type.
    """
    raw = _RawObject.model_validate_json(content)
    if not raw.valid3D:
        raise RowError("annotations.valid3D", raw.valid3D, "its 3D box is not reliable")
    if raw.behind_camera or raw.center_cam[2] <= 0:
        raise RowError("annotations.behind_camera", raw.center_cam, "part of the object is behind the camera")
    if raw.center_cam[2] > config.max_depth_m:
        raise RowError("annotations.center_cam", raw.center_cam, f"farther than max_depth_m={config.max_depth_m}")
    if raw.truncation > config.max_truncation:
        raise RowError("annotations.truncation", raw.truncation, f"above max_truncation={config.max_truncation}")
    if 0 <= raw.visibility < config.min_visibility:
        raise RowError("annotations.visibility", raw.visibility, f"below min_visibility={config.min_visibility}")
    boxes = {"bbox2D_tight": raw.bbox2D_tight, "bbox2D_trunc": raw.bbox2D_trunc, "bbox2D_proj": raw.bbox2D_proj}
    box = next((box for box in boxes.values() if box is not None and box != (-1, -1, -1, -1)), None)
    if box is None:
        raise RowError("annotations.bbox2D", None, f"none of {', '.join(boxes)} is given")
    size_m, yaw_deg = _extent(raw, config.max_tilt_deg)
    return AnnotatedObject(
        name=raw.category_name, box_xyxy_px=box, center_m=raw.center_cam, size_m=size_m, yaw_deg=yaw_deg
    )


def check_box(found: AnnotatedObject, width_px: int, height_px: int, min_side_px: float) -> None:
    """
    Raises:
        RowError: the 2D box is too small or leaves the image.
    """
    left, top, right, bottom = found.box_xyxy_px
    if left < 0 or top < 0 or right > width_px or bottom > height_px:
        raise RowError("annotations.bbox2D", found.box_xyxy_px, f"leaves its image of {width_px}x{height_px} px")
    if min(right - left, bottom - top) < min_side_px:
        raise RowError("annotations.bbox2D", found.box_xyxy_px, f"a side is shorter than min_box_px={min_side_px}")


def _extent(raw: _RawObject, max_tilt_deg: float) -> tuple[_Row, float]:
    """Width, height and length as seen from the camera, and the yaw."""
    rotation = np.array(raw.R_cam)
    if not is_rotation(rotation):
        raise RowError("annotations.R_cam", raw.R_cam, "no rotation")
    width, height, length = raw.dimensions
    extent = upright_extent(Solid(raw.center_cam, (length, height, width), rotation), 1, max_tilt_deg)
    if extent is None:
        raise RowError("annotations.R_cam", raw.R_cam, f"leans by more than max_tilt_deg={max_tilt_deg}")
    return extent
