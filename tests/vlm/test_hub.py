"""An exported model in plain transformers: a process that cannot import this project answers as the learner does."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from spatial.images import ImageStore
from spatial.sample import ChoiceAnswer, ReasoningPath, Region, SpatialSample
from vlm.config import PromptConfig, TinyModelConfig
from vlm.export import describe_model
from vlm.hub.processing_regions import COLOURS, as_shown, read_region
from vlm.policy import PolicyBatch, PolicyRow, load_policy
from vlm.prompt import PromptEncoder
from vlm.tiny import build_tiny_checkpoint

QUESTION = "Which is closer to the camera? red point (A) or blue point (B)"
RESPONSE = "<think>red point is closer.</think><answer>A</answer>"
TEXTS = [QUESTION, RESPONSE, " red point: blue point: green point: language detect think answer [0,1] in image 2"]
PROMPT = PromptConfig(instructions="short", lor_regions="marks")
TINY = TinyModelConfig(image_size_px=128, vision_layers=2, vision_width=32, text_layers=2, text_width=64, num_heads=2)
RED = Region(mark="red", box_xyxy_px=(16.0, 32.0, 96.0, 112.0))
BLUE = Region(mark="blue", box_xyxy_px=(64.0, 0.0, 128.0, 64.0), image_index=1)

# What a stranger runs. `-S` leaves out the .pth files, and with them this project.
STRANGER = """
import json, sys
sys.path.insert(0, sys.argv[1])
try:
    import sr_real_torchvision_hook  # its .pth is passed over too; see launch/machine/torchvision_hook.py
    sr_real_torchvision_hook.activate()
except ModuleNotFoundError:
    pass
for name in ("vlm", "spatial"):
    try:
        __import__(name)
        sys.exit(f"{name} can be imported, so this proves nothing")
    except ModuleNotFoundError:
        pass
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

asked = json.load(open(sys.argv[2]))
processor = AutoProcessor.from_pretrained(asked["folder"], trust_remote_code=True)
model = AutoModelForImageTextToText.from_pretrained(asked["folder"], trust_remote_code=True).eval()
found = []
for case in asked["cases"]:
    images = [Image.open(file) for file in case["images"]]
    inputs = processor.ask(asked["question"], images, case["regions"], path=case["path"])
    response = torch.tensor([case["response"]])
    with torch.no_grad():
        length = inputs["input_ids"].shape[1]
        full = dict(inputs)
        added = {"input_ids": response, "attention_mask": 1 + 0 * response, "mm_token_type_ids": 0 * response}
        for key, filler in added.items():
            full[key] = torch.cat([inputs[key], filler], dim=1)
        logits = model(**full).logits[0, length - 1 : -1].float()
        logits[:, asked["banned"]] = -1e4
        logprobs = logits.log_softmax(-1).gather(-1, response[0][:, None])[:, 0]
        greedy = model.generate(**inputs, max_new_tokens=8, do_sample=False)
        several = model.generate(**inputs, max_new_tokens=8, do_sample=True, top_k=1, num_return_sequences=3)
    found.append({
        "prompt": inputs["input_ids"][0].tolist(),
        "logprobs": logprobs.tolist(),
        "greedy": greedy[0, length:].tolist(),
        "text": processor.answer(inputs, greedy),
        "several": several[:, length:].tolist(),
    })
print("FOUND" + json.dumps(found))
"""


def run_stranger(asked: dict[str, object], tmp_path: Path, code: str = STRANGER) -> subprocess.CompletedProcess[str]:
    file = tmp_path / "asked.json"
    file.write_text(json.dumps(asked))
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hub"), "PYTHONPATH": ""}
    command = [sys.executable, "-S", "-c", code, sysconfig.get_path("purelib"), str(file)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=240)


class World:
    def __init__(self, folder: Path) -> None:
        self.model = folder / "model"
        build_tiny_checkpoint(self.model, TEXTS, TINY, seed=0)
        describe_model(self.model, PROMPT)
        store = ImageStore(folder / "images")
        rng = np.random.default_rng(0)
        pixels = [rng.integers(0, 255, (128, 128, 3), dtype=np.uint8) for _ in range(2)]
        self.refs = [store.put(values) for values in pixels]
        self.files = [folder / f"{index}.png" for index in range(2)]
        for file, values in zip(self.files, pixels, strict=True):
            Image.fromarray(values).save(file)
        self.encoder = PromptEncoder(self.model, store, PROMPT)
        self.policy = load_policy(self.model)
        self.response = self.encoder.response_token_ids(RESPONSE)

    def sample(self, *regions: Region, num_images: int = 1) -> SpatialSample:
        return SpatialSample(
            sample_id="s",
            domain="toy",
            kind="closer",
            paths=(ReasoningPath.LOR, ReasoningPath.DTR),
            images=tuple(self.refs[:num_images]),
            question=QUESTION,
            answer=ChoiceAnswer(letter="A", num_options=2),
            regions=regions,
        )

    def expected(self, sample: SpatialSample, path: ReasoningPath) -> tuple[list[int], list[float]]:
        """The learner's prompt, and the log-probabilities of the response after it."""
        prompt = self.encoder.prompt_token_ids(sample, path)
        row = PolicyRow(prompt, self.response, self.encoder.vision_inputs(sample, path))
        batch = PolicyBatch.collate([row], self.encoder.pad_token_id, self.encoder.image_token_id)
        with torch.no_grad():
            logprobs, _ = self.policy(batch)
        return list(prompt), logprobs[batch.response_mask].tolist()

    def case(self, sample: SpatialSample, path: ReasoningPath) -> dict[str, object]:
        def written(region: Region) -> dict[str, object]:
            return {"mark": region.mark, "box": [round(1000 * side / 128) for side in region.box_xyxy_px]}

        return {
            "path": path.value,
            "images": list(map(str, self.files[: len(sample.images)])),
            "regions": [
                [written(region) for region in sample.regions_of(index)] for index in range(len(sample.images))
            ],
            "response": list(self.response),
        }


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("hub"))


