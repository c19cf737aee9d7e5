"""Packed rows give what padded rows give, and no row sees another."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spatial.images import ImageStore
from spatial.sample import ChoiceAnswer, ReasoningPath, Region, SpatialSample
from vlm import packed_rows as module
from vlm.attention import Attention, AttentionName
from vlm.config import PromptConfig, TinyModelConfig
from vlm.families import FAMILIES, Family
from vlm.packed_rows import HeadShape, PackedRows, fault_of
from vlm.policy import Policy, PolicyBatch, PolicyRow, load_policy
from vlm.prompt import PromptEncoder
from vlm.tiny import build_tiny_checkpoint

QUESTION = "Which is closer to the camera? red point (A) or blue point (B)"
RESPONSES = ["<think>red point is closer.</think><answer>A</answer>", "<answer>B</answer>", "<think></think>"]
TEXTS = [QUESTION, *RESPONSES, " red point: blue point: green point: language detect think"]
TINY = TinyModelConfig(image_size_px=128, vision_layers=2, vision_width=32, text_layers=2, text_width=64, num_heads=2)
PACKED = Attention(text="sdpa", vision="sdpa", packed=True)
BOXES = {
    "red": (0.0, 0.0, 40.0, 40.0),
    "blue": (70.0, 50.0, 128.0, 96.0),
    "green": (20.0, 80.0, 60.0, 96.0),
    "yellow": (5.0, 5.0, 60.0, 20.0),
    "cyan": (50.0, 60.0, 64.0, 70.0),
}


class World:
    """A tiny model, and rows with 0, 1 and 5 regions, the last of two images."""

    def __init__(self, folder: Path, family: Family) -> None:
        self.model = folder / "model"
        build_tiny_checkpoint(self.model, TEXTS, TINY, seed=0, family=family)
        store = ImageStore(folder / "images")
        rng = np.random.default_rng(0)
        self._images = [store.put(rng.integers(0, 255, size, dtype=np.uint8)) for size in ((128, 128, 3), (96, 64, 3))]
        self.encoder = PromptEncoder(self.model, store, PromptConfig(instructions="short"))
        self.rows = [self._row(0, 1, 0), self._row(1, 1, 1), self._row(5, 2, 2)]

    def _row(self, num_regions: int, num_images: int, response: int) -> PolicyRow:
        # The last one lies in the last image.
        regions = [Region(mark=mark, box_xyxy_px=box) for mark, box in list(BOXES.items())[:num_regions]]
        regions[-1:] = [region.replace(image_index=num_images - 1) for region in regions[-1:]]
        sample = SpatialSample(
            sample_id="s",
            domain="toy",
            kind="closer",
            paths=(ReasoningPath.DTR,),
            images=tuple(self._images[:num_images]),
            question=QUESTION,
            answer=ChoiceAnswer(letter="A", num_options=2),
            regions=tuple(regions),
        )
        return PolicyRow(
            self.encoder.prompt_token_ids(sample, ReasoningPath.DTR),
            self.encoder.response_token_ids(RESPONSES[response]),
            self.encoder.vision_inputs(sample, ReasoningPath.DTR),
        )

    def batch(self, rows: Sequence[PolicyRow]) -> PolicyBatch:
        return PolicyBatch.collate(rows, self.encoder.pad_token_id, self.encoder.image_token_id)


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda family: family.title)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("packed"), request.param)


def outputs(policy: Policy, batch: PolicyBatch) -> list[torch.Tensor]:
    """Log-probabilities, entropies, and the gradient of every weight of a sum that weighs each token differently."""
    policy.zero_grad()
    logprobs, entropies = policy(batch)
    (logprobs * torch.linspace(0.5, 2.0, logprobs.numel()).view_as(logprobs)).sum().backward()
    gradients = [
        torch.zeros_like(weight) if weight.grad is None else weight.grad.clone() for weight in policy.vlm.parameters()
    ]
    return [logprobs.detach(), entropies.detach(), *gradients]


@pytest.mark.parametrize("checkpointing", [False, True])
def test_packed_rows_equal_padded_rows_in_results_and_gradients(world: World, checkpointing: bool) -> None:
    padded, packed = load_policy(world.model), load_policy(world.model, attention=PACKED)
    for policy in (padded, packed):
        if checkpointing:
            policy.train()
            policy.vlm.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    batch = world.batch(world.rows)
    assert len(set(batch.lengths)) > 2
    for name, expected, found in zip(
        ("logprobs", "entropies", *(name for name, _ in padded.vlm.named_parameters())),
        outputs(padded, batch),
        outputs(packed, batch),
        strict=True,
    ):
        scale = max(1.0, float(expected.abs().max()))
        torch.testing.assert_close(
            found / scale, expected / scale, atol=1e-5, rtol=0, msg=lambda text, n=name: n + text
        )


def test_no_padding_goes_through_the_layers(world: World) -> None:
    policy = load_policy(world.model, attention=PACKED)
    seen: list[torch.Size] = []
    policy.vlm.model.language_model.layers[0].register_forward_pre_hook(
        lambda layer, given: seen.append(given[0].shape)
    )
    batch = world.batch(world.rows)
    policy(batch)
    assert seen == [(1, sum(batch.lengths), TINY.text_width)]


def test_a_row_neither_sees_nor_moves_another(world: World) -> None:
    policy = load_policy(world.model, attention=PACKED)
    first, *rest = world.rows
    other = PolicyRow(
        first.prompt_token_ids, world.encoder.response_token_ids("think language detect think"), first.vision
    )
    with torch.no_grad():
        before, _ = policy(world.batch([first, *rest]))
        after, _ = policy(world.batch([other, *rest]))
    mask = world.batch([first, *rest]).response_mask
    for row in range(1, len(world.rows)):
        torch.testing.assert_close(after[row][: before.shape[1]][mask[row]], before[row][mask[row]], atol=1e-6, rtol=0)


def test_rows_lie_end_to_end() -> None:
    rows = PackedRows.of([2, 1, 3], torch.device("cpu"))
    padded = torch.tensor([[1, 2, 0], [3, 0, 0], [4, 5, 6]])
    assert rows.pack(padded).tolist() == [[1, 2, 3, 4, 5, 6]]
    assert rows.pack(torch.stack([padded, -padded])).shape == (2, 1, 6)
    assert (rows.ends.tolist(), rows.ends.dtype, rows.longest) == ([0, 2, 3, 6], torch.int32, 3)


def test_a_kernel_that_is_not_there_is_named_with_its_error() -> None:
    fault = fault_of("flash_attention_2", HeadShape(4, 2, 16, causal=True), torch.float32, torch.device("cpu"))
    assert fault is not None
    assert "No module named 'flash_attn'" in fault


@pytest.mark.parametrize(("causal", "off"), [(True, "output"), (False, None)])
def test_a_kernel_that_lets_rows_see_each_other_is_found_out(
    monkeypatch: pytest.MonkeyPatch, causal: bool, off: str | None
) -> None:
    heads = HeadShape(4, 2, 16, causal)
    device = torch.device("cpu")
    assert fault_of("sdpa", heads, torch.bfloat16, device) is None

    def not_causal(*given: Any) -> torch.Tensor:
        q, k, v, ends, longest, _, scale = given
        return module._sdpa(q, k, v, ends, longest, False, scale)

    def one_row(*given: Any) -> torch.Tensor:
        q, k, v, ends, *rest = given
        return module._sdpa(q, k, v, ends[[0, -1]], *rest)

    name: AttentionName = "varlen"
    monkeypatch.setitem(module._KERNELS, name, not_causal)
    fault = fault_of(name, heads, torch.float32, device)
    assert (fault is None) == (off is None)
    monkeypatch.setitem(module._KERNELS, name, one_row)
    fault = fault_of(name, heads, torch.float32, device)
    assert fault is not None
    assert fault.startswith("its output differs from SDPA's by ")
