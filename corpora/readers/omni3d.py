"""Omni3D as grounding: the centre or 3D box of a marked region, the 2D box of a name. Layout: `corpora.builder.omni3d`.

Questions are answered directly (`ReasoningPath.DIRECT`), with the wording of the project's own scenes.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from corpora.builder.annotated import AnnotatedImage, AnnotatedObject
from corpora.builder.config import Omni3DSource
from corpora.builder.omni3d import Omni3DImages
from corpora.layouts.grounding import asking, box_question, center_question, mark_of
from corpora.rows import SampleOrReject, known_ids, samples_or_rejects
from spatial.dataset import Reject
from spatial.grammar import format_response
from spatial.images import ImageStore
from spatial.places import format_box_2d
from spatial.sample import Box2DAnswer, ReasoningPath, Region, SpatialSample

Kind = Literal["region_center", "region_box", "box_2d"]


class Omni3DReader(Omni3DSource):
    """A file of annotations, the questions about its objects, and the bounds of the objects."""

    reads: ClassVar[str] = "Omni3D's annotations, as grounding: region to centre, region to 3D box, name to 2D box"
    kinds: Annotated[tuple[Kind, ...], Field(min_length=1)] = ("region_center", "region_box", "box_2d")
    """The questions to ask; box_2d only about names that one object of the image has."""

    def read(self, images: ImageStore) -> Iterator[SampleOrReject]:
        """Samples image by image; `Reject.line` is the row's place in its array.

        The file is read once into a table on disk, so memory use does not depend on its size.

        Raises:
            FileNotFoundError: there is no such file.
        """
        lost: list[Reject] = []
        with closing(Omni3DImages(self, images, lost.append)) as source, known_ids() as is_new:
            yield from lost
            for index in range(len(source)):
                loaded = source.load(index)
                yield from loaded.rejects
                if loaded.image is not None:
                    yield from samples_or_rejects(self.file, index + 1, partial(_samples, self, loaded.image), is_new)


def _samples(config: Omni3DReader, image: AnnotatedImage) -> Iterator[SpatialSample]:
    names = Counter(found.name for found in image.objects)
    for number, found in enumerate(image.objects):
        for kind in config.kinds:
            # An object that was left out may have the same name.
            is_one_of_its_name = names[found.name] == 1 and not image.uncountable & {found.name, "*"}
            if kind != "box_2d" or is_one_of_its_name:
                yield _sample(image, number, found, kind)


def _sample(image: AnnotatedImage, number: int, found: AnnotatedObject, kind: Kind) -> SpatialSample:
    x, y, z = (round(value, 2) + 0.0 for value in found.center_m)
    region = Region(
        mark=mark_of(f"{image.key}/{number}"), box_xyxy_px=found.box_xyxy_px, name=found.name, center_m=(x, y, z)
    )
    match kind:
        case "region_center":
            question, answer, written = center_question(region.label, (x, y, z))
        case "region_box":
            question, answer, written = box_question(region.label, found.name, (x, y, z), found.size_m, found.yaw_deg)
        case "box_2d":
            box = _thousandths(image, found)
            question, answer, written = (
                asking("box_2d", found.name),
                Box2DAnswer(box_xyxy=box),
                format_box_2d(box),
            )
    return SpatialSample(
        sample_id=f"{image.key}/{number}/{kind}",
        domain=image.domain,
        kind=kind,
        paths=(ReasoningPath.DIRECT,),
        images=(image.image,),
        question=question,
        answer=answer,
        regions=() if kind == "box_2d" else (region,),
        camera=image.camera,
        chains={ReasoningPath.DIRECT: format_response(ReasoningPath.DIRECT, answer=written)},
    )


def _thousandths(image: AnnotatedImage, found: AnnotatedObject) -> tuple[int, int, int, int]:
    left, top, right, bottom = found.box_xyxy_px
    width, height = image.image.width_px, image.image.height_px
    return (
        round(1000 * left / width),
        round(1000 * top / height),
        round(1000 * right / width),
        round(1000 * bottom / height),
    )
