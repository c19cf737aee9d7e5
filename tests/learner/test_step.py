"""Steps whose loss or gradient is not finite are skipped, in every stage and precision, up to a bound."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from learner.batch import Collator
from learner.config import DeepSpeedConfig, LearnerConfig
from learner.engine import LearnerEngine
from learner.metrics import TokenMeans
from learner.objective import sft_objective
from learner.plan import MicroPlan
from learner.step import NonFiniteError
from tests.learner.conftest import StartEngine, ToyWorld
from tests.learner.poison import Where, poisoned
from tests.learner.test_engine import assert_same_weights, weights_of
from tests.learner.toy import free_port, make_config, num_optimizer_steps, sft_rows, training_rows

pytestmark = pytest.mark.stack
LAYOUTS = [(0, "float32"), (1, "float32"), (2, "float32"), (3, "float32")] + [(n, "bfloat16") for n in (1, 2, 3)]


def laid_out(zero_stage: int, dtype: str = "float32", **changes: object) -> LearnerConfig:
    deepspeed = DeepSpeedConfig(zero_stage=zero_stage, micro_batch_rows=3, dtype=dtype)  # type: ignore[arg-type]
    return make_config(zero_stage, **changes).replace(deepspeed=deepspeed)


@pytest.mark.parametrize("where", ["gradient", "loss"])
@pytest.mark.parametrize(("zero_stage", "dtype"), LAYOUTS)
def test_a_step_that_is_not_finite_is_skipped_counted_and_reported(
    world: ToyWorld, start_engine: StartEngine, zero_stage: int, dtype: str, where: Where
) -> None:
    engine = start_engine(laid_out(zero_stage, dtype))
    chains = sft_rows(world.samples, world.encoder)
    first = engine.sft_step(chains)
    before = weights_of(engine)
    with poisoned(engine.vlm, where):
        spoilt = engine.sft_step(chains)
    assert_same_weights(weights_of(engine), before, atol=0)
    assert (first["nonfinite_steps"], spoilt["nonfinite_steps"]) == (0, 1)
    assert not {"loss", "grad_norm", "nll"} & set(spoilt)
    assert all(map(math.isfinite, spoilt.values()))
    (warning,) = engine.take_warnings()
    assert f"optimiser step 2 was skipped, and the weights are as before: the {where} is not finite" in warning
    assert "sample-" in warning
    assert engine.take_warnings() == []
    # The next one is made as if nothing had been, with the same moments.
    again = engine.sft_step(chains)
    assert again["nonfinite_steps"] == 0
    assert again["loss"] < first["loss"]
    assert num_optimizer_steps(engine) == 2
    assert all(tensor.isfinite().all() for tensor in weights_of(engine).values())


@pytest.mark.parametrize("zero_stage", [0, 2])
def test_a_step_of_infinite_loss_is_skipped_even_if_its_gradient_is_finite(
    world: ToyWorld, start_engine: StartEngine, zero_stage: int
) -> None:
    engine = start_engine(make_config(zero_stage))
    rows = sft_rows(world.samples[:2], world.encoder)
    batch = Collator(world.encoder, rows).micro_batch(MicroPlan((0, 1), num_real=2), {0: 0.1, 1: 0.1})

    def infinite(logprobs: Tensor, entropies: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        loss, statistics = sft_objective(batch, logprobs, entropies)
        return loss + math.inf, statistics

    before, means = weights_of(engine), TokenMeans()
    result = engine._steps.make([(batch, infinite)], 1, means, 1.0, batch.sample_ids)
    assert (result.is_made, means.means()) == (False, {})
    assert_same_weights(weights_of(engine), before, atol=0)


def test_of_an_update_only_the_mini_batch_that_is_not_finite_is_skipped(
    world: ToyWorld, start_engine: StartEngine
) -> None:
    engine = start_engine(make_config(optimizer_steps_per_batch=2, kl_coefficient=0.0))
    rows = training_rows(world.samples, world.encoder)
    calls = 0

    def spoil_the_first(gradient: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return gradient * torch.nan if calls == 1 else gradient

    engine.vlm.model.language_model.norm.weight.register_hook(spoil_the_first)
    metrics = engine.policy_update(rows)
    assert (metrics["nonfinite_steps"], num_optimizer_steps(engine)) == (1, 1)
    assert 0 < metrics["num_tokens"] < sum(len(row.response_token_ids) for row in rows)
    assert all(map(math.isfinite, metrics.values()))


@pytest.mark.parametrize("zero_stage", [0, 2])
def test_too_many_in_a_row_stop_with_the_weights_as_they_were(
    world: ToyWorld, start_engine: StartEngine, zero_stage: int
) -> None:
    engine = start_engine(make_config(zero_stage, max_nonfinite_steps=2))
    chains = sft_rows(world.samples, world.encoder)
    before = weights_of(engine)
    for _ in range(2):
        with poisoned(engine.vlm, "gradient"):
            engine.sft_step(chains)
            engine.sft_step(chains)
        assert engine.sft_step(chains)["nonfinite_steps"] == 0  # not in a row
        before = weights_of(engine)
    with poisoned(engine.vlm, "loss"):
        engine.sft_step(chains)
        engine.sft_step(chains)
        with pytest.raises(NonFiniteError, match=r"samples sample-.*3 optimiser steps.*learner.max_nonfinite_steps=2"):
            engine.sft_step(chains)
    assert_same_weights(weights_of(engine), before, atol=0)


@pytest.mark.parametrize("zero_stage", [0, 3])
def test_weights_that_are_not_finite_are_not_written(
    world: ToyWorld, start_engine: StartEngine, tmp_path: Path, zero_stage: int
) -> None:
    engine = start_engine(make_config(zero_stage))
    norm = engine.vlm.model.language_model.norm.weight
    getattr(norm, "ds_tensor", norm).data[0] = torch.inf
    for write in (LearnerEngine.save, LearnerEngine.export):
        with pytest.raises(NonFiniteError, match=r"norm\.weight.*not written to .*kept"):
            write(engine, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize("num_rows", [10, 3])
def test_a_cosine_comes_down_over_the_planned_updates_also_where_they_make_fewer_steps(
    world: ToyWorld, num_rows: int
) -> None:
    config = make_config(optimizer_steps_per_batch=4, kl_coefficient=0.0)
    config = config.replace(optimizer=config.optimizer.replace(schedule="cosine", warmup_steps=0, final_fraction=0.1))
    engine = LearnerEngine(
        world.model, world.encoder, config, master_port=free_port(), total_steps=3 * 4, steps_per_update=4
    )
    rows = training_rows(world.samples[:num_rows], world.encoder)
    rates = [engine.policy_update(rows)["learning_rate"] for _ in range(3)]
    # After 4, 8 and 12 of 12 steps: 0.1 + 0.9 · (1 + cos(π · step / 12)) / 2 of the peak.
    assert rates == pytest.approx([7.75e-4, 3.25e-4, 1e-4])
    engine.close()


def test_a_step_that_is_skipped_moves_the_rate_on_in_every_stage(world: ToyWorld, start_engine: StartEngine) -> None:
    chains = sft_rows(world.samples, world.encoder)
    for zero_stage in (0, 2):
        config = make_config(zero_stage)
        config = config.replace(optimizer=config.optimizer.replace(warmup_steps=10))
        engine = start_engine(config)
        with poisoned(engine.vlm, "gradient"):
            engine.sft_step(chains)
        assert engine.sft_step(chains)["learning_rate"] == pytest.approx(3e-4)


def test_a_batch_of_which_everything_was_left_out_changes_nothing(world: ToyWorld, start_engine: StartEngine) -> None:
    engine = start_engine(make_config())
    before = weights_of(engine)
    metrics = engine.policy_update([])
    assert (metrics["num_tokens"], metrics["nonfinite_steps"]) == (0, 0)
    assert "loss" not in metrics
    assert_same_weights(weights_of(engine), before, atol=0)
