"""SPAR-7M and SPAR-7M-RGBD: questions as in `corpora.layouts.marked`, JSON lines, in the folders of the data set::

    spar/scannet/qa_jsonl/train/depth_prediction_oo/fill/fill_76837.jsonl  by task and form (fill, select, judge, …)
    spar/scannet/images/scene0261_00/image_color/543.jpg                   "image": ["scene0261_00/image_color/543.jpg"]
                                     image_depth/543.png                   "depth": […]; 16 bits, millimetres
                                     intrinsic/intrinsic_color.txt         4 x 4; Structured3D: 350_1.txt, 3 x 3
                                     pose/543.txt                          not read

A single file, JSON lines or an array, can be read too, and so can the rows of SPAR-234K (`corpora.layouts.marked`).

A depth map shows the view of its image at a size of its own: each pixel of the image gets the nearest depth.

Rows do not give the unit of numbers: it is the one that the question asks for, otherwise the metre, and a count in
tasks that count. Questions have forms: `select` among options, `fill` in a number or words, `sentence`. A sentence is
read as the one quantity, or the yes or no, that it states. Answers of another dimension (volumes, areas) and other
sentences are rejects, because no reward can score them.
"""

import io
import os.path
import re
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar, Literal

from PIL import Image
from pydantic import Field

from corpora.formats.image_files import ImageImporter, inside
from corpora.formats.json_rows import json_rows
from corpora.geometry.cameras import Matrix, camera_of, put_depth
from corpora.layouts.marked import (
    TASK_UNITS,
    MarkedReader,
    MarkedRow,
    answer_of,
    check_named,
    num_questions,
    regions_of,
    unpacked,
)
from corpora.rows import Raw, RowError, SampleOrReject, checked, known_ids, samples_or_rejects, value_of
from spatial.images import ImageStore
from spatial.sample import Camera, DepthRef, ImageRef, ReasoningPath, SpatialSample

Form = Literal["select", "fill", "judge", "sentence"]
_FORMS: tuple[Form, ...] = ("select", "fill", "judge", "sentence")
_IN_NAME = re.compile(rf"({'|'.join(_FORMS)})(?:_\d+)?")
_MAX_MATRIX_BYTES = 4096
_Depths = Callable[[str, ImageRef], DepthRef]


class SparReader(MarkedReader):
    """Where the rows are."""

    type: Literal["spar"] = "spar"
    reads: ClassVar[str] = "SPAR-7M, SPAR-7M-RGBD, SPAR-234K"
    file: Path
    """A `.jsonl` file, a JSON array, or a folder of `.jsonl` files."""
    images: Path
    """The folder of scenes that image names are relative to (`spar/scannet/images`)."""
    forms: Annotated[tuple[Form, ...], Field(min_length=1)] = _FORMS
    """The forms of questions to read, by a row's `format_type`, or the name of its file or folder. Rows without a form
    are always read."""
    with_depth: bool = False
    """Also keep the depth maps of SPAR-7M-RGBD; cameras are kept wherever they exist."""

    def read(self, images: ImageStore) -> Iterator[SampleOrReject]:
        """A sample per question; `Reject.line` is the line.

        Raises:
            FileNotFoundError: there is no such file, or no `.jsonl` of these forms in the folder.
        """
        files = sorted(self.file.rglob("*.jsonl")) if self.file.is_dir() else [self.file]
        chosen = [file for file in files if _form_of(file) in ("", *self.forms)]
        if not files:
            raise FileNotFoundError(f"{self.file} holds no .jsonl file")
        if not chosen:
            raise FileNotFoundError(f"{self.file} holds no file of forms={','.join(self.forms)}")
        return _read(self, chosen, images)


class _Row(MarkedRow):
    depth: list[str] | str | None = None


class _Camera(Raw):
    matrix: Matrix


def _form_of(file: Path) -> str:
    """The form of a file's questions ("fill/fill_76837.jsonl"); empty: its name says none."""
    names = (file.parent.name, file.stem)
    return next((match[1] for name in names if (match := _IN_NAME.fullmatch(name))), "")


