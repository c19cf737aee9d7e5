"""The project's own format (docs/data.md): JSONL with a `SpatialSample` per line, images in a store or as files.

An image of a row is either one of a store (`{"sha256", "width_px", "height_px"}`) or a file (`{"file": "img00.png"}`);
so is a depth map (`{"file": "depth00.png", "metres_per_level": 0.001}`). Sizes of files are read from them.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, ClassVar, Literal

from corpora.formats.image_files import ImageImporter, inside
from corpora.formats.json_rows import lines_of
from corpora.rows import Reader, RowError, SampleOrReject, known_ids, samples_or_rejects, value_of
from spatial.images import ImageStore
from spatial.sample import BadImageError, DepthRef, ImageRef, SpatialSample

_BY_FILE = '{"file": "img00.png"}'
_BY_HASH = '{"sha256": …, "width_px": …, "height_px": …}'
Stored = ImageRef | DepthRef


class NativeReader(Reader):
    """One file, and where its images are."""

    type: Literal["own"] = "own"
    reads: ClassVar[str] = "the format above, images by hash or by file"
    file: Path
    """JSONL with a sample per line (docs/data.md)."""
    images: Path | None = None
    """The folder of the image files that rows name, or an image store (`9f/9f86d0….png`). Default: the folder of
    `file`, and images/ in it as the store."""

    @property
    def store(self) -> Path:
        return self.images or self.file.parent / "images"

    def read(self, images: ImageStore, as_stored: bool = False) -> Iterator[SampleOrReject]:
        """The samples of a file; `Reject.line` is the line. Images are copied into `images` if that is another store.

        Every image is read once and compared with its name and its sample. An image with an EXIF orientation is stored
        upright, under another name.

        Args:
            as_stored: check the data as training would use it: every stored image is decoded, and an image with an EXIF
                orientation is a reject.

        Raises:
            FileNotFoundError: there is no such file.
        """
        source = _Source(self, images, as_stored)
        with known_ids() as is_new:
            for number, line in lines_of(self.file):
                yield from samples_or_rejects(self.file, number, partial(_samples, self, line, source), is_new)


def _samples(config: NativeReader, line: bytes | RowError, source: "_Source") -> Iterator[SpatialSample]:
    line = value_of(line)
    # Rows of an image store are the most and the longest; pydantic's own parser is faster for them.
    if (b'"file"' in line or b'"sha256"' not in line) and isinstance(row := _json(line), dict):
        line = json.dumps(source.with_files(row)).encode()
    sample = SpatialSample.model_validate_json(line)
    images = tuple(source.bring(image, f"images.{index}") for index, image in enumerate(sample.images))
    for index, depth in enumerate(sample.depths):
        if depth is not None:
            source.bring(depth, f"depths.{index}")
    if images != sample.images:
        sample = sample.replace(images=images)
    yield sample.replace(domain=config.domain) if config.domain else sample


def _json(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):  # pydantic says what is wrong, and where
        return None


class _Source:
    """The source of the rows' images, and the store that gets them; each image is read once."""

    def __init__(self, config: NativeReader, target: ImageStore, as_stored: bool) -> None:
        self._store, self._target, self._as_stored = ImageStore(config.store), target, as_stored
        self._folder = config.images or config.file.parent
        self._allow_outside = config.allow_outside
        self._files = ImageImporter(target, self._folder, config.allow_outside)
        self._from_files: set[str] = set()
        """Hashes of the current row's files, which are in the store already."""
        self._bring = lru_cache(maxsize=100_000)(self._copy)

    def with_files(self, row: dict[str, Any]) -> dict[str, Any]:
        """A row with its files put into the store and replaced by their hashes.

        Raises:
            RowError: a file is missing, is not an image, or has another size than the row says.
        """
        self._from_files.clear()
        images = [self._image(entry, f"images.{index}") for index, entry in enumerate(_listed(row, "images"))]
        depths = [self._depth(entry, f"depths.{index}") for index, entry in enumerate(_listed(row, "depths"))]
        return row | ({"images": images} if images else {}) | ({"depths": depths} if depths else {})

    def bring(self, ref: Stored, field: str) -> Stored:
        """Make sure that an image is in the store.

        Returns:
            Its reference there.

        Raises:
            RowError: it differs from what its name and the row say.
        """
        return ref if ref.sha256 in self._from_files else self._bring(ref, field)

    def _image(self, entry: Any, field: str) -> Any:
        if isinstance(entry, dict) and "sha256" in entry and "file" not in entry:
            return entry
        said = _file_entry(entry, field, ("width_px", "height_px"))
        ref = self._files.put(said["file"], f"{field}.file").model_dump()
        self._from_files.add(ref["sha256"])
        _check_said(said, ref, field, "Boxes and points count the pixels of the upright image, as viewers show it")
        return ref

    def _depth(self, entry: Any, field: str) -> Any:
        if entry is None or (isinstance(entry, dict) and "file" not in entry):
            return entry
        said = _file_entry(entry, field, ("width_px", "height_px", "metres_per_level", "is_relative"))
        name = said.pop("file")
        data = inside(self._folder, name, f"{field}.file", self._allow_outside).read_bytes()
        try:
            ref = self._target.put_depth_file(data).model_dump()
        except BadImageError as error:
            raise RowError(f"{field}.file", name, str(error)) from error
        self._from_files.add(ref["sha256"])
        _check_said({key: said[key] for key in ("width_px", "height_px") if key in said}, ref, field)
        return ref | said

    def _copy(self, ref: Stored, field: str) -> Stored:
        path, name = self._store.path(ref), f"{ref.sha256[:12]}…"
        if not path.is_file():
            advice = f"no such file; put {path} in place, or name the image's file instead: {_BY_FILE}"
            raise RowError(f"{field}.sha256", name, advice)
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != ref.sha256:
            raise RowError(f"{field}.sha256", name, f"the file {path} was altered or cut short: its hash differs")
        try:
            stored = self._target.put_encoded(data) if isinstance(ref, ImageRef) else self._target.put_depth_file(data)
        except BadImageError as error:
            raise RowError(f"{field}.sha256", name, str(error)) from error
        if stored.sha256 != ref.sha256 and self._as_stored:
            advice = "the stored image lies on its side (EXIF orientation); import its samples again with type=own"
            raise RowError(f"{field}.sha256", name, advice)
        # The size in the sample decides how boxes are checked and how many image tokens a prompt has.
        _check_said(ref.model_dump(include={"width_px", "height_px"}), stored.model_dump(), field)
        if self._as_stored:
            try:
                self._target.open(ref) if isinstance(ref, ImageRef) else self._target.open_depth(ref)
            except (BadImageError, OSError) as error:
                raise RowError(f"{field}.sha256", name, str(error)) from error
        return stored if isinstance(ref, ImageRef) else ref


