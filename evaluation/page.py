"""A report as one HTML page that needs nothing else: no script, no other file, no network.

Text from models and data sets is escaped, and the page's content security policy forbids scripts in any case.
"""

import base64
import hashlib
import io
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path

from PIL import Image

from evaluation.benchmarks.question import Question
from evaluation.exam import Exam
from evaluation.report import Report, ResponseRecord
from spatial.grammar import parse_response
from spatial.images import ImageStore
from spatial.sample import BadImageError, Camera, ReasoningPath, Region, SpatialSample
from spatial.whole_files import write_whole

_TEMPLATES = Path(__file__).parent / "templates"

MAX_EXAMPLES = 36
_MAX_IMAGES = 4
_MAX_CHARS = 6000
_THUMBNAIL_PX = 384
_MIN_SHOWN_PX = 288


@dataclass(frozen=True)
class Outline:
    """A region's polygon, in pixels of its image."""

    points: str
    colour: str
    label: str


@dataclass(frozen=True)
class Picture:
    """A thumbnail with what is drawn over it, in pixels of the whole image."""

    source: str
    """A data URL; empty: the image is not in the store."""
    width_px: int
    height_px: int
    outlines: tuple[Outline, ...]
    rings: tuple[tuple[float, float, str], ...]
    crosses: tuple[tuple[float, float], ...]

    @property
    def shown_px(self) -> int:
        """Width on the page; small images are enlarged."""
        return max(_MIN_SHOWN_PX, min(self.width_px, _THUMBNAIL_PX))

    @property
    def line_px(self) -> float:
        """Line width in pixels of the image, so that lines look the same on large and small images."""
        return round(2 * self.width_px / self.shown_px, 3)


@dataclass(frozen=True)
class Example:
    """A response next to its question."""

    record: ResponseRecord
    question: str
    response: str
    pictures: tuple[Picture, ...]
    num_more_images: int


def write_page(file: Path, report: Report, exam: Exam, images: ImageStore) -> None:
    """Write the page, atomically."""
    write_whole(file, render_page(report, exam, images))


def render_page(report: Report, exam: Exam, images: ImageStore) -> str:
    """Figures, tasks, comparisons, settings, and at most `MAX_EXAMPLES` responses."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    style = (_TEMPLATES / "page.css").read_text()
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    questions = {question.sample.sample_id: question for question in exam.questions}
    return environment.get_template("page.html.j2").render(
        report=report,
        policy=_policy(style),
        style=style,
        tasks=list(dict.fromkeys(n for each in report.figures for n in each.figures if n.startswith("task/"))),
        examples=[
            _example(record, questions[record.sample_id], images) for record in chosen_examples(report.responses)
        ],
        share=lambda value: f"{100 * value:.1f}",
        points=lambda value: f"{100 * value:+.1f}",
        probability=lambda value: "< 0.001" if value < 0.001 else f"{value:.3f}",
    )


def chosen_examples(records: Sequence[ResponseRecord]) -> list[ResponseRecord]:
    """Examples: one response per question (greedy if there is one), right and wrong ones of each task in turn, equally
    many for each path."""
    by_path: dict[ReasoningPath, dict[str, ResponseRecord]] = defaultdict(dict)
    for record in sorted(records, key=lambda o: (o.mode != "greedy", o.member)):
        by_path[record.path].setdefault(record.sample_id, record)
    chosen = []
    for of_path in (by_path[path] for path in ReasoningPath if path in by_path):
        piles: dict[tuple[str, bool], list[ResponseRecord]] = defaultdict(list)
        for record in of_path.values():
            piles[record.task, record.score >= 0.5].append(record)
        in_turn = chain.from_iterable(zip_longest(*(piles[key] for key in sorted(piles))))
        chosen += [each for each in in_turn if each is not None][: MAX_EXAMPLES // len(by_path)]
    return chosen


def _policy(style: str) -> str:
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def _example(record: ResponseRecord, question: Question, images: ImageStore) -> Example:
    sample = question.sample
    shown = range(min(_MAX_IMAGES, len(sample.images)))
    return Example(
        record=record,
        question=_shortened(sample.question),
        response=_shortened(record.response),
        pictures=tuple(_picture(sample, index, record, images) for index in shown),
        num_more_images=len(sample.images) - len(shown),
    )


def _shortened(text: str) -> str:
    left = len(text) - _MAX_CHARS
    return text if left <= 0 else f"{text[:_MAX_CHARS]}… and {left} more characters"


def _picture(sample: SpatialSample, index: int, record: ResponseRecord, images: ImageStore) -> Picture:
    image = sample.images[index]
    rings: tuple[tuple[float, float, str], ...] = ()
    crosses: tuple[tuple[float, float], ...] = ()
    # Centres are in the frame of the only camera that is known.
    if sample.camera is not None and len(sample.images) == 1:
        rings = tuple(_rings(sample.regions, sample.camera))
        boxes = parse_response(record.path, record.response).boxes
        pixels = (sample.camera.project(box.center_m) for box in boxes)
        crosses = tuple((round(pixel[0], 1), round(pixel[1], 1)) for pixel in pixels if pixel is not None)
    return Picture(
        source=_thumbnail(images, sample, index),
        width_px=image.width_px,
        height_px=image.height_px,
        outlines=tuple(map(_outline, sample.regions_of(index))),
        rings=rings,
        crosses=crosses,
    )


def _thumbnail(images: ImageStore, sample: SpatialSample, index: int) -> str:
    try:
        image = images.open(sample.images[index]).copy()
    except (FileNotFoundError, BadImageError):  # results may be shown where the images are no more
        return ""
    image.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX), Image.Resampling.LANCZOS)
    encoded = io.BytesIO()
    image.save(encoded, format="WEBP", quality=80)
    return f"data:image/webp;base64,{base64.b64encode(encoded.getvalue()).decode()}"


def _outline(region: Region) -> Outline:
    left, top, right, bottom = region.box_xyxy_px
    corners = region.polygon_px or ((left, top), (right, top), (right, bottom), (left, bottom))
    label = f"{region.label}: {region.name}" if region.name else region.label
    return Outline(" ".join(f"{x:g},{y:g}" for x, y in corners), region.colour, label)


def _rings(regions: Sequence[Region], camera: Camera) -> Iterator[tuple[float, float, str]]:
    for region in regions:
        pixel = None if region.center_m is None else camera.project(region.center_m)
        if pixel is not None:
            yield round(pixel[0], 1), round(pixel[1], 1), region.colour