def _read(config: SparReader, files: list[Path], images: ImageStore) -> Iterator[SampleOrReject]:
    importer = ImageImporter(images, config.images, config.allow_outside)
    # Many rows ask about the same view, so depth maps are cached.
    depths = lru_cache(maxsize=10_000)(partial(_depth, config, images))
    with known_ids() as is_new:
        for file in files:
            for number, packed in json_rows(file):
                row = unpacked(packed)
                for place in range(num_questions(row)):
                    make = partial(_samples, config, file, number, row, place, importer, depths)
                    yield from samples_or_rejects(file, number, make, is_new)


def _samples(
    config: SparReader, file: Path, number: int, row: Any, place: int, importer: ImageImporter, depths: _Depths
) -> Iterator[SpatialSample]:
    """The sample of the row's question number `place`."""
    raw = _Row.model_validate(value_of(row))
    form = raw.format_type or _form_of(file)
    if form in _FORMS and form not in config.forms:
        return
    question, written = raw.question_and_answer(place)
    refs = tuple(importer.put(name, f"image.{index}") for index, name in enumerate(raw.image_names))
    regions = regions_of(raw, config, question, refs)
    check_named(raw, place, regions)
    domain = config.domain or "spar"
    turn = f"-{place + 1}" if place else ""
    yield SpatialSample(
        sample_id=f"{domain}/{number if raw.id is None else raw.id}/{raw.task}/{form}{turn}",
        domain=domain,
        kind=raw.task,
        paths=(ReasoningPath.LOR, ReasoningPath.DTR) if regions else (ReasoningPath.LOR,),
        images=refs,
        question=question,
        answer=answer_of(written, question, TASK_UNITS.get(raw.task, "m"), config),
        regions=regions,
        camera=_camera(config, raw.image_names[0], refs[0]),
        depths=_depths_of(raw, refs, depths) if config.with_depth else (),
    )


def _camera(config: SparReader, name: str, image: ImageRef) -> Camera | None:
    """The camera of the image `name`, from its scene's folder; None: it has none.

    Raises:
        RowError: the file is not a camera matrix, or belongs to an image of another size.
    """
    path = PurePosixPath(name)
    for stem in (path.stem, "intrinsic_color"):
        matrix_name = f"{path.parent.parent}/intrinsic/{stem}.txt"
        if not os.path.isfile(config.images / matrix_name):  # `Path.is_file` raises if a name is too long
            continue
        with inside(config.images, matrix_name, "intrinsic", config.allow_outside).open("rb") as content:
            text = content.read(_MAX_MATRIX_BYTES).decode(errors="replace")
        try:
            rows = [[float(value) for value in line.split()] for line in text.splitlines() if line.strip()]
        except ValueError as error:
            raise RowError("intrinsic", matrix_name, f"no matrix of numbers: {error}") from error
        camera = camera_of(checked(_Camera, {"matrix": rows}, "intrinsic").matrix, "intrinsic")
        if not (abs(camera.cx_px / image.width_px - 0.5) < 0.25 and abs(camera.cy_px / image.height_px - 0.5) < 0.25):
            middle = f"{camera.cx_px:g}, {camera.cy_px:g}"
            advice = f"is far from the middle of an image of {image.width_px}x{image.height_px} px; give its own camera"
            raise RowError("intrinsic", middle, advice)
        return camera
    return None


def _depths_of(raw: _Row, refs: tuple[ImageRef, ...], depths: _Depths) -> tuple[DepthRef, ...]:
    names = [raw.depth] if isinstance(raw.depth, str) else raw.depth or []
    if len(names) not in (0, len(refs)):
        raise RowError("depth", len(names), f"give a depth map for each of {len(refs)} images")
    return tuple(depths(name, ref) for name, ref in zip(names, refs, strict=False))


def _depth(config: SparReader, images: ImageStore, name: str, image: ImageRef) -> DepthRef:
    data = inside(config.images, name, "depth", config.allow_outside).read_bytes()
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "PPM")) as file:
            sensor = _filling(file.width, file.height)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise RowError("depth", name, f"no readable depth map: {error}") from error
    return put_depth(images, data, "depth", 0.001, sensor, (image, _filling(image.width_px, image.height_px)))


def _filling(width_px: int, height_px: int) -> Camera:
    """A camera with the same view at any size: its focal lengths are the image's sides."""
    return Camera(fx_px=width_px, fy_px=height_px, cx_px=width_px / 2, cy_px=height_px / 2)