def test_without_this_project_plain_transformers_answers_as_the_learner_does(world: World, tmp_path: Path) -> None:
    asked = [
        (world.sample(), ReasoningPath.DTR),
        (world.sample(RED), ReasoningPath.DTR),
        (world.sample(RED, BLUE, num_images=2), ReasoningPath.DTR),
        (world.sample(RED, BLUE, num_images=2), ReasoningPath.LOR),  # drawn on the images, and in words
    ]
    done = run_stranger(
        {
            "folder": str(world.model),
            "question": QUESTION,
            "banned": list(world.encoder.banned_token_ids),
            "cases": [world.case(*pair) for pair in asked],
        },
        tmp_path,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answers = json.loads(done.stdout.split("FOUND")[1])
    for answer, pair in zip(answers, asked, strict=True):
        prompt, logprobs = world.expected(*pair)
        assert answer["prompt"] == prompt
        np.testing.assert_allclose(answer["logprobs"], logprobs, atol=1e-5)
        assert answer["several"] == 3 * [answer["greedy"]]
        assert not set(answer["greedy"]) & set(world.encoder.banned_token_ids)
    assert answers[0]["logprobs"] != answers[1]["logprobs"]


def test_without_its_code_plain_transformers_refuses_the_model(world: World, tmp_path: Path) -> None:
    code = STRANGER.replace("trust_remote_code=True", "trust_remote_code=False")
    done = run_stranger({"folder": str(world.model), "question": QUESTION, "cases": [], "banned": []}, tmp_path, code)
    assert done.returncode != 0
    assert "trust_remote_code=True" in done.stderr


def test_a_mark_means_the_same_beside_an_export_as_in_the_project() -> None:
    for mark in (*COLOURS, "1", "8", "9", "17", "99"):
        region = Region(mark=mark, box_xyxy_px=(10.0, 20.0, 50.0, 60.0))
        shown = read_region({"mark": mark, "box": [100, 200, 500, 600]}, (100, 100), 0)
        assert (shown.label, shown.colour, shown.box_xyxy_px) == (region.label, region.colour, region.box_xyxy_px)


@pytest.mark.parametrize(
    ("region", "message"),
    [
        ({"mark": "pink", "box": [0, 0, 10, 10]}, "mark must be one of red"),
        ({"mark": "red", "box": [0, 0, 10]}, "must be"),
        ({"mark": "red", "box": [10, 0, 10, 10]}, "no area"),
        ({"mark": "red", "box": [0, 0, 1001, 10]}, "within 0 to 1000"),
        ({"box": [0, 0, 10, 10]}, "mark must be"),
    ],
)
def test_a_region_that_cannot_be_read_is_refused_by_field(region: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_region(region, (100, 100), 0)


def test_an_exported_model_sees_the_pixels_that_training_stores(tmp_path: Path) -> None:
    exif, random = Image.Exif(), np.random.default_rng(0)
    exif[0x0112] = 6
    Image.fromarray(random.integers(0, 255, (8, 16, 3), dtype=np.uint8)).save(tmp_path / "phone.jpg", exif=exif)
    Image.fromarray(random.integers(0, 255, (8, 16, 4), dtype=np.uint8)).save(tmp_path / "alpha.png")
    store = ImageStore(tmp_path / "store")
    for name in ("phone.jpg", "alpha.png"):
        stored = store.open(store.put_encoded((tmp_path / name).read_bytes()))
        with Image.open(tmp_path / name) as image:
            np.testing.assert_array_equal(np.asarray(as_shown(image)), np.asarray(stored))
