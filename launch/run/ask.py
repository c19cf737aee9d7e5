"""One question about a picture, from a terminal: what is asked, of which model, and how the answer is shown."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from pydantic import ValidationError
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from corpora.rows import counts_in_parts_of_one
from launch.settings.config import ConfigError
from launch.settings.model_paths import model_folder
from launch.show.from_above import draw_from_above
from rewards.center import distance_m
from spatial.grammar import ParsedResponse, parse_response
from spatial.image_files import as_rgb
from spatial.images import ImageStore
from spatial.sample import COLOURS, BadImageError, ReasoningPath, Region, SpatialSample, TextAnswer, check_shape
from vlm.regions import draw_marks

_REGION = re.compile(r"(?P<mark>[a-z]+|[1-9][0-9]?)(@(?P<image>\d+))?=(?P<box>[-\d.,]+)")
_TITLES = {ReasoningPath.LOR: "LOR", ReasoningPath.DTR: "DTR", ReasoningPath.DIRECT: "direct"}


def find_model(place: Path) -> Path:
    """The model in `place`: a model's folder, or a run's, whose newest model is taken.

    Raises:
        ConfigError: there is none.
    """
    for name in ("final_model", "cold_start_model"):
        if (place / name / "config.json").is_file():
            return place / name
    return model_folder(place, "--model")


def make_sample(images: Sequence[Path], question: str, regions: Sequence[str], store: ImageStore) -> SpatialSample:
    """A sample for a question that has no known answer; its images go into `store`, upright.

    Raises:
        ConfigError: an image, a region or the question cannot be used; it is named.
    """
    refs = []
    for file in images:
        try:
            with Image.open(file) as image:
                check_shape(*image.size)
                refs.append(store.put(np.asarray(as_rgb(image))))
        except (OSError, BadImageError, Image.DecompressionBombError) as error:
            raise ConfigError(f"{file}: cannot be read as an image: {error}") from None
    sizes = [(ref.width_px, ref.height_px) for ref in refs]
    marked = tuple(read_region(text, sizes) for text in regions)
    if len({region.mark for region in marked}) < len(marked):
        raise ConfigError(f"--region: a mark is used twice: {', '.join(regions)}")
    try:
        return SpatialSample(
            sample_id="asked",
            domain="asked",
            kind="asked",
            paths=tuple(ReasoningPath),
            images=tuple(refs),
            question=question,
            answer=TextAnswer(text="unknown"),
            regions=marked,
        )
    except ValidationError as error:
        fault = error.errors()[0]
        raise ConfigError(f"the question {question!r}: {fault['msg'].removeprefix('Value error, ')}") from None


def read_region(text: str, image_sizes_px: Sequence[tuple[int, int]]) -> Region:
    """A region as written on the command line: `red=120,80,300,260`, or `red@2=…` in the second image.

    Args:
        text: mark, and left, top, right, bottom in pixels of the upright image.
        image_sizes_px: width and height of each image.

    Raises:
        ConfigError: it cannot be read, or does not lie within its image.
    """
    found = _REGION.fullmatch(text.strip())
    example = "write red=LEFT,TOP,RIGHT,BOTTOM in pixels, such as red=120,80,300,260 (red@2=… in the second image)"
    if found is None:
        raise ConfigError(f"--region {text}: {example}")
    mark = found["mark"]
    if not mark.isdigit() and mark not in COLOURS:
        raise ConfigError(f"--region {text}: the mark must be a number or one of {', '.join(COLOURS)}")
    number = int(found["image"] or 1)
    if not 1 <= number <= len(image_sizes_px):
        raise ConfigError(f"--region {text}: there is no image {number}; {len(image_sizes_px)} given")
    try:
        left, top, right, bottom = map(float, found["box"].split(","))
    except ValueError:
        raise ConfigError(f"--region {text}: {example}") from None
    if counts_in_parts_of_one((left, top, right, bottom)):
        raise ConfigError(f"--region {text}: these are fractions of the image's sides, 0 to 1; give pixels")
    width, height = image_sizes_px[number - 1]
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise ConfigError(
            f"--region {text}: the box must have left < right and top < bottom and lie within the image, which is "
            f"{width} × {height} pixels"
        )
    return Region(mark=mark, image_index=number - 1, box_xyxy_px=(left, top, right, bottom))


def show_response(path: ReasoningPath, response: str, console: Console) -> ParsedResponse:
    """Print a response by its sections: detected centres as a table, the reasoning, the answer."""
    parsed = parse_response(path, response)
    title = _TITLES[path]
    if not parsed.well_formed:
        note = "[yellow]not in the path's format; as written:[/]"
        console.print(Panel.fit(note, title=title))
        console.print(response, markup=False, highlight=False)
        return parsed
    if parsed.boxes:
        table = Table(title=f"{title}: detected centres, camera frame (x right, y down, z forward), metres")
        for column in ("object", "x", "y", "z", "distance"):
            table.add_column(column, justify="left" if column == "object" else "right")
        for box in parsed.boxes:
            away_m = distance_m(box.center_m, (0.0, 0.0, 0.0))
            table.add_row(box.name, *(f"{value:.2f}" for value in (*box.center_m, away_m)))
        console.print(table)
    if parsed.think:
        console.print(f"{title} reasons: {parsed.think}", markup=False, highlight=False)
    console.print(f"[bold]{title} answers: [green]{parsed.answer}[/]", highlight=False)
    return parsed


def draw_answer(
    sample: SpatialSample, images: ImageStore, responses: Mapping[ReasoningPath, ParsedResponse], file: Path
) -> None:
    """Write a picture: the images with their regions, and the detected centres from above, the camera at the origin."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    boxes = [box for parsed in responses.values() for box in parsed.boxes]
    num_columns = len(sample.images) + bool(boxes)
    figure, (row,) = plt.subplots(1, num_columns, figsize=(6 * num_columns, 6), squeeze=False, layout="constrained")
    for index, (axes, ref) in enumerate(zip(row, sample.images, strict=False)):
        image = images.open(ref)
        axes.imshow(draw_marks(image, sample.regions_of(index), width_px=max(1, round(max(image.size) / 200))))
        axes.set_axis_off()
    if boxes:
        draw_from_above(row[-1], sample, boxes, "detected centres from above")
        for box in boxes:
            x, _, z = box.center_m
            away_m = distance_m(box.center_m, (0.0, 0.0, 0.0))
            row[-1].annotate(f" {box.name}\n {away_m:.2f} m", (x, z), fontsize=8)
        row[-1].margins(0.25)
    answers = "   ".join(f"{_TITLES[path]}: {parsed.answer}" for path, parsed in responses.items())
    # A dollar sign would begin a formula.
    figure.suptitle(f"{sample.question}\n{answers}".replace("$", r"\$"), fontsize=11, wrap=True)
    figure.savefig(file, dpi=110)
    plt.close(figure)


def fresh_name(wanted: Path) -> Path:
    """`wanted`, or with a number after it where that is taken: a picture of yesterday stays."""
    number, file = 2, wanted
    while file.exists():
        file = wanted.with_stem(f"{wanted.stem}-{number}")
        number += 1
    return file
