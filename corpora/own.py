"""The project's own JSONL (docs/data.md): a `SpatialSample` a line, its images in an image store."""

import hashlib
import io
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path as FilePath
from typing import Literal

from PIL import Image

from corpora.rows import Item, ReaderConfig, RowError, items, known_ids, lines_of, put_image, value_of
from spatial.images import SUFFIXES, ImageStore
from spatial.sample import DepthRef, ImageRef, SpatialSample


class OwnReader(ReaderConfig):
    """One file, and the store that its images are in."""

    type: Literal["own"] = "own"
    file: FilePath
    images: FilePath
    """An image store: `9f/9f86d0….png`."""


def read(config: OwnReader, images: ImageStore) -> Iterator[Item]:
    """The samples of a file, their images copied into `images` where that is another store; `Reject.line` is the line.

    Every image is read once: it must be what its name and its sample say.

    Raises:
        FileNotFoundError: there is no such file.
    """
    bring = lru_cache(maxsize=100_000)(partial(_bring, ImageStore(config.images), images))
    with known_ids() as is_new:
        for number, line in lines_of(config.file):
            yield from items(config.file, number, partial(_samples, config, line, bring), is_new)


def _samples(
    config: OwnReader, line: bytes | RowError, bring: Callable[[ImageRef | DepthRef, str], None]
) -> Iterator[SpatialSample]:
    sample = SpatialSample.model_validate_json(value_of(line))
    for index, image in enumerate(sample.images):
        bring(image, f"images.{index}")
    for index, depth in enumerate(sample.depths):
        if depth is not None:
            bring(depth, f"depths.{index}")
    yield sample.replace(domain=config.domain) if config.domain else sample


def _bring(source: ImageStore, target: ImageStore, ref: ImageRef | DepthRef, field: str) -> None:
    file, name = source.path(ref), f"{ref.sha256[:12]}…"
    if not file.is_file():
        raise RowError(f"{field}.sha256", name, f"no such file; put {file} in place")
    data = file.read_bytes()
    if hashlib.sha256(data).hexdigest() != ref.sha256:
        raise RowError(f"{field}.sha256", name, f"the file {file} was altered or cut short: its hash differs")
    if not target.path(ref).is_file():
        put_image(target, data, f"{field}.sha256", name)
    width_px, height_px = _size_px(data, f"{field}.sha256", name)
    # Boxes are checked against what the sample says, and a prompt has as many image tokens as follow from it.
    if (width_px, height_px) != (ref.width_px, ref.height_px):
        advice = f"the image has {width_px}x{height_px} px; say so, and mend its boxes"
        raise RowError(f"{field}.width_px", f"{ref.width_px}x{ref.height_px} px", advice)


def _size_px(data: bytes, field: str, name: str) -> tuple[int, int]:
    """Width and height, by the head of the file."""
    try:
        with Image.open(io.BytesIO(data), formats=tuple(SUFFIXES)) as image:
            return image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise RowError(field, name, f"no readable PNG, JPEG or WebP image: {error}") from error
