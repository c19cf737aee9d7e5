"""How many responses one core scores per second.

    python -m benchmarks.rewards

A learner that waits for scores wastes its accelerators, so the floor is well above what engines write: 10,000 responses
per second on one core. The mix is typical of the middle of a run: both paths, all types of answer, 100 to 200 words of
thinking, half of the answers right, and one response in eight malformed, endless or hostile.
The last line is JSON.
"""

import json
import random
import time
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from rewards.config import RewardConfig
from rewards.reward import score_response
from spatial.grammar import format_detect_block, format_response
from spatial.sample import (
    Answer,
    ChoiceAnswer,
    ImageRef,
    MotionAnswer,
    NumberAnswer,
    ReasoningPath,
    Region,
    SpatialSample,
    TextAnswer,
    Vector3,
)

FLOOR_PER_S = 10_000
NUM_RESPONSES = 2_000
NUM_ROUNDS = 7
THOUGHT = "the red point is nearer than the blue one because its centre lies at a depth of 2.03 m, the other at 3.40 m "

# The true answer, a right response and a wrong one.
ANSWERS: tuple[tuple[Answer, str, str], ...] = (
    (ChoiceAnswer(letter="A", num_options=4), "A", "C"),
    (NumberAnswer(value=1.2, unit="m"), "120 cm", "about 1.2"),
    (NumberAnswer(value=3.0, unit="count"), "3", "5"),
    (MotionAnswer(moves={"move_right": 0.4, "rotate_up": 5.0}), "move_right:0.4,rotate_up:5", "move_left:0.4"),
    (TextAnswer(text="red cube"), "Red cube", "blue cube"),
)

Case = tuple[str, ReasoningPath, SpatialSample]


def make_cases(num_cases: int, make_case: Callable[[random.Random], Case]) -> list[Case]:
    """The same cases every time."""
    rng = random.Random(0)
    return [make_case(rng) for _ in range(num_cases)]


def language_case(rng: random.Random) -> Case:
    """A well-formed response on the LOR path."""
    sample, answer = _sample_and_answer(rng)
    return format_response(ReasoningPath.LOR, think=_thinking(rng), answer=answer), ReasoningPath.LOR, sample


def detecting_case(rng: random.Random) -> Case:
    """A well-formed response on the DTR path; its centres are off by about 0.2 m."""
    sample, answer = _sample_and_answer(rng)
    centers = [_near(rng, region.center_m) for region in sample.regions if region.center_m is not None]
    block = format_detect_block(centers, [f"cube ({region.mark} point)" for region in sample.regions])
    return (
        format_response(ReasoningPath.DTR, think=_thinking(rng), answer=answer, detect=block),
        ReasoningPath.DTR,
        sample,
    )


def malformed_case(rng: random.Random) -> Case:
    """A response that is cut off, repeats itself, or repeats tags."""
    text, path, sample = detecting_case(rng)
    kind = rng.randrange(3)
    if kind == 0:
        return text[: rng.randrange(len(text))], path, sample
    if kind == 1:
        return text.replace("<think>", "<think>" + "and so on " * 600), path, sample
    return text + "<answer>" * 200, path, sample


def mixed_case(rng: random.Random) -> Case:
    """One response in eight is malformed; the rest are half LOR, half DTR."""
    if rng.random() < 1 / 8:
        return malformed_case(rng)
    return detecting_case(rng) if rng.random() < 0.5 else language_case(rng)


def responses_per_s(cases: list[Case]) -> float:
    """Responses that this process scores per second, in the best of a few rounds (the least disturbed one)."""
    config = RewardConfig()
    best_s = float("inf")
    for _ in range(NUM_ROUNDS):
        start = time.perf_counter()
        for text, path, sample in cases:
            score_response(text, path, sample, config)
        best_s = min(best_s, time.perf_counter() - start)
    return len(cases) / best_s


def main() -> None:
    """Measure each kind of response and the mix, and print them."""
    kinds = {
        "language-only": language_case,
        "detecting": detecting_case,
        "malformed": malformed_case,
        "mix": mixed_case,
    }
    table = Table("responses", "mean length (characters)", "scored per second", title="Scoring on one core")
    rates: dict[str, float] = {}
    for name, make_case in kinds.items():
        cases = make_cases(NUM_RESPONSES, make_case)
        rates[name] = responses_per_s(cases)
        mean_length = sum(len(text) for text, _, _ in cases) / len(cases)
        table.add_row(name, f"{mean_length:,.0f}", f"{rates[name]:,.0f}")
    Console().print(table)
    print(json.dumps({"responses_per_s": round(rates["mix"]), "ratio": round(rates["mix"] / FLOOR_PER_S, 2)}))


def _sample_and_answer(rng: random.Random) -> tuple[SpatialSample, str]:
    truth, right, wrong = rng.choice(ANSWERS)
    regions = tuple(
        Region(mark=mark, box_xyxy_px=(1.0, 1.0, 9.0, 9.0), name="cube", center_m=_near(rng, (0.0, 1.0, 3.0), 1.0))
        for mark in (("red", "blue") if rng.random() < 0.7 else ("red", "blue", "green", "yellow"))
    )
    sample = SpatialSample(
        sample_id="room-1",
        domain="room",
        kind="closer_to_camera",
        paths=(ReasoningPath.LOR, ReasoningPath.DTR),
        images=(ImageRef(sha256="0" * 64, width_px=64, height_px=64),),
        question="Which is closer to the camera?",
        answer=truth,
        regions=regions,
    )
    return sample, right if rng.random() < 0.5 else wrong


def _near(rng: random.Random, center_m: Vector3, spread_m: float = 0.15) -> Vector3:
    """A point around `center_m`, with a standard deviation of `spread_m` along each axis."""
    x, y, z = (rng.gauss(value, spread_m) for value in center_m)
    return x, y, z


def _thinking(rng: random.Random) -> str:
    return THOUGHT * rng.randint(4, 8)


if __name__ == "__main__":
    main()
