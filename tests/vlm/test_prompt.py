"""Prompts: one road for both sides, regions in one place, tokens that lose nothing."""

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from spatial.images import ImageStore
from spatial.sample import BadImageError, ChoiceAnswer, DepthRef, ReasoningPath, Region, SpatialSample
from vlm.config import PromptConfig, TinyModelConfig
from vlm.policy import BANNED_LOGIT, PolicyBatch, PolicyRow, load_policy
from vlm.prompt import PromptEncoder, VisionInputs, decode, question_text
from vlm.regions import describe_boxes, describe_points, draw_marks
from vlm.tiny import build_tiny_checkpoint

PROMPT = PromptConfig(instructions="short", regions="marks", coordinate_grid=100, mark_width_px=1)
RESPONSE = (
    '<detect>Find 1 relevant objects:\n<3d_box center="-0.02,1.06,2.03">cube (red point)</3d_box></detect>'
    "<think>z red point 2.03, so 2.03 m.</think><answer>2.03 m</answer>"
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    return ImageStore(tmp_path_factory.mktemp("images"))


def make_sample(store: ImageStore, seed: int = 0, **changes: object) -> SpatialSample:
    pixels = np.random.default_rng(seed).integers(0, 255, (128, 128, 3), dtype=np.uint8)
    fields = {
        "sample_id": f"s{seed}",
        "domain": "test",
        "kind": "depth",
        "paths": (ReasoningPath.LOR, ReasoningPath.DTR),
        "images": (store.put(pixels),),
        "question": "What is the depth of the red point in m?",
        "answer": ChoiceAnswer(letter="A", num_options=2),
        "regions": (Region(mark="red", box_xyxy_px=(32.0, 16.0, 64.0, 127.9)),),
    }
    return SpatialSample.model_validate({**fields, **changes})


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory, store: ImageStore) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    sample = make_sample(store)
    texts = [question_text(sample, path, PROMPT) for path in (ReasoningPath.LOR, ReasoningPath.DTR)] + [RESPONSE]
    build_tiny_checkpoint(folder, texts, TinyModelConfig(), seed=0)
    return folder


@pytest.fixture(scope="module")
def encoder(model_folder: Path, store: ImageStore) -> PromptEncoder:
    return PromptEncoder(model_folder, store, PROMPT)


def test_a_response_survives_its_tokens(encoder: PromptEncoder) -> None:
    ids = encoder.response_token_ids(RESPONSE)
    assert decode(encoder.tokenizer, ids) == RESPONSE
    assert ids[-1] == encoder.end_token_id


def test_each_digit_and_each_tag_is_one_token(encoder: PromptEncoder) -> None:
    def count(text: str) -> int:
        return len(encoder.tokenizer(text, add_special_tokens=False)["input_ids"])

    assert count("2.03") == 4
    for tag in ("<think>", "</think>", "<answer>", "</answer>", "<detect>", "</detect>", '<3d_box center="', '">'):
        assert count(tag) == 1


