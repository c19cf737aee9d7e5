"""CA-1M: captures of rooms with 3D boxes of all objects, in each frame's camera frame (+x right, +y down, +z forward).

A capture is one tar (`ca1m-train-42898570.tar`, a WebDataset) with the members of a frame next to each other; the data
set's own reader groups them by the name up to its first dot::

    42898570/116505351959250.wide/image.png        the picture, turned upright; PNG
    42898570/116505351959250.wide/image/K.json     its camera matrix, 3 × 3
    42898570/116505351959250.wide/instances.json   [{"id": "…", "category": "chair", "position": [x, y, z],
                                                     "scale": [dx, dy, dz], "R": 3 × 3, columns are the box's axes, the
                                                     second along gravity, "box_2d_rend": [left, top, right, bottom]}]
    42898570/116505351959250.gt/depth.png          depth of the laser scan, millimetres, 0 where unknown
    42898570/116505351959250.gt/depth/K.json       its camera matrix
    42898570/world.gt/instances.json               all boxes of the capture, not read

The tar is read as a stream. Only pictures and depth maps are written, into the image store, which names them by their
content. Names that lead out of the archive, links, and members that are too large are rejects. `tarfile` reads it
rather than `webdataset`, whose iterator loads members of any size, skips links silently, and does not report a
truncated archive.
"""

import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal

import orjson

from corpora.formats.image_files import put_image
from corpora.geometry.cameras import Matrix, Numbers, Sides, Triple, camera_of, put_depth, rotation_of, vector
from corpora.geometry.solids import Box, Solid
from corpora.layouts.grounding import CapturedImage, GroundingReader, SeenSolid, samples_about
from corpora.rows import IsNew, Raw, RowError, SampleOrReject, checked, known_ids, reject, samples_or_rejects
from spatial.images import ImageStore
from spatial.sample import ImageRef

MAX_MEMBER_BYTES = 64 * 2**20
"""A larger member is a reject; a frame's picture has about 2 MB."""
_MEMBER = re.compile(r"(?:\./)?(?P<frame>[^./]+/[^./]+)\.(?P<part>[^.]+)(?:\..*)?")
_IMAGE, _CAMERA, _INSTANCES = "wide/image", "wide/image/k", "wide/instances"
_DEPTH, _DEPTH_CAMERA = "gt/depth", "gt/depth/k"
_GRAVITY_AXIS = 1
_BORDER_PX = 1.0  # rendered boxes may extend beyond the image by this, depending on how ends are rounded


class Ca1mReader(GroundingReader):
    """One capture or a folder of captures."""

    type: Literal["ca1m"] = "ca1m"
    reads: ClassVar[str] = "CA-1M's tar shards, as grounding; nothing is unpacked"
    file: Path
    """A `.tar` file, or a folder of them."""

    def read(self, images: ImageStore) -> Iterator[SampleOrReject]:
        """Grounding samples, frame by frame; `Reject.line` counts the tar's members.

        Raises:
            FileNotFoundError: there is no such file, or no `.tar` in the folder.
        """
        tars = sorted(self.file.glob("*.tar")) if self.file.is_dir() else [self.file]
        if not tars:
            raise FileNotFoundError(f"{self.file} holds no .tar file")
        return _read_all(tars, self, images)


class _Camera(Raw):
    matrix: Matrix


class _Instances(Raw):
    rows: list[Any]


class _Instance(Raw):
    id: str | int
    category: str
    position: Triple
    scale: Sides
    R: Matrix
    box_2d_rend: Numbers | None = None


@dataclass
class _Frame:
    """The contents of one frame, by the part of a member's name that says what it is."""

    name: str
    number: int
    """Number of its first member."""
    parts: dict[str, bytes] = field(default_factory=dict)


def _read_all(tars: list[Path], config: Ca1mReader, images: ImageStore) -> Iterator[SampleOrReject]:
    with known_ids() as is_new:
        for tar in tars:
            yield from _read(tar, config, images, is_new)


def _read(tar: Path, config: Ca1mReader, images: ImageStore, is_new: IsNew) -> Iterator[SampleOrReject]:
    """The samples of one capture; those of a frame as soon as the next frame begins."""
    wanted = {_IMAGE, _CAMERA, _INSTANCES} | ({_DEPTH, _DEPTH_CAMERA} if config.with_depth else set())
    frame: _Frame | None = None
    num_frames = 0
    for number, name, content in _members(tar, wanted):
        if isinstance(content, RowError):
            yield reject(tar, number, content)
            continue
        key, part = name
        if frame is None or frame.name != key:
            if frame is not None and num_frames % config.every_nth == 0:
                yield from _ask_about(tar, config, images, frame, is_new)
            num_frames += frame is not None
            frame = _Frame(key, number)
        if part in frame.parts:
            yield reject(tar, number, RowError("member", f"{key}.{part}", "the frame has this part already"))
        else:
            frame.parts[part] = content
    if frame is not None and num_frames % config.every_nth == 0:
        yield from _ask_about(tar, config, images, frame, is_new)


