"""Prompts that do not fit are found before a run, for their reason, with a setting that just fits them all."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from launch.run.prompt_checks import RoomForResponse, prompt_checks
from launch.run.sample_faults import Fault, lines_by_cause
from launch.settings.config import RunConfig, load_config
from spatial.images import ImageStore
from spatial.sample import ChoiceAnswer, ReasoningPath, Region, SpatialSample
from vlm.config import PromptConfig, TinyModelConfig
from vlm.model_folders import add_regions
from vlm.prompt import PromptEncoder
from vlm.tiny import build_tiny_checkpoint

MODEL = Path(__file__).parents[3] / "assets" / "tiny-base"
SIDE = 16  # of one image token of that model
QUESTION = "Which is closer to the camera? red point (A) or blue point (B)"
WHOLE_WH = (640, 480)


class NoTokenizer(PromptEncoder):
    """An encoder that may only estimate."""

    def prompt_token_ids(self, sample: SpatialSample, path: ReasoningPath) -> tuple[int, ...]:
        raise AssertionError("a short prompt needs no tokenizer")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    return ImageStore(tmp_path_factory.mktemp("images"))


def sample(store: ImageStore, name: str, *sizes_wh: tuple[int, int], question: str = QUESTION) -> SpatialSample:
    return SpatialSample(
        sample_id=name,
        domain="toy",
        kind="closer",
        paths=(ReasoningPath.LOR, ReasoningPath.DTR),
        images=tuple(store.put(np.zeros((height, width, 3), np.uint8)) for width, height in sizes_wh),
        question=question,
        answer=ChoiceAnswer(letter="A", num_options=2),
        regions=(Region(mark="red", box_xyxy_px=(1.0, 1.0, 9.0, 9.0)),),
    )


def config_with(*overrides: str) -> RunConfig:
    """At most 400 tokens of an image, in prompts of at most 512 - 128."""
    budget = [f"prompt.min_pixels={SIDE**2}", f"prompt.max_pixels={400 * SIDE**2}"]
    return load_config("demo", [*budget, "rollout.engine.max_images_per_prompt=2", *overrides])


def faults_of(config: RunConfig, store: ImageStore, samples: Sequence[SpatialSample]) -> dict[str, Fault]:
    checks = prompt_checks(config, PromptEncoder(MODEL, store, config.prompt))
    found = {each.sample_id: next(filter(None, (check(each) for check in checks)), None) for each in samples}
    return {name: fault for name, fault in found.items() if fault}


def test_image_tokens_are_told_from_text_and_the_budget_that_is_named_just_fits_them_all(store: ImageStore) -> None:
    samples = [
        sample(store, "small", (64, 64)),
        sample(store, "large", WHOLE_WH),
        sample(store, "two", WHOLE_WH, (320, 320)),
        sample(store, "odd", (1100, 200), (64, 64)),
        sample(store, "many", (32, 32), (32, 32), (32, 32)),
        sample(store, "long", WHOLE_WH, question="far " * 400 + QUESTION),
    ]
    config = config_with()
    faults = faults_of(config, store, samples)
    assert set(faults) == {"large", "two", "odd", "many", "long"}
    images, *others = lines_by_cause(faults)
    assert images.startswith("3 × no room for a response of rollout.sampling.max_response_tokens=128 behind the prompt")
    assert "because of its image tokens, such as two (" in images  # the longest first
    assert sorted(line[:30] for line in others) == ["1 × more images than rollout.e", "1 × no room for a response of "]
    pixels = min(faults[name].pixels for name in ("large", "two", "odd"))
    assert f"set prompt.max_pixels={pixels} or less" in images
    assert pixels % SIDE**2 == 0
    assert set(faults_of(config_with(f"prompt.max_pixels={pixels}"), store, samples)) == {"many", "long"}
    above = faults_of(config_with(f"prompt.max_pixels={pixels + 2 * SIDE**2}"), store, samples)
    assert set(above) == {"two", "many", "long"}
    size = max(fault.size for fault in faults.values())
    assert faults_of(config_with(f"rollout.engine.max_model_len={size}"), store, samples).keys() == {"many"}
    assert len(faults_of(config_with(f"rollout.engine.max_model_len={size - 1}"), store, samples)) == 2


def test_the_lengths_that_are_told_are_those_of_the_prompts(store: ImageStore) -> None:
    config = config_with()
    encoder = PromptEncoder(MODEL, store, config.prompt)
    large = sample(store, "large", WHOLE_WH)
    ids = max((encoder.prompt_token_ids(large, path) for path in large.paths), key=len)
    fault = RoomForResponse(config, encoder)(large)
    assert fault is not None
    num_images = ids.count(encoder.image_token_id)
    assert fault.detail.startswith(f"{num_images} image and {len(ids) - num_images} other tokens through ")
    assert fault.size == len(ids) + 128


def test_a_prompt_that_is_clearly_short_needs_no_tokenizer(store: ImageStore) -> None:
    config = config_with("rollout.engine.max_model_len=4096")
    encoder = NoTokenizer(MODEL, store, config.prompt)
    assert RoomForResponse(config, encoder)(sample(store, "large", WHOLE_WH)) is None
    with pytest.raises(AssertionError, match="needs no tokenizer"):
        RoomForResponse(config_with(), encoder)(sample(store, "large", WHOLE_WH))


def test_only_paths_that_are_asked_count(store: ImageStore) -> None:
    config = config_with()
    check = RoomForResponse(config, PromptEncoder(MODEL, store, config.prompt), paths=[ReasoningPath.DIRECT])
    assert check(sample(store, "large", WHOLE_WH)) is None


def test_a_model_without_region_tokens_is_counted_as_the_copy_that_will_have_them(
    store: ImageStore, tmp_path: Path
) -> None:
    tiny = TinyModelConfig(vision_layers=1, vision_width=32, text_layers=1, text_width=64, num_heads=2)
    build_tiny_checkpoint(tmp_path / "plain", [QUESTION], tiny, seed=0, with_regions=False)
    add_regions(tmp_path / "plain", tmp_path / "regional", seed=0)
    asked = sample(store, "s", (128, 128))
    before = PromptEncoder(tmp_path / "plain", store, PromptConfig(), adds_region_token=True)
    after = PromptEncoder(tmp_path / "regional", store, PromptConfig())
    for path in asked.paths:
        assert before.prompt_token_ids(asked, path) == after.prompt_token_ids(asked, path)
    assert before.special_tokens == after.special_tokens
