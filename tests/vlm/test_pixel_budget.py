"""A budget of pixels: learner, engine and exported model see the same resized images, with their regions in place."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor

from launch.run.prepare import check_model
from launch.settings.config import ConfigError, load_config
from rollout.config import EngineConfig
from rollout.engine_arguments import engine_arguments
from spatial.images import ImageStore
from spatial.sample import ChoiceAnswer, ReasoningPath, Region, SeenObject, SpatialSample
from vlm.config import PromptConfig, TinyModelConfig
from vlm.export import describe_model
from vlm.families import FAMILIES
from vlm.pixel_limits import PixelLimits
from vlm.prompt import PromptEncoder, question_text
from vlm.tiny import build_tiny_checkpoint

QUESTION = "Which is closer to the camera? red point (A) or blue point (B)"
TEXTS = [QUESTION, " red point: blue point: language detect think answer [0,1] in image 2"]
LOR, DTR = ReasoningPath.LOR, ReasoningPath.DTR
TINY = TinyModelConfig(vision_layers=1, vision_width=32, text_layers=1, text_width=64, num_heads=2)
SIDE = 32  # of an image token of the tiny models
FREE = PromptConfig(instructions="short", lor_regions="marks", mark_width_px=2)
# At most 9 tokens an image, at least 2.
TIGHT = FREE.replace(min_pixels=2 * SIDE**2, max_pixels=9 * SIDE**2)
RED = Region(mark="red", box_xyxy_px=(100.0, 60.0, 400.0, 240.0))
BLUE = Region(mark="blue", image_index=1, box_xyxy_px=(4.0, 4.0, 20.0, 10.0))
LARGE_WH, SMALL_WH = (500, 300), (24, 20)


class World:
    """A tiny model of a family, and a sample with one image above the budget and one below it."""

    def __init__(self, folder: Path, family: Any) -> None:
        self.model = folder / "model"
        self.family = family
        build_tiny_checkpoint(self.model, TEXTS, TINY, seed=0, family=family)
        self.store = ImageStore(folder / "images")
        rng = np.random.default_rng(0)
        self.pixels = [rng.integers(0, 255, (h, w, 3), dtype=np.uint8) for w, h in (LARGE_WH, SMALL_WH)]
        self.sample = SpatialSample(
            sample_id="s",
            domain="toy",
            kind="closer",
            paths=(LOR, DTR),
            images=tuple(map(self.store.put, self.pixels)),
            question=QUESTION,
            answer=ChoiceAnswer(letter="A", num_options=2),
            regions=(RED, BLUE),
        )
        self.encoder = self.encoder_of(TIGHT)

    def encoder_of(self, prompt: PromptConfig) -> PromptEncoder:
        return PromptEncoder(self.model, self.store, prompt)


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda family: family.title)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("budget"), request.param)


def test_images_are_brought_within_the_budget_with_the_pixels_that_the_processor_alone_would_make(
    world: World,
) -> None:
    seen = world.encoder.vision_inputs(world.sample, DTR)
    # 300 × 500 shrinks to 2 × 3 tokens, since 2.32 × 3.87 are rounded down; 20 × 24 grows to 2 × 2.
    assert (seen.image_grid_thw // 2).tolist() == [[0, 2, 3], [0, 2, 2]]
    processor = AutoProcessor.from_pretrained(world.model).image_processor
    processor.size = {"shortest_edge": TIGHT.min_pixels, "longest_edge": TIGHT.max_pixels}
    alone = processor(images=[Image.fromarray(pixels) for pixels in world.pixels], return_tensors="pt")
    torch.testing.assert_close(seen.pixel_values, alone["pixel_values"], rtol=0, atol=0)


def test_token_counts_are_those_of_the_images_as_they_are_seen(world: World) -> None:
    rng = np.random.default_rng(1)
    for width, height in [(500, 300), (24, 20), (32, 32), (1300, 40), (96, 96), (97, 95), (640, 480)]:
        image = world.store.put(rng.integers(0, 255, (height, width, 3), dtype=np.uint8))
        sample = world.sample.replace(images=(image, image), regions=(RED.replace(box_xyxy_px=(1.0, 1.0, 9.0, 9.0)),))
        for path in (LOR, DTR):
            ids = world.encoder.prompt_token_ids(sample, path)
            grids = world.encoder.vision_inputs(sample, path).image_grid_thw
            assert ids.count(world.encoder.image_token_id) == int(grids.prod(-1).sum()) // 4
            assert len(ids) <= world.encoder.max_prompt_tokens(sample, path)
        assert max(width, height) > 20 * min(width, height) or int(grids[0].prod()) // 4 in range(2, 10)


def test_an_image_is_resized_once_even_where_a_second_time_would_change_it_again(world: World) -> None:
    exact = world.encoder_of(TIGHT.replace(min_pixels=16 * SIDE**2, max_pixels=16 * SIDE**2))
    # 100 × 150 is below 16 tokens, and grows to 4 × 5, which is above them: a second time it would shrink to 3 × 4.
    image = world.store.put(np.zeros((100, 150, 3), np.uint8))
    sample = world.sample.replace(images=(image,), regions=())
    assert exact.vision_inputs(sample, DTR).image_grid_thw.tolist() == [[1, 8, 10]]
    assert exact.prompt_token_ids(sample, DTR).count(exact.image_token_id) == 20


def test_marks_are_drawn_on_the_resized_image_as_wide_as_the_setting_says(world: World) -> None:
    clean, _ = world.encoder.shown_images(world.sample, DTR)
    marked, small = world.encoder.shown_images(world.sample, LOR)
    assert clean.size == (96, 64)
    assert small.size == (64, 64)
    changed = np.any(np.asarray(marked) != np.asarray(clean), axis=-1)
    rows, columns = np.nonzero(changed.any(axis=1))[0], np.nonzero(changed.any(axis=0))[0]
    # The box 100…400 of 500 is 19.2…76.8 of 96, and 60…240 of 300 is 12.8…51.2 of 64; PIL rounds down.
    assert (columns[0], columns[-1], rows[0], rows[-1]) == (19, 75, 12, 50)
    assert changed[:, 40].sum() == 2 * TIGHT.mark_width_px
    assert marked.getpixel((40, 13)) == (255, 0, 0)


def test_words_depth_and_objects_follow_the_shares_of_the_image_not_its_pixels(world: World) -> None:
    free = world.encoder_of(FREE)
    depth = world.store.put_depth(np.linspace(0.5, 4.0, 150_000).reshape(300, 500))
    chair = SeenObject(name="chair", image_index=0, box_xyxy_px=(0.0, 0.0, 160.0, 140.0))
    sample = world.sample.replace(depths=(depth, None), objects=(chair,))
    for style in ("marks", "points"):
        tight = TIGHT.replace(lor_regions=style)
        assert question_text(sample, LOR, tight) == question_text(sample, LOR, FREE.replace(lor_regions=style))
    assert world.encoder.regions(sample, DTR) == free.regions(sample, DTR)
    # Of 2 × 3 tokens, each 166 pixels wide and 150 high, the chair touches one.
    assert world.encoder.cells_of_objects(sample, DTR) == [(0,)]
    coverage = world.encoder.vision_inputs(sample, DTR).regions.coverage
    # Red is around the middle of its image; blue lies in the upper two of its image's 2 × 2 tokens.
    assert coverage[:6].tolist() == pytest.approx([2 / 18, 5 / 18, 2 / 18] * 2, abs=1e-6)
    assert coverage[6:].tolist() == [0.5, 0.5, 0.0, 0.0]


def test_without_a_budget_nothing_is_resized_before_the_processor(world: World) -> None:
    free = world.encoder_of(FREE)
    assert free.pixel_limits is None
    assert [image.size for image in free.shown_images(world.sample, LOR)] == [LARGE_WH, SMALL_WH]
    processor = AutoProcessor.from_pretrained(world.model).image_processor
    alone = processor(images=list(free.shown_images(world.sample, LOR)), return_tensors="pt")
    torch.testing.assert_close(
        free.vision_inputs(world.sample, LOR).pixel_values, alone["pixel_values"], rtol=0, atol=0
    )
    assert "mm_processor_kwargs" not in engine_arguments(world.model, EngineConfig(), on_gpu=False)


def test_an_exported_model_has_the_budget_and_draws_its_marks_after_resizing(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "exported"
    AutoProcessor.from_pretrained(world.model).save_pretrained(folder)
    (folder / "config.json").write_bytes((world.model / "config.json").read_bytes())
    describe_model(folder, TIGHT)
    processor = AutoProcessor.from_pretrained(folder)

    def written(region: Region, size: tuple[int, int]) -> dict[str, object]:
        return {
            "mark": region.mark,
            "box": [1000 * side / size[axis % 2] for axis, side in enumerate(region.box_xyxy_px)],
        }

    regions = [[written(RED, LARGE_WH)], [written(BLUE, SMALL_WH)]]
    images = [Image.fromarray(pixels) for pixels in world.pixels]
    for path in (LOR, DTR):
        asked = processor.ask(QUESTION, images, regions, path=path.value)
        assert tuple(asked["input_ids"][0].tolist()) == world.encoder.prompt_token_ids(world.sample, path)
        seen = world.encoder.vision_inputs(world.sample, path).pixel_values
        torch.testing.assert_close(asked["pixel_values"], seen, rtol=0, atol=0)
    assert "The processor resizes images as in training" in (folder / "README.md").read_text()


def test_an_ordinary_exported_model_has_the_budget_too(world: World, tmp_path: Path) -> None:
    build_tiny_checkpoint(tmp_path / "plain", TEXTS, TINY, seed=0, family=world.family, with_regions=False)
    describe_model(tmp_path / "plain", TIGHT.replace(regions="points", lor_regions=None))
    limits = PixelLimits.of_folder(tmp_path / "plain")
    assert limits == PixelLimits(2 * SIDE**2, 9 * SIDE**2, SIDE)


def test_the_engine_gets_resized_images_and_plans_its_memory_for_them(world: World) -> None:
    arguments = engine_arguments(world.model, EngineConfig(), on_gpu=True, pixels=world.encoder.pixel_limits)
    assert arguments["mm_processor_kwargs"] == {
        "images_kwargs": {"do_resize": False, "min_pixels": 2048, "max_pixels": 9216}
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_pixels": 1023}, r"max_pixels=1023 is below one image token .* 32 × 32 = 1024 pixels: set .*=1024"),
        ({"max_pixels": 9216}, r"max_pixels=9216 is below 16384, .* set prompt.max_pixels=16384 or more, or lower"),
        ({"min_pixels": 20000}, r"min_pixels=20000 is above 16384, .* set prompt.min_pixels=16384 or less, or raise"),
    ],
)
def test_a_budget_that_the_model_cannot_keep_is_refused_with_the_nearest_one_that_it_can(
    world: World, settings: dict[str, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        world.encoder_of(FREE.replace(**settings))
    overrides = [f"prompt.{name}={value}" for name, value in settings.items()]
    with pytest.raises(ConfigError, match=message):
        load_config("demo", [*overrides, "model={type: tiny}"])
    config = load_config("demo", [*overrides, f"model={{type: checkpoint, path: {world.model}}}"])
    with pytest.raises(ConfigError, match=message):
        check_model(config)


def test_the_fewest_pixels_are_not_above_the_most() -> None:
    with pytest.raises(ValueError, match=r"min_pixels=5 is above max_pixels=4.* prompt.min_pixels=4 or less"):
        PromptConfig(min_pixels=5, max_pixels=4)


def test_limits_are_read_from_files_of_every_age() -> None:
    old = {"min_pixels": 3136, "max_pixels": 12845056, "patch_size": 14, "merge_size": 2, "size": {"height": 1}}
    new = {"size": {"longest_edge": 16777216, "shortest_edge": 65536}, "patch_size": 16, "merge_size": 2}
    assert PixelLimits.of_processor(old) == PixelLimits(3136, 12845056, 28)
    assert PixelLimits.of_processor(new) == PixelLimits(65536, 16777216, 32)