def _listed(row: dict[str, Any], field: str) -> Iterable[Any]:
    found = row.get(field, [])
    if not isinstance(found, list):
        raise RowError(field, found, f"give a list, such as [{_BY_FILE}]")
    return found


def _file_entry(entry: Any, field: str, others: tuple[str, ...]) -> dict[str, Any]:
    """The entry, if it names a file and has only known keys."""
    if not isinstance(entry, dict) or not isinstance(entry.get("file"), str):
        raise RowError(field, entry, f"give {_BY_FILE}, or of an image store {_BY_HASH}")
    if unknown := [key for key in entry if key not in ("file", *others)]:
        raise RowError(f"{field}.{unknown[0]}", entry[unknown[0]], f"unknown beside a file; known: {', '.join(others)}")
    return dict(entry)


def _check_said(said: dict[str, Any], found: dict[str, Any], field: str, hint: str = "") -> None:
    """Raise a `RowError` if a row states another size than the image has."""
    for side in ("width_px", "height_px"):
        if side in said and said[side] != found[side]:
            size = f"{found['width_px']}x{found['height_px']} px"
            told = f"{said.get('width_px', '?')}x{said.get('height_px', '?')} px"
            advice = f"the image has {size}; say so, and correct its boxes" + (f". {hint}" if hint else "")
            raise RowError(f"{field}.{side}", told, advice)
