"""Each image is encoded once in a pass, and once in all where its features may be kept; nothing else changes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from learner.config import LearnerConfig
from learner.freezing import freeze
from learner.frozen_vision import FrozenVision, vision_weights
from spatial.images import ImageStore
from spatial.sample import ChoiceAnswer, ReasoningPath, Region, SpatialSample
from vlm.config import PromptConfig, TinyModelConfig
from vlm.families import FAMILIES, Family
from vlm.image_features import FeatureCache
from vlm.policy import Policy, PolicyBatch, PolicyRow, load_policy
from vlm.prompt import PromptEncoder
from vlm.tiny import build_tiny_checkpoint

QUESTION = "Which is closer to the camera? red point (A) or blue point (B)"
RESPONSE = "<think>red point is closer.</think><answer>A</answer>"
TINY = TinyModelConfig(image_size_px=128, vision_layers=2, vision_width=32, text_layers=2, text_width=64, num_heads=2)
FROZEN = LearnerConfig(freeze=("vision", "projector"))
NUM_PATCHES = (128 // 16) ** 2


class World:
    """A tiny model with frozen vision, and samples that show images 0, 1 and 2, some of them with regions."""

    def __init__(self, folder: Path, family: Family) -> None:
        self.model = folder / "model"
        texts = [QUESTION, RESPONSE, " red point: blue point: detect think"]
        build_tiny_checkpoint(self.model, texts, TINY, seed=0, family=family)
        store = ImageStore(folder / "images")
        rng = np.random.default_rng(0)
        images = [store.put(rng.integers(0, 255, (128, 128, 3), dtype=np.uint8)) for _ in range(3)]
        self.encoder = PromptEncoder(self.model, store, PromptConfig(instructions="short"))
        box = Region(mark="red", box_xyxy_px=(0.0, 0.0, 40.0, 40.0))
        self.samples = [
            SpatialSample(
                sample_id=f"s{number}",
                domain="toy",
                kind="closer",
                paths=(ReasoningPath.DTR,),
                images=tuple(images[image] for image in shown),
                question=QUESTION,
                answer=ChoiceAnswer(letter="A", num_options=2),
                regions=(box,) if number % 2 else (),
            )
            for number, shown in enumerate([(0,), (0,), (1, 2), (2, 1)])
        ]

    def policy(self) -> Policy:
        policy = load_policy(self.model)
        freeze(policy.vlm, FROZEN)
        return policy

    def batch(self, *numbers: int) -> PolicyBatch:
        path = ReasoningPath.DTR
        visions = self.encoder.vision_inputs_of([(self.samples[number], path) for number in numbers])
        rows = [
            PolicyRow(
                self.encoder.prompt_token_ids(self.samples[number], path),
                self.encoder.response_token_ids(RESPONSE),
                vision,
            )
            for number, vision in zip(numbers, visions, strict=True)
        ]
        return PolicyBatch.collate(rows, self.encoder.pad_token_id, self.encoder.image_token_id)


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda family: family.model_type)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"), request.param)


@contextmanager
def counted(policy: Policy) -> Iterator[list[int]]:
    """The images of each call of the vision tower."""
    calls: list[int] = []
    hook = policy.vlm.model.visual.patch_embed.register_forward_hook(
        lambda _, given, result: calls.append(len(result) // NUM_PATCHES)
    )
    yield calls
    hook.remove()


def results(policy: Policy, batches: Sequence[PolicyBatch]) -> list[torch.Tensor]:
    """Log-probabilities of each batch, and the gradient of their sum."""
    policy.zero_grad()
    logprobs = [policy(batch)[0] for batch in batches]
    torch.stack([values.sum() for values in logprobs]).sum().backward()
    gradients = [p.grad.flatten() for p in policy.parameters() if p.grad is not None]
    return [*(values.detach() for values in logprobs), torch.cat(gradients)]


def test_an_image_is_encoded_once_in_a_pass_whichever_samples_show_it(world: World) -> None:
    policy = world.policy()
    with counted(policy) as calls:
        results(policy, [world.batch(0, 1, 0, 2, 3, 1), world.batch(1, 1)])
    assert calls == [3, 1]
    assert world.batch(0, 3, 2).shown_images.tolist() == [0, 1, 2, 2, 1]


def test_kept_features_give_what_new_ones_give_and_the_tower_sees_each_image_once(world: World) -> None:
    policy = world.policy()
    batches = [world.batch(0, 1), world.batch(1, 2), world.batch(3, 0), world.batch(2, 3)]
    expected = results(policy, batches)
    with counted(policy) as calls, FrozenVision(policy, None, max_bytes=2**30).kept():
        found = results(policy, batches)
    assert calls == [1, 2]
    for left, right in zip(found, expected, strict=True):
        torch.testing.assert_close(left, right, atol=1e-5, rtol=1e-5)
    assert expected[-1].abs().max() > 0


def test_features_are_kept_up_to_a_number_of_bytes_the_first_ones(world: World) -> None:
    policy = world.policy()
    (image,) = policy._image_features(world.batch(0))
    one = sum(tensor.nbytes for tensor in (image.merged, *image.deepstack))
    cache = policy.feature_cache = FeatureCache(2 * one + 1)
    with counted(policy) as calls:
        for numbers in ((0, 2), (0, 2), (0,), (3,)):
            policy(world.batch(*numbers))
    # Images 0 and 1 are kept; 2 is encoded each time.
    assert (calls, len(cache)) == ([3, 1, 1], 2)
    cache.clear()
    assert len(cache) == 0
    with counted(policy) as calls:
        policy(world.batch(2))
    assert (calls, len(cache)) == ([2], 2)


@pytest.mark.parametrize("part", ["vision", "projector"])
def test_nothing_is_kept_where_a_part_that_makes_features_is_trained(world: World, part: str) -> None:
    policy = world.policy()
    rest = tuple(other for other in FROZEN.freeze if other != part)
    freeze(policy.vlm, FROZEN.replace(freeze=rest))
    with FrozenVision(policy, None, max_bytes=2**30).kept():
        assert policy.feature_cache is None


def test_the_reference_takes_the_policys_features_only_if_every_weight_that_makes_them_is_equal(world: World) -> None:
    policy, reference = world.policy(), load_policy(world.model).requires_grad_(False)
    frozen = FrozenVision(policy, reference, max_bytes=2**30)
    with torch.no_grad():
        reference.vlm.model.language_model.norm.weight += 1.0
    with counted(reference) as calls, frozen.kept():
        assert reference.feature_cache is policy.feature_cache is not None
        policy(world.batch(0))
        reference(world.batch(0))
    assert calls == []
    weights = vision_weights(reference.vlm)
    assert len(weights) > 10
    assert {name.removeprefix("model.visual.").split(".")[0] for name in weights} >= {"blocks", "merger", "patch_embed"}
    with torch.no_grad():
        next(reversed(weights.values())).view(-1)[0] += 1e-3
    with frozen.kept():
        assert reference.feature_cache is None is not policy.feature_cache


def test_what_was_kept_is_gone_after_an_update_that_failed(world: World) -> None:
    policy = world.policy()
    caches: list[FeatureCache] = []

    def fail() -> None:
        with FrozenVision(policy, None, max_bytes=2**30).kept():
            policy(world.batch(0))
            assert policy.feature_cache is not None
            caches.append(policy.feature_cache)
            assert len(caches[0]) == 1
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        fail()
    assert policy.feature_cache is None
    assert len(caches[0]) == 0