def test_image_placeholders_are_expanded_once(encoder: PromptEncoder, store: ImageStore) -> None:
    ids = encoder.prompt_token_ids(make_sample(store), ReasoningPath.LOR)
    assert ids.count(encoder.image_token_id) == (128 // 32) ** 2


def test_the_sides_prompt_equals_the_processors_own(encoder: PromptEncoder, store: ImageStore) -> None:
    sample = make_sample(store)
    encoded = encoder.encode(sample, ReasoningPath.DTR)
    theirs = encoder._processor(text=[encoded.text], images=[list(encoded.images)], return_tensors="pt")
    assert tuple(theirs["input_ids"][0].tolist()) == encoder.prompt_token_ids(sample, ReasoningPath.DTR)
    torch.testing.assert_close(theirs["pixel_values"], encoder.vision_inputs(sample, ReasoningPath.DTR).pixel_values)


@pytest.mark.parametrize("ask", ["encode", "vision_inputs"])
def test_an_error_about_an_image_names_its_sample_in_every_process(
    model_folder: Path, tmp_path: Path, ask: str
) -> None:
    store = ImageStore(tmp_path)
    encoder = PromptEncoder(model_folder, store, PROMPT)
    good, bad = make_sample(store, seed=1), make_sample(store, seed=2)
    bad = bad.replace(images=(*good.images, *bad.images))
    file = store.path(bad.images[1])
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(BadImageError, match=rf"sample s2: images\.1: image .*{file.name}: no readable PNG") as caught:
        getattr(encoder, ask)(bad, ReasoningPath.LOR)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    file.unlink()
    with pytest.raises(BadImageError, match=rf"sample s2: images\.1: image .*put .*{file.name} in place"):
        getattr(encoder, ask)(bad, ReasoningPath.LOR)


def test_an_error_about_a_depth_map_names_its_sample(model_folder: Path, store: ImageStore) -> None:
    encoder = PromptEncoder(model_folder, store, PROMPT.replace(regions="tokens", region_depth=True))
    lost = DepthRef(sha256="0" * 64, width_px=128, height_px=128)
    with pytest.raises(BadImageError, match=r"sample s3: depths\.0: depth 000000000000… is not in the image store"):
        encoder.prompt_token_ids(make_sample(store, seed=3, depths=(lost,)), ReasoningPath.DTR)


def test_paths_differ_in_their_instruction_only(encoder: PromptEncoder, store: ImageStore) -> None:
    sample = make_sample(store)
    lor, dtr = (encoder.text(sample, path) for path in (ReasoningPath.LOR, ReasoningPath.DTR))
    assert lor.replace(" think<", " detect<") == dtr


def test_an_instruction_of_ones_own_takes_the_place_of_its_path_s_only(store: ImageStore) -> None:
    config = PROMPT.replace(own_instructions={ReasoningPath.LOR: "Think in metres: first depths, then the rest."})
    sample = make_sample(store)
    assert question_text(sample, ReasoningPath.LOR, config).endswith("Think in metres: first depths, then the rest.")
    assert question_text(sample, ReasoningPath.DTR, config) == question_text(sample, ReasoningPath.DTR, PROMPT)
    with pytest.raises(ValueError, match="which starts special tokens"):
        PROMPT.replace(own_instructions={ReasoningPath.LOR: "look at <|image_pad|>"})


def test_boxes_are_scaled_to_the_grid_with_leading_zeros(store: ImageStore) -> None:
    sample = make_sample(store)
    assert describe_boxes(sample.regions, sample.images, grid=100) == "red point [25,12,50,99]"
    assert describe_boxes(sample.regions, sample.images, grid=1000) == "red point [250,125,500,999]"
    assert describe_points(sample.regions, sample.images, grid=1000) == "red point [375,562]"


def test_a_mark_is_drawn_on_a_copy_at_the_regions_border(store: ImageStore) -> None:
    sample = make_sample(store)
    clean = store.open(sample.images[0])
    marked = draw_marks(clean, sample.regions, width_px=1)
    assert marked.getpixel((32, 16)) == (255, 0, 0)
    assert marked.getpixel((63, 60)) == (255, 0, 0)
    changed = np.any(np.asarray(marked) != np.asarray(store.open(sample.images[0])), axis=-1)
    assert changed[16:128, 32:64].any()
    assert not changed[:16].any()
    assert not changed[17:126, 33:63].any()


def test_moving_a_region_changes_the_pixels_that_the_tower_sees(encoder: PromptEncoder, store: ImageStore) -> None:
    moved = make_sample(store, regions=(Region(mark="red", box_xyxy_px=(40.0, 16.0, 64.0, 100.0)),))
    here, there = (
        encoder.vision_inputs(make_sample(store), ReasoningPath.DTR),
        encoder.vision_inputs(moved, ReasoningPath.DTR),
    )
    assert not torch.equal(here.pixel_values, there.pixel_values)


@pytest.mark.parametrize("style", ["marks", "points"])
def test_regions_may_be_tokens_through_one_path_and_words_through_the_other(
    model_folder: Path, store: ImageStore, style: Literal["marks", "points"]
) -> None:
    encoder = PromptEncoder(model_folder, store, PromptConfig(instructions="short", lor_regions=style))
    sample = make_sample(store)
    lor, dtr = (encoder.vision_inputs(sample, path) for path in (ReasoningPath.LOR, ReasoningPath.DTR))
    assert torch.equal(lor.pixel_values, dtr.pixel_values) == (style == "points")
    assert [len(encoder.regions(sample, path)[0]) for path in (ReasoningPath.LOR, ReasoningPath.DTR)] == [
        0,
        len(sample.regions),
    ]
    assert "red point [" in encoder.text(sample, ReasoningPath.LOR)
    assert "red point [" not in encoder.text(sample, ReasoningPath.DTR)


def test_many_samples_at_once_give_what_each_gives_alone(encoder: PromptEncoder, store: ImageStore) -> None:
    samples = [make_sample(store, seed) for seed in (5, 6, 5)]
    samples[1] = make_sample(store, 6, images=(*samples[0].images, *samples[1].images))
    together = encoder.vision_inputs_of([(sample, ReasoningPath.DTR) for sample in samples])
    for sample, inputs in zip(samples, together, strict=True):
        encoder._vision.clear()
        alone = encoder.vision_inputs(sample, ReasoningPath.DTR)
        torch.testing.assert_close(inputs.pixel_values, alone.pixel_values, rtol=0, atol=0)
        assert inputs.image_grid_thw.tolist() == alone.image_grid_thw.tolist()


def test_pixels_are_kept_up_to_a_number_of_bytes_the_latest_ones(model_folder: Path, store: ImageStore) -> None:
    small = make_sample(store, 0)
    one_bytes = PromptEncoder(model_folder, store, PromptConfig()).vision_inputs(small, ReasoningPath.DTR).num_bytes
    encoder = PromptEncoder(model_folder, store, PromptConfig(), max_cached_bytes=3 * one_bytes)
    samples = [make_sample(store, seed) for seed in range(5)]
    first = [encoder.vision_inputs(sample, ReasoningPath.DTR) for sample in samples]
    again = [encoder.vision_inputs(sample, ReasoningPath.DTR) for sample in reversed(samples)]
    assert [mine is theirs for mine, theirs in zip(reversed(again), first, strict=True)] == [False] * 2 + [True] * 3
    # One with four times the pixels is given and not kept; it takes no room from the others.
    large = make_sample(store, 7, images=(*small.images, *samples[1].images, *samples[2].images, *samples[3].images))
    assert encoder.vision_inputs(large, ReasoningPath.DTR).num_bytes > 3 * one_bytes
    assert encoder._vision.currsize == 3 * one_bytes


def test_logprobs_are_those_of_the_plain_model_over_tokens_that_may_be_sampled(
    encoder: PromptEncoder, model_folder: Path, store: ImageStore
) -> None:
    policy = load_policy(model_folder)
    samples = [make_sample(store, seed) for seed in range(2)]
    responses = [encoder.response_token_ids(RESPONSE), encoder.response_token_ids("<think></think>")]
    rows = [
        PolicyRow(
            encoder.prompt_token_ids(sample, ReasoningPath.DTR),
            response,
            encoder.vision_inputs(sample, ReasoningPath.DTR),
        )
        for sample, response in zip(samples, responses, strict=True)
    ]
    batch = PolicyBatch.collate(rows, encoder.pad_token_id, encoder.image_token_id)
    with torch.no_grad():
        logprobs, entropies = policy(batch, temperature=0.7)
        for index, row in enumerate(rows):
            ids = torch.tensor([[*row.prompt_token_ids, *row.response_token_ids]])
            logits = policy.vlm(
                input_ids=ids,
                mm_token_type_ids=(ids == encoder.image_token_id).long(),
                pixel_values=row.vision.pixel_values,
                image_grid_thw=row.vision.image_grid_thw,
            ).logits[0]
            logits = logits / 0.7
            logits[:, list(encoder.banned_token_ids)] = BANNED_LOGIT
            expected = logits.log_softmax(-1)
            start = len(row.prompt_token_ids)
            for offset, token in enumerate(row.response_token_ids):
                got = logprobs[index, start + offset]
                torch.testing.assert_close(got, expected[start + offset - 1, token], atol=1e-5, rtol=0)
            assert logprobs[index, :start].abs().sum() == 0
            assert (entropies[index, start : start + len(row.response_token_ids)] > 0).all()


def test_more_calls_of_the_head_than_response_tokens_change_nothing(
    encoder: PromptEncoder, model_folder: Path, store: ImageStore
) -> None:
    policy = load_policy(model_folder)
    sample = make_sample(store)
    response = encoder.response_token_ids("<think></think>")
    row = PolicyRow(
        encoder.prompt_token_ids(sample, ReasoningPath.DTR), response, encoder.vision_inputs(sample, ReasoningPath.DTR)
    )
    results = []
    for min_head_calls in (1, 2, len(response) + 3):
        batch = PolicyBatch.collate([row], encoder.pad_token_id, encoder.image_token_id, min_head_calls)
        assert batch.to("cpu").num_head_calls == min_head_calls
        calls: list[int] = []
        hook = policy.vlm.lm_head.register_forward_hook(lambda head, given, _, calls=calls: calls.append(len(given[0])))
        policy.zero_grad()
        logprobs, entropies = policy(batch)
        assert (len(calls), sum(calls)) == (min_head_calls, len(response))
        (logprobs.sum() + entropies.sum()).backward()
        hook.remove()
        results.append((logprobs.detach(), entropies.detach(), policy.vlm.lm_head.weight.grad.clone()))
    for found in results[1:]:
        for expected, value in zip(results[0], found, strict=True):
            torch.testing.assert_close(value, expected, atol=1e-5, rtol=1e-5)
    assert results[0][2].abs().max() > 0


def test_rows_of_one_prompt_share_its_image_and_get_what_they_would_alone(
    model_folder: Path, encoder: PromptEncoder, store: ImageStore
) -> None:
    policy = load_policy(model_folder)
    one, other = (make_sample(store, seed) for seed in range(2))
    order = [one, other, one, one]
    responses = [encoder.response_token_ids(f"{RESPONSE}{'<answer>' * number}") for number in range(4)]

    def results(visions: list[VisionInputs]) -> tuple[PolicyBatch, torch.Tensor, torch.Tensor]:
        rows = [
            PolicyRow(encoder.prompt_token_ids(sample, ReasoningPath.DTR), response, vision)
            for sample, response, vision in zip(order, responses, visions, strict=True)
        ]
        batch = PolicyBatch.collate(rows, encoder.pad_token_id, encoder.image_token_id)
        policy.zero_grad()
        logprobs, _ = policy(batch)
        logprobs.sum().backward()
        return batch, logprobs.detach(), policy.vlm.model.visual.patch_embed.proj.weight.grad.clone()

    shared = encoder.vision_inputs_of([(sample, ReasoningPath.DTR) for sample in order])
    assert shared[0] is shared[2]
    batch, logprobs, gradient = results(shared)
    apart, expected, expected_gradient = results(
        [replace(vision, image_names=((number,),)) for number, vision in enumerate(shared)]
    )
    assert batch.shown_images.tolist() == [0, 1, 0, 0]
    assert apart.shown_images.tolist() == [0, 1, 2, 3]
    assert (len(batch.image_grid_thw), len(apart.image_grid_thw)) == (2, 4)
    torch.testing.assert_close(logprobs, expected, atol=1e-6, rtol=0)
    assert gradient.abs().max() > 0
    torch.testing.assert_close(gradient, expected_gradient, atol=1e-4, rtol=1e-4)


def test_the_mask_keeps_the_end_token_and_drops_padding(encoder: PromptEncoder, store: ImageStore) -> None:
    sample = make_sample(store)
    vision = encoder.vision_inputs(sample, ReasoningPath.DTR)
    prompt, end = encoder.prompt_token_ids(sample, ReasoningPath.DTR), encoder.end_token_id
    rows = [PolicyRow(prompt, (3, end), vision), PolicyRow(prompt[:-1], (end,), vision)]
    batch = PolicyBatch.collate(rows, encoder.pad_token_id, encoder.image_token_id)
    assert not batch.response_mask[:, : len(prompt) - 1].any()
    assert batch.response_mask[:, len(prompt) - 1 :].tolist() == [[False, True, True], [True, False, False]]
    assert batch.attention_mask[:, : len(prompt) - 1].all()
    assert batch.attention_mask[:, len(prompt) - 1 :].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert encoder.pad_token_id != end


def test_a_model_that_lacks_a_weight_is_refused_by_its_name(model_folder: Path, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    from vlm.errors import CheckpointError

    broken = tmp_path / "broken"
    shutil.copytree(model_folder, broken)
    weights = load_file(broken / "model.safetensors")
    name = next(key for key in weights if key.endswith("mlp.up_proj.weight"))
    del weights[name]
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=name.split(".", 1)[1].replace(".", r"\.")):
        load_policy(broken)
