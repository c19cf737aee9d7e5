"""Region tokens: engine and learner make the same of them, and no cache mistakes one region for another."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from flow.trajectory import RolloutRequest, Trajectory
from spatial.sample import ImageRef, ReasoningPath, Region, SpatialSample
from vlm.config import TinyModelConfig
from vlm.families import FAMILIES, QWEN3_VL
from vlm.model_folders import add_regions
from vlm.policy import Policy, load_policy
from vlm.prompt import PromptEncoder
from vlm.tiny import build_tiny_checkpoint

from .conftest import PROMPT, QUESTION, RESPONSE, TOLERANCE, EngineHost, TinyWorld, running_host

pytestmark = [pytest.mark.stack, pytest.mark.gpu]

BUDGET = PROMPT.replace(min_pixels=2 * 32**2, max_pixels=128**2)
"""It leaves images of 128 × 128 pixels as they are."""
RED = Region(mark="red", box_xyxy_px=(4.0, 4.0, 50.0, 40.0))
BLUE = Region(mark="blue", box_xyxy_px=(30.0, 20.0, 60.0, 62.0))
FIVE = (
    RED,
    BLUE,
    Region(mark="green", box_xyxy_px=(0.0, 0.0, 64.0, 64.0)),
    Region(mark="yellow", box_xyxy_px=(10.0, 30.0, 20.0, 60.0), polygon_px=((10.0, 30.0), (20.0, 60.0), (10.0, 60.0))),
    Region(mark="cyan", box_xyxy_px=(1.0, 2.0, 3.0, 4.0)),
)


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda family: family.title)
def family(request: pytest.FixtureRequest, world: TinyWorld, tmp_path_factory: pytest.TempPathFactory) -> TinyWorld:
    """The same samples, asked of each family."""
    if request.param == QWEN3_VL:
        return replace(world, encoder=PromptEncoder(world.model, world.images, BUDGET))
    folder = tmp_path_factory.mktemp("family")
    texts = [QUESTION + " red point: blue point: detect think", RESPONSE]
    build_tiny_checkpoint(folder / "plain", texts, TinyModelConfig(), seed=0, family=request.param, with_regions=False)
    add_regions(folder / "plain", folder / "model", seed=0)
    return replace(world, model=folder / "model", encoder=PromptEncoder(folder / "model", world.images, BUDGET))


@pytest.fixture(scope="module")
def host(family: TinyWorld) -> Iterator[EngineHost]:
    with running_host(family, BUDGET, max_images_per_prompt=2) as running:
        yield running


def samples(world: TinyWorld) -> list[SpatialSample]:
    """0, 1, 5 regions on one image; two images with regions on one or on both; two that the budget resizes."""
    one, two = world.samples[0], world.samples[0].images + world.samples[1].images
    regions: Sequence[tuple[Region, ...]] = ((), (RED,), FIVE)
    single = [one.replace(sample_id=f"one-{len(own)}", regions=own) for own in regions]
    both = (RED, BLUE.replace(image_index=1), FIVE[2].replace(image_index=1))
    depths = (world.images.put_depth(np.linspace(0.5, 4.0, 128 * 128).reshape(128, 128)), None)
    return [
        *single,
        one.replace(sample_id="depth", regions=FIVE, depths=depths[:1]),
        one.replace(sample_id="depth-of-one", images=two, regions=both, depths=depths),
        one.replace(sample_id="two-1", images=two, regions=(RED.replace(image_index=1),)),
        one.replace(sample_id="two-3", images=two, regions=both),
        one.replace(sample_id="two-0", images=two, regions=()),
        one.replace(sample_id="resized", images=_large_and_small(world), regions=both),
    ]


def _large_and_small(world: TinyWorld) -> tuple[ImageRef, ImageRef]:
    random = np.random.default_rng(1)
    large, small = (random.integers(0, 255, (*shape, 3), dtype=np.uint8) for shape in ((300, 500), (70, 66)))
    return world.images.put(large), world.images.put(small)


def roll_out(host: EngineHost, sample: SpatialSample, seed: int = 1) -> Trajectory:
    return host.run(host.engine.generate(RolloutRequest(0, 0, sample, ReasoningPath.DTR, seed, 1.0, 24)))


def differences(host: EngineHost, world: TinyWorld, policy: Policy) -> list[float]:
    """By sample and path: how far the engine's log-probabilities are from the learner's, at most."""
    asked = [(sample, path) for sample in samples(world) for path in (ReasoningPath.DTR, ReasoningPath.LOR)]
    together = [host.submit(host.engine.generate(RolloutRequest(0, 0, s, path, 1, 1.0, 24))) for s, path in asked]
    found = []
    for (sample, path), future in zip(asked, together, strict=True):
        trajectory = future.result(timeout=120)
        assert trajectory.prompt_token_ids == world.encoder.prompt_token_ids(sample, path)
        mine = replace(world, samples=(sample,)).learner_logprobs(policy, trajectory)
        found.append(float((torch.tensor(trajectory.rollout_logprobs) - mine).abs().max()))
    return found


def test_engine_and_learner_agree_before_and_after_a_push(host: EngineHost, family: TinyWorld) -> None:
    policy = load_policy(family.model)
    assert max(differences(host, family, policy)) < TOLERANCE
    with torch.no_grad():
        for name, parameter in policy.vlm.named_parameters():
            if "visual" in name or "region_encoder" in name:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    assert min(differences(host, family, policy)) > 10 * TOLERANCE
    host.push(policy, version=1)
    assert max(differences(host, family, policy)) < TOLERANCE


def test_the_same_image_with_other_regions_is_another_input(host: EngineHost, family: TinyWorld) -> None:
    sample = family.samples[0].replace(regions=(RED,))
    moved = sample.replace(regions=(RED.replace(box_xyxy_px=(30.0, 30.0, 60.0, 60.0)),))
    cut = sample.replace(regions=(RED.replace(polygon_px=((4.0, 4.0), (50.0, 4.0), (4.0, 40.0))),))
    deep = sample.replace(depths=(family.images.put_depth(np.full((128, 128), 2.0)),))
    first, other, part, deeper, again = (roll_out(host, s).rollout_logprobs for s in (sample, moved, cut, deep, sample))
    assert first == pytest.approx(again, abs=1e-6)
    assert first != pytest.approx(other, abs=1e-4)
    assert first != pytest.approx(part, abs=1e-5)
    assert first != pytest.approx(deeper, abs=1e-5)
