"""A step's figures on GPUs, held against numbers worked out by hand."""

import asyncio
from dataclasses import replace

import pytest

from actors.cluster.card_meter import CardSample, CardTrack
from actors.loop.card_metrics import GIB, CardWatch, StepFacts, card_metrics

H100 = "NVIDIA H100 80GB HBM3"
STEP = StepFacts(
    step_s=10.0,
    generate_s=4.0,
    update_s=5.0,
    num_trained_tokens=4000,
    num_generated_tokens=1600,
    update_flops=989e12,
    spans={"generate": [(0.0, 2.0), (2.5, 4.0)], "update": [(4.0, 9.0)], "push": [(9.0, 9.5)]},
)


def track(owner: str, card: str, *samples: tuple[float, float | None, int, int], peak: int | None = None) -> CardTrack:
    seen = tuple(CardSample(at_s, busy, used * GIB, own * GIB) for at_s, busy, used, own in samples)
    return CardTrack(owner, card, H100, 80 * GIB, seen, None if peak is None else peak * GIB)


LEARNER = track(
    "learner-0", "a", (1.0, 0.0, 30, 28), (5.0, 0.9, 62, 60), (8.0, 0.7, 60, 58), (9.2, 0.4, 66, 64), peak=55
)
ENGINE = track("rollout-0", "b", (1.0, 1.0, 70, 0), (3.0, 0.8, 72, 0), (5.0, 0.0, 71, 0))


def test_each_side_is_measured_by_its_own_cards_and_the_step_by_all() -> None:
    found = card_metrics([LEARNER, ENGINE], STEP, "bfloat16")
    assert found["gpu/kind"] == H100
    assert found["gpu/num_cards"] == 2
    assert found["gpu/tokens_per_s"] == 4000 / 10 / 2
    assert found["gpu/generate_tokens_per_s"] == 1600 / 4
    assert found["gpu/update_tokens_per_s"] == 4000 / 5
    assert (found["gpu/peak_tflops"], found["gpu/mfu"]) == (989, pytest.approx(1 / 5))


def test_time_at_work_is_given_by_card_and_by_phase() -> None:
    found = card_metrics([LEARNER, ENGINE], STEP, "bfloat16")
    assert found["gpu/busy/learner-0"] == pytest.approx(0.5)
    assert found["gpu/busy/rollout-0"] == pytest.approx(0.6)
    assert found["gpu/busy_mean"] == pytest.approx(0.55)
    assert found["gpu/busy_update"] == pytest.approx(0.8)
    assert found["gpu/busy_generate"] == pytest.approx(0.9)


def test_memory_is_given_by_side_and_phase_as_of_the_fullest_card() -> None:
    found = card_metrics([LEARNER, ENGINE], STEP, "bfloat16")
    memory = {name.removeprefix("gpu/memory/"): value for name, value in found.items() if "/memory/" in name}
    assert memory == {
        "learner_generate_gib": 28,
        "learner_update_gib": 60,
        "learner_push_gib": 64,
        "learner_tensors_gib": 55,
        "engine_generate_gib": 72,
        "engine_update_gib": 71,
        "fullest_share": 72 / 80,
    }


def test_on_a_shared_card_the_engine_has_what_the_learner_has_not() -> None:
    learner = track("learner-0", "a", (1.0, 1.0, 70, 20), (5.0, 0.9, 62, 60), peak=55)
    found = card_metrics([learner, track("rollout-0", "a", (1.0, 1.0, 70, 0), (5.0, 0.9, 62, 0))], STEP, "bfloat16")
    assert found["gpu/num_cards"] == 1
    assert found["gpu/tokens_per_s"] == 400
    # Asleep, the engine keeps 2 GiB.
    assert (found["gpu/memory/engine_generate_gib"], found["gpu/memory/engine_update_gib"]) == (50, 2)
    assert (found["gpu/memory/learner_generate_gib"], found["gpu/memory/learner_update_gib"]) == (20, 60)
    # It is one card, named once.
    assert [name for name in found if name.startswith("gpu/busy/")] == ["gpu/busy/learner-0"]


def test_what_is_not_known_is_left_out_and_not_guessed() -> None:
    assert card_metrics([], STEP, "bfloat16") == {}
    silent = track("learner-0", "a", (5.0, None, 62, 60), peak=55)
    found = card_metrics([silent], STEP, "bfloat16")
    assert not any("busy" in name or "engine" in name or "generate" in name for name in found)
    unknown = card_metrics([replace(LEARNER, kind="Radeon")], STEP, "bfloat16")
    assert "gpu/mfu" not in unknown
    assert card_metrics([replace(LEARNER, kind="Radeon")], STEP, "bfloat16", 100)["gpu/mfu"] == pytest.approx(1.978)
    assert "gpu/mfu" not in card_metrics([ENGINE], replace(STEP, update_flops=None), "bfloat16")


def test_without_a_driver_speed_and_mfu_are_told_all_the_same() -> None:
    found = card_metrics(
        [track("learner-0", "a", peak=55), replace(track("rollout-0", "a"), kind="")], STEP, "bfloat16"
    )
    assert (found["gpu/num_cards"], found["gpu/tokens_per_s"], found["gpu/mfu"]) == (1, 400, pytest.approx(1 / 5))
    assert found["gpu/memory/learner_tensors_gib"] == 55
    assert not any("busy" in name or "fullest" in name for name in found)


def test_float32_is_measured_against_the_peak_of_float32_matrices() -> None:
    assert card_metrics([LEARNER], STEP, "float32")["gpu/peak_tflops"] == 494


class Source:
    def __init__(self, *tracks: CardTrack) -> None:
        self._tracks = list(tracks)

    async def card_tracks(self) -> list[CardTrack]:
        return self._tracks


def test_a_watch_joins_all_who_can_tell() -> None:
    watch = CardWatch((Source(LEARNER), Source(ENGINE)), "bfloat16", peak_tflops=100)
    found = asyncio.run(watch.metrics(STEP))
    assert found == card_metrics([LEARNER, ENGINE], STEP, "bfloat16", 100)