def _members(tar: Path, wanted: set[str]) -> Iterator[tuple[int, tuple[str, str], bytes | RowError]]:
    """Numbered contents of the wanted members, each with its frame and part; errors are yielded."""
    number = 0
    nameless = ("", "")
    try:
        with tar.open("rb") as file, tarfile.open(fileobj=file, mode="r|") as stream:
            for number, member in enumerate(stream, start=1):
                stream.members = []  # type: ignore[attr-defined]  # otherwise it keeps all members, and a capture has many
                try:
                    name = _name(member)
                    if name is not None and name[1] in wanted:
                        yield number, name, _content(stream, member)
                except RowError as error:
                    yield number, nameless, error
            end = stream.offset
        with tar.open("rb") as file:
            file.seek(end)
            if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                yield (
                    number + 1,
                    nameless,
                    RowError("member", tar.name, "the file breaks off: its last block is missing"),
                )
    except (tarfile.TarError, EOFError, ValueError) as error:
        yield number + 1, nameless, RowError("member", tar.name, f"the file breaks off or is no tar: {error}")


def _name(member: tarfile.TarInfo) -> tuple[str, str] | None:
    """The frame of a member, and its part in lower case; None: it belongs to no frame.

    Raises:
        RowError: an archive of pictures should not contain such a member.
    """
    path = PurePosixPath(member.name)
    if not member.name.isprintable() or path.is_absolute() or ".." in path.parts:
        raise RowError("member", ascii(member.name), "leads out of the archive; it is not read")
    if not member.isfile() and not member.isdir():
        raise RowError("member", member.name, "a link or a device; it is not read")
    match = _MEMBER.fullmatch(member.name) if member.isfile() else None
    return None if match is None else (match["frame"], match["part"].lower())


def _content(stream: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if member.size > MAX_MEMBER_BYTES:
        raise RowError("member", member.name, f"{member.size} bytes, more than {MAX_MEMBER_BYTES}; it is not read")
    content = stream.extractfile(member)
    return b"" if content is None else content.read()


def _ask_about(
    tar: Path, config: Ca1mReader, images: ImageStore, frame: _Frame, is_new: IsNew
) -> Iterator[SampleOrReject]:
    """The samples of a frame; a fault in an object is one reject and costs only this object."""
    try:
        rows = checked(_Instances, {"rows": _json(frame, _INSTANCES)}, _INSTANCES).rows
        picture = _picture(config, images, frame)
    except RowError as error:
        yield reject(tar, frame.number, error)
        return
    for index, row in enumerate(rows):
        try:
            seen = _seen(row, f"{_INSTANCES}.{index}", picture.image)
        except RowError as error:
            yield reject(tar, frame.number, error)
        else:
            yield from samples_or_rejects(tar, frame.number, partial(samples_about, config, picture, seen), is_new)


def _picture(config: Ca1mReader, images: ImageStore, frame: _Frame) -> CapturedImage:
    camera = camera_of(_matrix(frame, _CAMERA), _CAMERA)
    image = put_image(images, _part(frame, _IMAGE), _IMAGE, frame.name)
    depth = None
    if config.with_depth:
        sensor = camera_of(_matrix(frame, _DEPTH_CAMERA), _DEPTH_CAMERA)
        depth = put_depth(images, _part(frame, _DEPTH), _DEPTH, 0.001, sensor, (image, camera))
    return CapturedImage(f"ca1m/{frame.name}", config.domain or "ca1m", image, camera, depth)


def _seen(row: Any, where: str, image: ImageRef) -> SeenSolid:
    raw = checked(_Instance, row, where)
    solid = Solid(vector(raw.position), vector(raw.scale), rotation_of(raw.R, f"{where}.R"))
    box = None if raw.box_2d_rend is None else _box(raw.box_2d_rend, f"{where}.box_2d_rend", image)
    return SeenSolid(f"{raw.id}", raw.category, solid, _GRAVITY_AXIS, box)


def _box(numbers: list[float], where: str, image: ImageRef) -> Box:
    """
    Raises:
        RowError: it is not a box within the image.
    """
    if len(numbers) != 4 or numbers[0] >= numbers[2] or numbers[1] >= numbers[3]:
        raise RowError(where, numbers, "give left, top, right and bottom")
    width, height = float(image.width_px), float(image.height_px)
    if min(numbers) < -_BORDER_PX or numbers[2] > width + _BORDER_PX or numbers[3] > height + _BORDER_PX:
        raise RowError(where, numbers, f"leaves its image of {image.width_px}x{image.height_px} px")
    left, top, right, bottom = numbers
    return max(0.0, left), max(0.0, top), min(width, right), min(height, bottom)


def _part(frame: _Frame, part: str) -> bytes:
    if part not in frame.parts:
        raise RowError(part, frame.name, "the frame has no such member; its members must follow each other")
    return frame.parts[part]


def _json(frame: _Frame, part: str) -> Any:
    try:
        return orjson.loads(_part(frame, part))
    except orjson.JSONDecodeError as error:
        raise RowError(part, frame.name, f"no JSON: {error}") from error


def _matrix(frame: _Frame, part: str) -> Matrix:
    """A 3 × 3 matrix, written as rows or as nine numbers in a row."""
    rows = _json(frame, part)
    if isinstance(rows, list) and len(rows) == 9:
        rows = [rows[0:3], rows[3:6], rows[6:9]]
    return checked(_Camera, {"matrix": rows}, part).matrix
