"""Prompts of an engine: a group's members share one, and their images are kept up to a number of bytes."""

from pathlib import Path

import pytest

from rollout.prompts import EnginePrompts
from spatial.images import ImageStore
from spatial.sample import ReasoningPath
from tests.learner.toy import make_encoder, make_model, make_samples

PATH = ReasoningPath.LOR


@pytest.mark.parametrize(("max_kept_bytes", "num_kept"), [(10**6, 3), (2 * (2**14 + 3 * 64 * 64), 2), (100, 0)])
def test_prompts_are_kept_up_to_a_number_of_bytes_those_used_last(
    tmp_path: Path, max_kept_bytes: int, num_kept: int
) -> None:
    make_model(tmp_path / "tiny")
    store = ImageStore(tmp_path / "images")
    samples = make_samples(store, 3)
    prompts = EnginePrompts(make_encoder(tmp_path / "tiny", store), max_kept_bytes)
    first = [prompts.prompt(sample, PATH, salt="a") for sample in samples]
    again = [prompts.prompt(sample, PATH, salt="b") for sample in reversed(samples)]
    shared = [
        mine["multi_modal_data"]["image"] is theirs["multi_modal_data"]["image"]
        for mine, theirs in zip(reversed(again), first, strict=True)
    ]
    assert shared == [number >= 3 - num_kept for number in range(3)]
    assert {prompt["cache_salt"] for prompt in again} == {"b"}
