"""The arithmetic of an update, held against numbers worked out by hand and against PyTorch's own counter."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from learner.config import LearnerConfig
from learner.flops import AttentionLayers, Matrices, ModelFlops, RowSize, mfu, row_sizes, update_flops
from learner.freezing import freeze
from spatial.images import ImageStore
from tests.learner.conftest import ToyWorld
from tests.learner.toy import PATHS, QUESTION, TINY, chain, make_encoder, make_samples, sft_rows, training_rows
from vlm.attention import Attention
from vlm.families import FAMILIES, Family
from vlm.policy import Policy, PolicyBatch, PolicyRow, load_policy
from vlm.tiny import build_tiny_checkpoint

QWEN3_VL_2B = Path("launch/shapes/Qwen3-VL-2B-Instruct")


def counted(**settings: Any) -> ModelFlops:
    from transformers import AutoConfig, AutoModelForImageTextToText

    with torch.device("meta"):
        model: Any = AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(QWEN3_VL_2B))
    freeze(model, LearnerConfig(**settings))
    return ModelFlops.of_model(model)


def test_a_qwen3_vl_of_2_b_has_the_matrices_that_its_config_describes() -> None:
    found = counted()
    # A layer: queries and output 2,048 × 2,048, keys and values 2,048 × 1,024, three of 2,048 × 6,144 in the MLP.
    assert found.text.forward == 28 * (2 * 2048 * 2048 + 2 * 2048 * 1024 + 3 * 2048 * 6144) == 1_409_286_144
    assert found.head == Matrices(*[151_936 * 2048] * 3)
    # A block: queries, keys, values and output 1,024 × 1,024, two of 1,024 × 4,096; and the embedding of patches, whose
    # pixels have no gradient.
    blocks = 24 * (4 * 1024 * 1024 + 2 * 1024 * 4096)
    patches = 3 * 2 * 16 * 16 * 1024
    assert found.vision == Matrices(blocks + patches, blocks, blocks + patches)
    # One merger at the end and three for DeepStack, each 4,096 × 4,096 and 4,096 × 2,048.
    assert found.projector.forward == 4 * (4096 * 4096 + 4096 * 2048)
    assert found.text_attention == AttentionLayers(28, 28, 2048)
    assert found.vision_attention == (AttentionLayers(24, 24, 1024),)


def test_a_token_costs_six_operations_a_weight_in_training_and_two_without() -> None:
    text = counted().text
    assert text.flops(10, is_training=True) == 6 * 1_409_286_144 * 10
    assert text.flops(10, is_training=False) == 2 * 1_409_286_144 * 10
    # PaLM's 12 · layers · width · length for each of the 100 tokens.
    assert AttentionLayers(28, 28, 2048).flops(100, is_training=True) == 12 * 28 * 2048 * 100 * 100
    assert AttentionLayers(28, 28, 1280, max_length=64).flops(100, is_training=False) == 4 * 28 * 1280 * 100 * 64


def test_frozen_parts_have_no_gradients_and_what_lies_before_all_that_is_trained_is_not_gone_back_through() -> None:
    language_alone = counted(freeze=("vision", "projector", "region"))
    assert (language_alone.vision.backward, language_alone.vision.trained) == (0, 0)
    assert (language_alone.projector.backward, language_alone.projector.trained) == (0, 0)
    assert language_alone.text.trained == language_alone.text.backward == 1_409_286_144
    last_four = counted(freeze=("vision", "projector", "region"), last_language_layers=4)
    assert last_four.text.trained == last_four.text.backward == 4 * 1_409_286_144 // 28
    assert last_four.text_attention == AttentionLayers(28, 4, 2048)
    # A trained vision tower before a frozen language model: gradients pass all of it and stop nowhere.
    vision_alone = counted(freeze=("language",))
    assert (vision_alone.text.backward, vision_alone.text.trained) == (1_409_286_144, 0)


def test_an_update_counts_the_passes_that_the_algorithm_asks_for() -> None:
    model = counted(freeze=("vision", "projector", "region"))
    row = RowSize(num_tokens=700, num_response_tokens=200, images=(390,))
    train, forward = model.of_rows([row], is_training=True), model.of_rows([row], is_training=False)
    image = model.of_images([row], is_training=False)

    def found(**settings: Any) -> float:
        return update_flops(model, [row] * 8, LearnerConfig(**settings))

    assert found(kl_coefficient=0.0, optimizer_steps_per_batch=1) == pytest.approx(8 * (train + image))
    assert found(optimizer_steps_per_batch=1) == pytest.approx(8 * (train + forward + image))
    assert found(optimizer_steps_per_batch=4) == pytest.approx(8 * (train + 1.75 * forward + image))
    # More mini-batches than rows cannot be made.
    assert found(optimizer_steps_per_batch=100) == pytest.approx(8 * (train + 1.875 * forward + image))
    assert update_flops(model, [], LearnerConfig()) == 0


def test_rows_of_one_prompt_share_its_images() -> None:
    model = counted()
    group = [RowSize(700, 200, (390,), prompt="a")] * 8
    assert model.of_images(group, is_training=True) == model.of_images(group[:1], is_training=True)
    # Each image token is four patches, which look at one another.
    patches = 4 * 390
    attention = 4 * 24 * 1024 * patches * patches
    matrices = 2 * (model.vision.forward * patches + model.projector.forward * 390)
    assert model.of_images(group, is_training=False) == pytest.approx(matrices + attention)


def test_images_are_the_runs_of_image_tokens_in_a_prompt() -> None:
    assert RowSize.of_tokens([1, 9, 9, 9, 2, 9, 9, 3], 5, image_token_id=9, name="a") == RowSize(13, 5, (3, 2), "a")
    assert RowSize.of_tokens([1, 2], 5, image_token_id=9, name="a").images == ()


def test_rows_of_a_batch_share_a_prompt_if_they_ask_one_sample_through_one_path(world: ToyWorld) -> None:
    rows = training_rows(world.samples[:2], world.encoder)
    first, again, second = row_sizes([rows[0], rows[0], rows[1]], world.encoder.image_token_id)
    assert first == again
    assert first.prompt != second.prompt
    # A toy image of 64 pixels a side is four patches of 16 a side, merged two by two.
    assert first.images == (4,)
    assert first.num_tokens == len(rows[0].prompt_token_ids) + first.num_response_tokens


def test_the_share_of_the_peak_is_of_all_cards_and_of_the_whole_time() -> None:
    assert mfu(flops=989e12, seconds=2.0, num_cards=4, peak_tflops=989) == pytest.approx(1 / 8)


def policy_of(family: Family, folder: Path) -> Policy:
    texts = [f"{QUESTION} red point blue point think detect", *(chain(path, n) for path in PATHS for n in range(10))]
    build_tiny_checkpoint(folder, texts, TINY, 0, family)
    # Its products are counted one by one; those of fused attention are known to the counter on GPUs alone.
    return load_policy(folder, attention=Attention("eager", "eager"))


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.title)
def test_the_count_is_that_of_pytorch_within_two_percent(family: Family, tmp_path: Path) -> None:
    policy = policy_of(family, tmp_path / "model")
    store = ImageStore(tmp_path / "images")
    encoder = make_encoder(tmp_path / "model", store)
    (row,) = sft_rows(make_samples(store, 1), encoder)
    vision = encoder.vision_inputs(row.sample, row.path)
    inputs = PolicyRow(row.prompt_token_ids, row.response_token_ids, vision)
    batch = PolicyBatch.collate([inputs], encoder.pad_token_id, encoder.image_token_id)
    model = ModelFlops.of_model(policy.vlm)
    size = RowSize.of_tokens(row.prompt_token_ids, len(row.response_token_ids), encoder.image_token_id, None)
    with FlopCounterMode(display=False) as forward, torch.no_grad():
        policy(batch)
    with FlopCounterMode(display=False) as training:
        policy(batch)[0].sum().backward()
    expected = model.of_rows([size], is_training=False) + model.of_images([size], is_training=False)
    assert forward.get_total_flops() == pytest.approx(expected, rel=0.02)
    expected = model.of_rows([size], is_training=True) + model.of_images([size], is_training=True)
    # The policy computes its head again on the way back, which the formula leaves out on purpose.
    again = model.head.flops(size.num_response_tokens, is_training=False)
    assert training.get_total_flops() == pytest.approx(expected + again, rel=0.02)
