"""Validation questions, asked during training: their numbers, and that training takes no notice of them."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import pytest

from actors.config import SessionConfig
from actors.loop.validation import Validation, make_validation
from flow.score import Failure
from flow.trajectory import RolloutRequest, Trajectory
from launch.settings.config import ConfigError, load_config
from spatial.sample import ReasoningPath
from tests.actors.fakes import FakeRollouts, make_sample, make_trajectory
from tests.actors.loop.rig import Rig
from tests.evaluation.exams import make_exam, make_question

HELD_OUT = [make_sample(f"held-{number}") for number in range(5)]


def config(every: int, questions: int = 4) -> SessionConfig:
    return load_config("demo", [f"training.evaluate_every={every}", f"training.evaluate_questions={questions}"])


def answering(rollouts: FakeRollouts) -> Validation:
    """Asks the very engines of the training, as a session does, after each second version."""
    return make_validation(config(2), HELD_OUT, [], rollouts.generate, print)


def asking(ask: Callable[[], Awaitable[Mapping[str, float]]], said: list[str]) -> Callable[[FakeRollouts], Validation]:
    return lambda _: Validation(1, ask, said.append)


def of_training(step: Mapping[str, object]) -> dict[str, object]:
    """A step's numbers without those of time and of the validation questions."""
    timed = ("time/", "validation/", "rollout_tokens_per_s")
    return {name: value for name, value in step.items() if not name.startswith(timed)}


def texts(rig: Rig) -> list[list[str]]:
    """Of each batch, its responses, which the fakes make of their seeds."""
    return [[t.response_text for group in batch for t in group.trajectories] for batch in rig.learner.batches]


def test_training_is_the_same_with_and_without_validation_questions(tmp_path: Path) -> None:
    without = Rig(tmp_path / "without").run()
    rig = Rig(tmp_path / "with", validation=answering).run()
    assert any("validation/lor/accuracy" in step for step in rig.steps)
    assert [of_training(step) for step in rig.steps] == [of_training(step) for step in without.steps]
    assert (rig.trained(), texts(rig)) == (without.trained(), texts(without))
    assert rig.learner.saved == without.learner.saved
    assert all("validation/skipped" not in step for step in without.steps)


@pytest.mark.parametrize("bound", [1, 3])
def test_asynchronous_training_keeps_its_order_and_its_bound(tmp_path: Path, bound: int) -> None:
    without = Rig(tmp_path / "without", max_staleness=bound, num_steps=12).run()
    rig = Rig(tmp_path / "with", max_staleness=bound, num_steps=12, validation=answering).run()
    assert (rig.trained(), texts(rig)) == (without.trained(), texts(without))
    assert max(step["staleness_max"] for step in rig.steps) <= bound


def test_a_line_of_the_metrics_has_the_numbers_of_the_weights_that_its_step_began_with(tmp_path: Path) -> None:
    async def ask() -> dict[str, float]:
        return {"lor/accuracy": 0.25}

    rig = Rig(tmp_path, validation=lambda _: Validation(2, ask, print)).run()
    found = [(line["step"], line.get("validation/version")) for line in rig.folder.read_metrics()]
    assert found == [(1, 0), (2, None), (3, 2), (4, None), (5, 4), (6, None)]
    assert rig.steps[2]["validation/lor/accuracy"] == 0.25
    assert {line["validation/skipped"] for line in rig.folder.read_metrics()} == {0}


def test_an_evaluation_that_fails_is_said_and_counted_and_training_goes_on(tmp_path: Path) -> None:
    said: list[str] = []

    async def fail() -> dict[str, float]:
        raise ExceptionGroup("tasks", [ValueError("no such image")])

    rig = Rig(tmp_path, validation=asking(fail, said)).run()
    assert len(rig.learner.batches) == 6
    assert said[0] == "validation questions at version 0 are skipped: ValueError: no such image"
    assert [step["validation/skipped"] for step in rig.steps] == [1, 2, 3, 4, 5, 6]


def test_one_that_is_late_is_alone_and_training_neither_waits_for_it_nor_ends_with_it(tmp_path: Path) -> None:
    said: list[str] = []
    num_running = 0

    async def hang() -> dict[str, float]:
        nonlocal num_running
        num_running += 1
        assert num_running == 1
        await asyncio.sleep(1000)
        return {}

    rig = Rig(tmp_path, validation=asking(hang, said))
    asyncio.run(asyncio.wait_for(rig.trainer.run(), 5))
    assert len(rig.learner.batches) == 6
    assert said[0] == "validation questions at version 1 are skipped: that of version 0 is still under way"
    assert [step["validation/skipped"] for step in rig.steps] == [0, 1, 2, 3, 4, 5]


