"""The committed base: whole, small, told about, and as skilled as its record says."""

import json
from pathlib import Path

import pytest
import torch

from actors.run.run_folder import RunFolder
from launch.settings.config import load_config
from spatial.images import ImageStore
from spatial.sample import ReasoningPath
from spatial.scenes.build import build_dataset
from tests.samples import load_samples
from vlm.policy import PolicyBatch, PolicyRow, load_policy
from vlm.prompt import PromptEncoder

BASE = Path(__file__).parents[2] / "assets" / "tiny-base"


def test_it_is_small_and_says_how_it_was_made() -> None:
    assert sum(file.stat().st_size for file in BASE.iterdir()) < 8e6
    record = json.loads((BASE / "base.json").read_text())
    assert record["command"] == "sr-real base"
    assert record["steps"] == load_config("base").learner.sft.steps
    assert {"seed", "responses", "hours", "right_greedy_by_kind", "region_centers_by_domain"} <= set(record)


def test_the_demo_starts_from_it_and_knows_all_its_words(tmp_path: Path) -> None:
    from launch.run.prepare import prepare_base_model, prepare_data, prepare_folder

    config = load_config(
        "demo",
        [f"run={tmp_path}", "data.num_train_scenes=150", "data.num_validation_scenes=1", "data.num_test_scenes=1"],
    )
    folder = RunFolder(tmp_path)
    prepare_folder(folder)
    prepare_data(config, folder, num_workers=1, on_progress=lambda done, total: None)
    assert prepare_base_model(config, folder) == BASE


@pytest.fixture(scope="module")
def nll_by_kind(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """Mean negative log-likelihood of true responses to questions about new scenes, by kind."""
    root = tmp_path_factory.mktemp("scenes")
    config = load_config("base")
    file = build_dataset(config.data.scenes, root, {"test": 60}, seed=99)["test"]
    store = ImageStore(root / "images")
    encoder, policy = PromptEncoder(BASE, store, config.prompt), load_policy(BASE)
    totals: dict[str, list[float]] = {}
    for sample in load_samples(file, store).samples:
        if sample.paths == (ReasoningPath.DIRECT,):
            response = encoder.response_token_ids(sample.chains[ReasoningPath.DIRECT])
            row = PolicyRow(
                encoder.prompt_token_ids(sample, ReasoningPath.DIRECT),
                response,
                encoder.vision_inputs(sample, ReasoningPath.DIRECT),
            )
            with torch.no_grad():
                logprobs, _ = policy(PolicyBatch.collate([row], encoder.pad_token_id, encoder.image_token_id))
            totals.setdefault(sample.kind, []).append(-logprobs.sum().item() / len(response))
    return {kind: sum(values) / len(values) for kind, values in totals.items()}


def test_it_sees(nll_by_kind: dict[str, float]) -> None:
    # A model that does not look at the image gets none of these below 0.25 (names) or 0.9 (places).
    assert nll_by_kind["count"] < 0.1, nll_by_kind
    assert nll_by_kind["region_center"] < 0.75, nll_by_kind
    assert nll_by_kind["place"] < 0.75, nll_by_kind
