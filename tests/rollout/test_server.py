"""A model of ours behind vLLM's own OpenAI-compatible server, with nothing of this project but its plugin."""

import base64
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import torch

from spatial.sample import ReasoningPath, Region
from tests.vllm_server import vllm_server
from vlm.policy import PolicyBatch, PolicyRow, load_policy
from vlm.prompt import question_text

from .conftest import PROMPT, TOLERANCE, TinyWorld

pytestmark = pytest.mark.stack
RED = Region(mark="red", box_xyxy_px=(16.0, 32.0, 96.0, 112.0))


@pytest.fixture(scope="module")
def url(world: TinyWorld, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("server") / "log"
    with vllm_server(world.model, log, "--max-model-len=512", "--trust-request-mm-kwargs") as address:
        yield f"{address}/chat/completions"


def ask(url: str, world: TinyWorld, regions: object) -> httpx.Response:
    """The first sample's question, greedily, as any client of such a server would."""
    sample = world.samples[0]
    image = base64.b64encode(world.images.path(sample.images[0]).read_bytes()).decode()
    content = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}},
        {"type": "text", "text": question_text(sample, ReasoningPath.DTR, PROMPT)},
    ]
    body = {
        "model": "tiny", "messages": [{"role": "user", "content": content}], "temperature": 0.0, "max_tokens": 12,
        "logprobs": True, "return_tokens_as_token_ids": True, "mm_processor_kwargs": {"regions": regions},
    }  # fmt: skip
    return httpx.post(url, json=body, timeout=60)


def tokens_and_logprobs(answer: dict[str, Any]) -> tuple[tuple[int, ...], list[float]]:
    content = answer["choices"][0]["logprobs"]["content"]
    return tuple(int(token["token"].removeprefix("token_id:")) for token in content), [t["logprob"] for t in content]


def test_the_server_answers_about_a_region_as_the_learner_would(url: str, world: TinyWorld) -> None:
    answer = ask(url, world, [[{"mark": "red", "box": [125, 250, 750, 875]}]])
    assert answer.status_code == 200, answer.text
    token_ids, logprobs = tokens_and_logprobs(answer.json())
    sample = world.samples[0].replace(regions=(RED,), depths=())
    assert (sample.images[0].width_px, sample.images[0].height_px) == (128, 128)
    prompt = world.encoder.prompt_token_ids(sample, ReasoningPath.DTR)
    assert answer.json()["usage"]["prompt_tokens"] == len(prompt)
    row = PolicyRow(prompt, token_ids, world.encoder.vision_inputs(sample, ReasoningPath.DTR))
    batch = PolicyBatch.collate([row], world.encoder.pad_token_id, world.encoder.image_token_id)
    with torch.no_grad():
        mine, _ = load_policy(world.model)(batch, bans=False)
    assert logprobs == pytest.approx(mine[batch.response_mask].tolist(), abs=TOLERANCE)


def test_another_region_is_another_question(url: str, world: TinyWorld) -> None:
    found = [
        tokens_and_logprobs(ask(url, world, [[{"mark": "red", "box": box}]]).json())[1]
        for box in ([125, 250, 750, 875], [0, 0, 200, 200], [125, 250, 750, 875])
    ]
    assert found[0] == pytest.approx(found[2], abs=1e-6)
    assert found[0] != pytest.approx(found[1], abs=1e-4)


@pytest.mark.parametrize(
    ("regions", "told"),
    [
        ([[{"mark": "red", "box": [125, 250, 750, 1875]}]], "less than or equal to 1000"),
        ([[{"mark": "red", "box": [750, 250, 125, 875]}]], "has no area"),
        ([[], [{"mark": "red", "box": [125, 250, 750, 875]}]], "given for 2 images, but there are 1"),
    ],
)
def test_a_region_that_cannot_be_is_refused_in_words(url: str, world: TinyWorld, regions: object, told: str) -> None:
    answer = ask(url, world, regions)
    assert answer.status_code in (400, 422)
    assert told in answer.text
