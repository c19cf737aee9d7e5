"""3DSRBench (arXiv 2412.07825): height, location, orientation, and relations of several objects.

Each question is also asked about the mirrored image ("flip"), whose answer may differ, and each of these in several
orders of its options ("circular"). The id says which: "VIN6MS3J", "VIN6MS3J-1" (options rotated once),
"VIN6MS3J-flip", "VIN6MS3J-flip-1".
"""

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from pydantic import AliasChoices, Field

from corpora.rows import Raw, RowError
from evaluation.benchmarks.benchmark import Benchmark
from evaluation.benchmarks.choices import ASKED_THROUGH, choice, choice_question, rotations, shares, worst
from evaluation.benchmarks.question import Question, ScoredAnswer
from evaluation.benchmarks.tables import find_files, read_questions, rows_of, store_cell
from spatial.dataset import Reject
from spatial.images import ImageStore
from spatial.sample import SpatialSample

CIRCULAR = "3dsrbench_v1_vlmevalkit_circular.tsv"
PLAIN = "3dsrbench_v1_vlmevalkit.tsv"

TYPES = ("height", "location", "orientation", "multi_object")
"""The four types; a category begins with the name of its type ("multi_object_facing")."""

_ID = re.compile(r"(?P<item>.+?)(?P<flip>-flip)?(?:-(?P<order>[0-9]))?")


class _Row(Raw):
    qid: str = Field(validation_alias=AliasChoices("qid", "index"))
    question: str
    A: str
    B: str
    C: str = ""
    D: str = ""
    answer: str
    category: str
    image: str
    """Base64."""

    @property
    def options(self) -> list[str]:
        given = [option.strip() for option in (self.A, self.B, self.C, self.D)]
        return [option for option in given if option and option.lower() != "nan"]


class ThreeDsr(Benchmark):
    """Option exact. Per task and type, and as "overall", what the published script counts: "circular".

    "plain": the share of right answers, each order and flip by itself; "flip": a question and its flip right, order by
    order; "circular": right in all orders, a flip by itself; "flip_circular": all of these right.
    """

    name = "3dsr"
    title = "3DSRBench"
    layout = (
        f"give the folder that holds {CIRCULAR}, or {PLAIN}, whose options are then put in all orders here "
        "(data set ccvl/3DSRBench)"
    )
    data_set = "`ccvl/3DSRBench`, the TSV with orders, or the one without, whose orders are made here"
    figures = (
        "`circular`: right in all orders of the options, a flip by itself, as the published script counts; "
        "`plain`, `flip`, `flip_circular`"
    )

    def load(self, folder: Path, images: ImageStore) -> Iterator[Question | Reject]:
        for file in find_files(folder, (CIRCULAR, PLAIN), self.layout):
            make = partial(self._questions, images, folder, file.name == CIRCULAR)
            yield from read_questions(file, rows_of(file), make)

    def _questions(
        self, images: ImageStore, folder: Path, has_orders: bool, number: int, row: Any
    ) -> Iterator[Question]:
        raw = _Row.model_validate(row)
        options = raw.options
        if raw.answer not in ("A", "B", "C", "D")[: len(options)]:
            raise RowError("answer", raw.answer, f"it is none of the {len(options)} options")
        kind = next((kind for kind in TYPES if raw.category.startswith(f"{kind}_")), None)
        if kind is None:
            raise RowError("category", raw.category, f"it begins with none of {', '.join(TYPES)}")
        picture = store_cell(images, raw.image, "image", folder)
        right = options["ABCD".index(raw.answer)]
        for turn, ordered in enumerate([tuple(options)] if has_orders else rotations(options)):
            qid = f"{raw.qid}-{turn}" if turn else raw.qid
            match = _ID.fullmatch(qid)
            if match is None:
                raise RowError("qid", raw.qid, 'give one such as "VIN6MS3J-flip-1"')
            sample = SpatialSample(
                sample_id=f"{self.name}-{qid}",
                domain=self.name,
                kind=raw.category,
                paths=ASKED_THROUGH,
                images=(picture,),
                question=choice_question(raw.question, ordered),
                answer=choice(ordered, ordered.index(right)),
            )
            variant = " ".join(filter(None, ("flip" if match["flip"] else "", f"order {match['order'] or 0}")))
            yield Question(sample, task=raw.category, source=kind, item=match["item"], variant=variant)

    def summarise(self, scored: Sequence[ScoredAnswer]) -> dict[str, float]:
        if not scored:
            return {}
        circular = worst(scored, lambda each: f"{_item(each)} {_is_flip(each)}")
        return {
            **shares(circular),
            "plain": fmean(each.score for each in scored),
            "circular": fmean(each.score for each in circular),
            "flip": fmean(each.score for each in worst(scored, lambda each: f"{_item(each)} {_order(each)}")),
            "flip_circular": fmean(each.score for each in worst(scored, _item)),
        }


def _item(each: ScoredAnswer) -> str:
    return each.question.item


def _is_flip(each: ScoredAnswer) -> bool:
    return each.question.variant.startswith("flip")


def _order(each: ScoredAnswer) -> str:
    return each.question.variant.removeprefix("flip ")
