"""Small exams for tests: questions, and responses to them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from evaluation.benchmarks.question import Question
from evaluation.exam import Exam, HeldOut
from evaluation.report import Settings
from evaluation.responses import FailedResponse, Response, Responses
from spatial.images import ImageStore
from spatial.sample import Camera, ChoiceAnswer, ImageRef, ReasoningPath, Region, SpatialSample

SETTINGS = Settings(
    benchmark="held-out",
    folder=None,
    paths=(ReasoningPath.LOR,),
    num_samples=0,
    temperature=1.0,
    greedy=True,
    seed=0,
    max_response_tokens=64,
    limit=None,
    prompt={"instructions": "short"},
)
NO_IMAGE = ImageRef(sha256="0" * 64, width_px=64, height_px=48)


def stored_image(folder: Path) -> ImageRef:
    return ImageStore(folder).put(np.full((48, 64, 3), 90, np.uint8))


def make_question(name: str, task: str = "count", image: ImageRef = NO_IMAGE, text: str = "Which? A or B") -> Question:
    region = Region(mark="red", box_xyxy_px=(8.0, 8.0, 24.0, 24.0), name="cube", center_m=(0.0, 0.0, 2.0))
    sample = SpatialSample(
        sample_id=name,
        domain="test",
        kind=task,
        paths=(ReasoningPath.LOR, ReasoningPath.DTR),
        images=(image,),
        question=text,
        answer=ChoiceAnswer(letter="A", num_options=2),
        regions=(region,),
        camera=Camera(fx_px=60.0, fy_px=60.0, cx_px=32.0, cy_px=24.0),
    )
    return Question(sample, task)


def make_exam(*questions: Question) -> Exam:
    return Exam(HeldOut(), questions)


def answered(letters: Mapping[str, str | None], path: ReasoningPath = ReasoningPath.LOR) -> Responses[Response]:
    """One greedy response a question; None: it failed."""
    return Responses(
        num_questions={path: len(letters)},
        succeeded=tuple(
            Response(name, path, 0, True, f"<think>so</think><answer>{letter}</answer>")
            for name, letter in letters.items()
            if letter is not None
        ),
        failed=tuple(
            FailedResponse(name, path, "engine on fire") for name, letter in letters.items() if letter is None
        ),
        seconds=1.0,
    )