def test_questions_are_asked_greedily_the_first_of_each_trained_path_and_a_few_at_a_time() -> None:
    seen: list[RolloutRequest] = []

    async def answer(requests: Sequence[RolloutRequest]) -> list[Trajectory | Failure]:
        seen.extend(requests)
        letter = "A" if requests[0].sample.sample_id == "held-0" else "B"
        text = f"<think></think><answer>{letter}</answer>"
        return [make_trajectory(request, 7, text) for request in requests]

    numbers = asyncio.run(make_validation(config(1), HELD_OUT, [], answer, print)._ask())
    assert [(request.path, request.sample.sample_id) for request in seen] == [
        (path, f"held-{number}") for path in (ReasoningPath.LOR, ReasoningPath.DTR) for number in range(4)
    ]
    assert {request.temperature for request in seen} == {0.0}
    assert numbers == {
        "lor/accuracy": 0.25,
        "lor/format": 1.0,
        "lor/num_questions": 4,
        "dtr/accuracy": 0.25,
        "dtr/format": 0.0,
        "dtr/num_questions": 4,
        "failures": 0,
        "newest_version": 7,
    }


def test_a_question_that_failed_is_told_and_not_asked_again() -> None:
    said: list[str] = []
    asked: list[str] = []

    async def answer(requests: Sequence[RolloutRequest]) -> list[Trajectory | Failure]:
        asked.append(requests[0].sample.sample_id)
        if requests[0].sample.sample_id == "held-1":
            return [Failure("rollout", "the prompt is too long", 3)]
        return [make_trajectory(request, 0) for request in requests]

    validation = make_validation(config(1), HELD_OUT, [], answer, said.append)
    first, second = asyncio.run(validation._ask()), asyncio.run(validation._ask())
    assert asked.count("held-1") == 2  # once through each path
    assert said == [
        "2 validation questions could not be answered and are not asked again, such as held-1 through lor: "
        "the prompt is too long"
    ]
    assert (first["failures"], second["failures"], second["lor/num_questions"]) == (2, 2, 3)


def test_a_path_without_a_validation_question_is_told_when_training_begins() -> None:
    said: list[str] = []
    only_lor = [make_sample("held", paths=(ReasoningPath.LOR,))]
    make_validation(config(1), only_lor, [], FakeRollouts().generate, said.append)
    assert said == ["no validation question may be asked through path 'dtr': it has no validation curve"]


def test_a_benchmark_is_asked_after_the_validation_questions_and_marked_by_its_own_rule() -> None:
    right = {"q0": "A", "q1": "B", "q2": "A"}
    exam = make_exam(make_question("q0"), make_question("q1"), make_question("q2", task="depth"))
    said: list[str] = []

    async def answer(requests: Sequence[RolloutRequest]) -> list[Trajectory | Failure]:
        (request,) = requests
        if request.path is ReasoningPath.DTR and request.sample.sample_id == "q2":
            return [Failure("rollout", "the prompt is too long", 3)]
        text = f"<think>so</think><answer>{right.get(request.sample.sample_id, 'A')}</answer>"
        return [make_trajectory(request, 7, text)]

    validation = make_validation(config(1), HELD_OUT, [exam], answer, said.append)
    numbers = asyncio.run(validation._ask())
    assert numbers["held-out/lor/overall"] == pytest.approx(2 / 3)
    assert (numbers["held-out/lor/task/count"], numbers["held-out/lor/task/depth"]) == (0.5, 1.0)
    assert "held-out/dtr/task/depth" not in numbers
    assert (numbers["failures"], numbers["held-out/failures"]) == (0, 1)
    assert said == [
        "1 questions of Held-out questions could not be answered and are not asked again, such as q2 through dtr: "
        "the prompt is too long"
    ]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["training.benchmarks=[{name: cv, folder: a}]"], "which is 0: give it a number"),
        (
            ["training.evaluate_every=2", "training.benchmarks=[{name: cv, folder: a}, {name: cv, folder: b}]"],
            "each may be named once",
        ),
    ],
)
def test_benchmarks_that_would_never_be_asked_or_share_a_name_are_refused(settings: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load_config("demo", settings)
