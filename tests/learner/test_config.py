import subprocess
import sys

import pytest
from pydantic import ValidationError

from learner.algorithms.rejection import TokenRejection
from learner.config import DeepSpeedConfig, LearnerConfig, SftConfig
from learner.optimizers.config import OptimizerConfig


def test_the_config_needs_neither_torch_nor_deepspeed_nor_vllm() -> None:
    code = "import sys, learner.config, learner.description; print({'torch', 'deepspeed', 'vllm'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.strip() == "set()"


def test_the_defaults_are_those_of_the_released_run() -> None:
    config = LearnerConfig()
    assert config.policy_loss.type == "grpo"
    assert (config.policy_loss.clip_low, config.policy_loss.clip_high, config.policy_loss.dual_clip) == (0.2, 0.3, 3.0)
    assert config.rejection.type == "none"
    assert (config.kl_coefficient, config.optimizer_steps_per_batch, config.aggregation.type) == (0.01, 4, "token_mean")
    assert (config.optimizer.learning_rate, config.optimizer.weight_decay) == (1e-6, 0.01)
    assert config.optimizer.max_grad_norm == 1.0


def test_alternatives_are_chosen_by_type() -> None:
    config = LearnerConfig.model_validate(
        {
            "policy_loss": {"type": "gspo"},
            "advantage": {"type": "dr_grpo"},
            "importance": {"type": "sequence", "cap": 5.0},
            "rejection": {"type": "token", "high": 3.0},
            "aggregation": {"type": "dr_grpo", "normalizer_tokens": 128},
        }
    )
    assert config.policy_loss.clip_high == 4e-4
    assert config.rejection == TokenRejection(low=0.5, high=3.0)
    with pytest.raises(ValidationError, match="clip_hihg"):
        LearnerConfig.model_validate({"policy_loss": {"type": "grpo", "clip_hihg": 0.3}})


def test_gspo_with_a_token_mean_is_refused_by_both_fields() -> None:
    with pytest.raises(ValidationError, match=r"policy_loss.type=gspo, but aggregation.type=token_mean"):
        LearnerConfig.model_validate({"policy_loss": {"type": "gspo"}})
    config = LearnerConfig.model_validate(
        {"policy_loss": {"type": "gspo"}, "aggregation": {"type": "sequence_mean"}, "credit": "spans"}
    )
    assert config.policy_loss.type == "gspo"


def test_bounds_of_rejection_that_leave_out_what_is_alike_are_refused() -> None:
    for bounds in ({"low": 1.0}, {"high": 1.0}):
        with pytest.raises(ValidationError, match="than 1"):
            TokenRejection.model_validate(bounds)


def test_bfloat16_without_zero_is_refused_with_the_reason() -> None:
    with pytest.raises(ValidationError, match="zero_stage >= 1"):
        DeepSpeedConfig(dtype="bfloat16", zero_stage=0)


def test_an_optimizer_in_host_memory_without_zero_is_refused_with_what_would_do() -> None:
    assert DeepSpeedConfig(optimizer_offload="cpu", zero_stage=1).optimizer_offload == "cpu"
    with pytest.raises(ValidationError, match="set zero_stage=1, or optimizer_offload=none"):
        DeepSpeedConfig(optimizer_offload="cpu")


def test_a_micro_batch_without_a_bound_is_refused() -> None:
    assert DeepSpeedConfig(micro_batch_rows=None, micro_batch_tokens=16384).micro_batch_rows is None
    with pytest.raises(ValidationError, match="needs one of the two"):
        DeepSpeedConfig(micro_batch_rows=None)


def test_the_cold_start_has_its_own_optimiser_and_no_reference() -> None:
    config = LearnerConfig().for_cold_start()
    assert config.optimizer == config.sft.optimizer != OptimizerConfig()
    assert config.kl_coefficient == 0


def test_a_config_that_trains_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="leaves nothing to train"):
        LearnerConfig(freeze=("vision", "projector", "region", "language"))
    with pytest.raises(ValidationError, match=r"last_language_layers=1, but freeze has 'language'"):
        LearnerConfig(freeze=("language",), last_language_layers=1)


def test_the_cold_start_freezes_its_own_parts() -> None:
    config = LearnerConfig(freeze=("vision",), last_language_layers=2, sft=SftConfig(freeze=("projector",)))
    cold = config.for_cold_start()
    assert (cold.freeze, cold.last_language_layers, cold.kl_coefficient) == (("projector",), None, 0.0)


def test_more_last_layers_than_the_model_has_are_refused() -> None:
    config = LearnerConfig(last_language_layers=28)
    assert config.first_language_layer(28) == 0
    with pytest.raises(ValueError, match=r"last_language_layers=28, but the language model has 27 layers"):
        config.first_language_layer(27)


@pytest.mark.parametrize(
    ("changes", "keeps"),
    [
        ({"freeze": ("vision", "projector")}, True),
        ({"freeze": ("vision", "region")}, False),
        ({"freeze": ("vision", "projector"), "deepspeed": {"zero_stage": 3}}, False),
        ({"freeze": ("vision", "projector"), "deepspeed": {"image_features_mib": 0}}, False),
        ({"lora": {}, "optimizer": {"learning_rate": 2e-5}}, True),
        ({"lora": {"parts": ("language", "projector")}, "optimizer": {"learning_rate": 2e-5}}, False),
    ],
)
def test_features_of_images_are_kept_where_nothing_that_makes_them_is_trained(
    changes: dict[str, object], keeps: bool
) -> None:
    assert LearnerConfig.model_validate(changes).keeps_image_features == keeps
