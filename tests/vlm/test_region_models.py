"""Region tokens on the learner's side: what they are made of, and that nothing else changes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from spatial.images import ImageStore
from spatial.sample import ChoiceAnswer, ReasoningPath, Region, SpatialSample
from vlm.config import PromptConfig, TinyModelConfig
from vlm.errors import CheckpointError
from vlm.families import FAMILIES, Family
from vlm.hub.region_encoder import RegionEncoder, region_tokens
from vlm.hub.region_inputs import RegionInputs
from vlm.model_folders import add_regions, knows_regions
from vlm.policy import PolicyBatch, PolicyRow, load_policy
from vlm.prompt import PromptEncoder
from vlm.region_position import NUM_POSITION_FEATURES
from vlm.tiny import build_tiny_checkpoint

QUESTION = "Which is closer to the camera? red point (A) or blue point (B)"
RESPONSE = "<think>red point is closer.</think><answer>A</answer>"
TEXTS = [QUESTION, RESPONSE, " red point: blue point: green point: language detect think"]
TINY = TinyModelConfig(image_size_px=128, vision_layers=2, vision_width=32, text_layers=2, text_width=64, num_heads=2)
PROMPT = PromptConfig(instructions="short")
RED, BLUE, GREEN = (
    Region(mark="red", box_xyxy_px=(0.0, 0.0, 40.0, 40.0)),
    Region(mark="blue", box_xyxy_px=(70.0, 50.0, 128.0, 100.0)),
    Region(mark="green", box_xyxy_px=(20.0, 90.0, 60.0, 128.0)),
)


class World:
    def __init__(self, folder: Path) -> None:
        self.model = folder / "model"
        build_tiny_checkpoint(self.model, TEXTS, TINY, seed=0)
        self.store = ImageStore(folder / "images")
        rng = np.random.default_rng(0)
        self.images = [self.store.put(rng.integers(0, 255, (128, 128, 3), dtype=np.uint8)) for _ in range(2)]
        self.encoder = PromptEncoder(self.model, self.store, PROMPT)
        self.policy = load_policy(self.model)

    def row(self, regions: Sequence[Region], num_images: int = 1) -> PolicyRow:
        sample = SpatialSample(
            sample_id="s",
            domain="toy",
            kind="closer",
            paths=(ReasoningPath.DTR,),
            images=tuple(self.images[:num_images]),
            question=QUESTION,
            answer=ChoiceAnswer(letter="A", num_options=2),
            regions=tuple(regions),
        )
        prompt = self.encoder.prompt_token_ids(sample, ReasoningPath.DTR)
        return PolicyRow(
            prompt, self.encoder.response_token_ids(RESPONSE), self.encoder.vision_inputs(sample, ReasoningPath.DTR)
        )

    def batch(self, *rows: PolicyRow) -> PolicyBatch:
        return PolicyBatch.collate(rows, self.encoder.pad_token_id, self.encoder.image_token_id)

    def logprobs(self, *rows: PolicyRow) -> list[torch.Tensor]:
        batch = self.batch(*rows)
        with torch.no_grad():
            logprobs, _ = self.policy(batch)
        return [values[mask] for values, mask in zip(logprobs, batch.response_mask, strict=True)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("regions"))


def test_a_region_stands_after_its_image_with_its_name(world: World) -> None:
    text = world.encoder.tokenizer.decode(list(world.row([RED, BLUE]).prompt_token_ids))
    assert text.count("<|region|>") == 2
    assert "<|image_pad|> red point:<|region|> blue point:<|region|><|vision_end|>" in text


def test_each_image_carries_its_own_regions(world: World) -> None:
    text = world.encoder.tokenizer.decode(
        list(world.row([RED, BLUE.replace(image_index=1)], num_images=2).prompt_token_ids)
    )
    assert text.count("<|image_pad|> red point:<|region|><|vision_end|>") == 1
    assert text.count("<|image_pad|> blue point:<|region|><|vision_end|>") == 1


def test_a_batch_of_unlike_rows_gives_what_each_row_gives_alone(world: World) -> None:
    rows = [world.row([]), world.row([RED]), world.row([RED, BLUE, GREEN.replace(image_index=1)], num_images=2)]
    for together, row in zip(world.logprobs(*rows), rows, strict=True):
        torch.testing.assert_close(together, world.logprobs(row)[0], atol=1e-5, rtol=0)


def test_moving_a_region_changes_the_output(world: World) -> None:
    moved = RED.replace(box_xyxy_px=(60.0, 60.0, 100.0, 100.0))
    before, after = world.logprobs(world.row([RED]))[0], world.logprobs(world.row([moved]))[0]
    assert (before - after).abs().max() > 1e-4


def test_a_part_of_its_box_is_another_region(world: World) -> None:
    corner = RED.replace(polygon_px=((0.0, 0.0), (40.0, 0.0), (0.0, 40.0)))
    assert (world.logprobs(world.row([RED]))[0] - world.logprobs(world.row([corner]))[0]).abs().max() > 1e-5


def test_permuting_regions_permutes_their_embeddings() -> None:
    torch.manual_seed(0)
    encoder = RegionEncoder(8)
    pooled, boxes, positions = torch.randn(3, 8), torch.rand(3, 4), torch.randn(3, NUM_POSITION_FEATURES)
    order = [2, 0, 1]
    torch.testing.assert_close(
        encoder(pooled, boxes, positions)[order], encoder(pooled[order], boxes[order], positions[order])
    )


def test_a_region_pools_the_features_of_its_own_image() -> None:
    encoder = RegionEncoder(4)
    torch.nn.init.zeros_(encoder.fc2.weight)
    torch.nn.init.zeros_(encoder.fc2.bias)
    one, other = torch.eye(4)[:2], 10 * torch.eye(4)[1:]  # images of 2 and 3 cells
    coverage = torch.tensor([0.25, 0.75, 0.0, 0.5, 0.5])
    nowhere = torch.zeros(2, NUM_POSITION_FEATURES)
    regions = RegionInputs(coverage, boxes=torch.rand(2, 4), positions=nowhere, num_regions=torch.tensor([1, 1]))
    first, second = region_tokens(encoder, [one, other], regions)
    torch.testing.assert_close(first, torch.tensor([[0.25, 0.75, 0.0, 0.0]]))
    torch.testing.assert_close(second, torch.tensor([[0.0, 0.0, 5.0, 5.0]]))


def test_gradients_reach_the_projector_and_the_tower_through_a_region(world: World) -> None:
    policy = load_policy(world.model)
    logprobs, _ = policy(world.batch(world.row([RED])))
    logprobs.sum().backward()
    for name in (
        "model.region_encoder.fc1.weight",
        "model.region_encoder.fc2.weight",
        "model.visual.merger.linear_fc2.weight",
    ):
        assert policy.vlm.get_parameter(name).grad.abs().sum() > 0, name


def test_more_region_tokens_than_regions_are_refused(world: World) -> None:
    one, two = world.row([RED]), world.row([RED, BLUE])
    with pytest.raises(ValueError, match=r"2 <\|region\|> tokens for 1 regions"):
        world.logprobs(PolicyRow(two.prompt_token_ids, two.response_token_ids, one.vision))


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.title)
def test_a_model_gains_regions_and_stays_the_same_without_them(family: Family, world: World, tmp_path: Path) -> None:
    build_tiny_checkpoint(tmp_path / "plain", TEXTS, TINY, seed=1, family=family, with_regions=False)
    assert not knows_regions(tmp_path / "plain")
    add_regions(tmp_path / "plain", tmp_path / "regions", seed=0)
    assert knows_regions(tmp_path / "regions")
    old, new = load_policy(tmp_path / "plain"), load_policy(tmp_path / "regions")
    assert isinstance(new.vlm, family.classes().model)
    batch = world.batch(world.row([]))
    inputs = {
        name: getattr(batch, name)
        for name in ("input_ids", "attention_mask", "position_ids", "pixel_values", "image_grid_thw")
    }
    with torch.no_grad():
        expected = old.vlm(**inputs).logits
        assert torch.equal(expected, new.vlm(**inputs).logits)
        assert torch.equal(expected, new.vlm(**inputs, regions=batch.regions).logits)
    with pytest.raises(CheckpointError, match="has region tokens already"):
        add_regions(tmp_path / "regions", tmp_path / "twice", seed=0)
