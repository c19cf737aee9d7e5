"""M-RoPE as transformers' models count it."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLModel
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLModel

from vlm.positions import mrope_positions

IMAGE = 7


def theirs(family: Any, token_ids: Sequence[int], grids: torch.Tensor, merge_size: int) -> torch.Tensor:
    """By a model without weights."""
    model = family.__new__(family)
    torch.nn.Module.__init__(model)
    vision = SimpleNamespace(spatial_merge_size=merge_size, tokens_per_second=2)
    model.config = SimpleNamespace(vision_config=vision)
    ids = torch.tensor([token_ids])
    found, _ = model.get_rope_index(ids, mm_token_type_ids=(ids == IMAGE).int(), image_grid_thw=grids)
    return found[:, 0]


@pytest.mark.parametrize("family", [Qwen3VLModel, Qwen2_5_VLModel])
@pytest.mark.parametrize("merge_size", [1, 2])
@pytest.mark.parametrize(
    "grids", [[(1, 4, 6)], [(1, 2, 2), (1, 8, 4)], [(1, 6, 4), (1, 2, 10), (1, 4, 4)]], ids=["one", "two", "three"]
)
def test_positions_are_those_of_transformers(family: Any, merge_size: int, grids: list[tuple[int, int, int]]) -> None:
    token_ids = [1, 2]
    for number, (times, height, width) in enumerate(grids):
        token_ids += [IMAGE] * (times * height * width // merge_size**2) + [3] * (1 + 2 * number)
    grid = torch.tensor(grids)
    assert torch.equal(mrope_positions(token_ids, IMAGE, grid), theirs(family, token_ids, grid, merge_size))


def test_an_image_of_two_by_three_cells_by_hand() -> None:
    positions = mrope_positions([1, IMAGE, IMAGE, IMAGE, IMAGE, IMAGE, IMAGE, 2], IMAGE, torch.tensor([[1, 4, 6]]))
    assert positions.tolist() == [[0, 1, 1, 1, 1, 1, 1, 4], [0, 1, 1, 1, 2, 2, 2, 4], [0, 1, 2, 3, 1, 2, 3, 4]]


@pytest.mark.parametrize(
    ("token_ids", "told"),
    [([1, 2], "0 pieces of image tokens for 1 images"), ([IMAGE] * 5, "5 image tokens for an image of 1 × 4 × 4")],
)
def test_image_tokens_of_other_images_are_refused(token_ids: list[int], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        mrope_positions(token_ids, IMAGE, torch.tensor([[1, 4, 4]]))
