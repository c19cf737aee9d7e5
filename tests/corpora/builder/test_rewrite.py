"""The client of a rewriting server, against one that answers well, wrongly, late, or not at all."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from corpora.builder.build import ask_image
from corpora.builder.config import BuildConfig, OpenAIRewrite, SceneSource
from corpora.builder.errors import BuildError
from corpora.builder.rewrite import Rewriter
from spatial.grammar import parse_response
from spatial.sample import ReasoningPath, SpatialSample

from .fake_server import Reply, Server, chain_in, completion, rewrite_well, rewritten, serve
from .worlds import random_scene

Answer = Callable[[dict[str, Any]], Reply]


@pytest.fixture(scope="module")
def samples() -> list[SpatialSample]:
    config = BuildConfig(out=Path("out"), source=SceneSource())
    return ask_image(config, random_scene(np.random.default_rng(1), 6), {})


def rewrite(
    samples: list[SpatialSample], answer: Answer, **changes: Any
) -> tuple[list[SpatialSample], dict[ReasoningPath, dict[str, int]], Server]:
    with serve(answer) as server:
        settings = {"base_url": server.base_url, "model": "fake", "attempts": 1, "timeout_s": 5.0, **changes}
        with Rewriter(OpenAIRewrite(**settings), seed=3) as rewriter:
            return *rewriter.rewrite(samples), server


def total(counts: dict[ReasoningPath, dict[str, int]]) -> dict[str, int]:
    reasons = {reason for counted in counts.values() for reason in counted}
    return {reason: sum(counted.get(reason, 0) for counted in counts.values()) for reason in sorted(reasons)}


def test_a_good_rewrite_replaces_the_thought_and_nothing_else(samples: list[SpatialSample]) -> None:
    def answer(request: dict[str, Any]) -> Reply:
        text = rewritten(chain_in(request)).replace("<answer>", "\n<answer> ").replace(" m</answer>", "0 m</answer>")
        return completion(f"\n{text.replace('objects:', 'objects: ')}\n")

    assert any(chain.endswith(" m</answer>") for sample in samples for chain in sample.chains.values())
    found, counts, _ = rewrite(samples, answer)
    num_lor = len(samples)
    assert counts == {
        ReasoningPath.LOR: {"kept": num_lor},
        ReasoningPath.DTR: {"kept": sum(ReasoningPath.DTR in s.chains for s in samples)},
    }
    for before, after in zip(samples, found, strict=True):
        assert after.replace(chains=before.chains) == before
        for path, chain in after.chains.items():
            assert chain == rewritten(before.chains[path])
            assert 100 <= len((parse_response(path, chain).think or "").split()) <= 200


def test_a_request_tells_the_question_the_chain_and_its_own_seed(samples: list[SpatialSample]) -> None:
    _, _, server = rewrite(samples, rewrite_well, temperature=0.3, max_tokens=77)
    assert {chain_in(request) for request in server.requests} == {c for s in samples for c in s.chains.values()}
    assert len({request["seed"] for request in server.requests}) == len(server.requests)
    request = server.requests[0]
    assert (request["model"], request["temperature"], request["max_tokens"]) == ("fake", 0.3, 77)
    assert any(sample.question in request["messages"][-1]["content"] for sample in samples)
    assert "100 to 200 words" in request["messages"][-1]["content"]


def wrong_answer(request: dict[str, Any]) -> Reply:
    return completion(rewritten(chain_in(request)).rpartition("<answer>")[0] + "<answer>none</answer>")


def wrong_number(request: dict[str, Any]) -> Reply:
    return completion(rewritten(chain_in(request)).replace("leave no doubt", "leave 9.99 m"))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda request: completion("I cannot do that."), "grammar"),
        (lambda request: completion(chain_in(request)), "length"),
        (wrong_answer, "answer"),
        (wrong_number, "number"),
        (lambda request: completion(None), "empty"),
        (lambda request: completion(rewritten(chain_in(request)), finish_reason="length"), "cut_off"),
        (lambda request: Reply(b"<html>busy</html>", content_type="text/html"), "unreadable"),
        (lambda request: Reply(b'{"choices": []}'), "unreadable"),
        (lambda request: Reply(b'{"choices": [{"message": 3}]}'), "empty"),
        (lambda request: Reply(b'{"choices": ['), "unreadable"),
        (lambda request: Reply(b'{"error": {"message": "too long"}}', status=400), "status_400"),
        (lambda request: Reply(b"out of memory", status=500), "status_500"),
        (lambda request: Reply(rewrite_well(request).body, wait_s=0.6), "timeout"),
        (lambda request: Reply(rewrite_well(request).body, byte_every_s=0.1), "timeout"),
    ],
)
def test_what_fails_leaves_the_template_and_is_counted(
    samples: list[SpatialSample], answer: Answer, reason: str
) -> None:
    found, counts, _ = rewrite(samples[:2], answer, timeout_s=0.3 if reason == "timeout" else 5.0)
    assert found == samples[:2]
    assert total(counts) == {reason: sum(len(sample.chains) for sample in samples[:2])}


def test_a_moved_detect_block_is_refused_on_its_path_only(samples: list[SpatialSample]) -> None:
    def answer(request: dict[str, Any]) -> Reply:
        return completion(rewritten(chain_in(request)).replace('">', '1">'))

    found, counts, _ = rewrite(samples, answer)
    assert set(counts[ReasoningPath.LOR]) == {"kept"}
    assert set(counts[ReasoningPath.DTR]) == {"detect"}
    for before, after in zip(samples, found, strict=True):
        assert after.chains.get(ReasoningPath.DTR) == before.chains.get(ReasoningPath.DTR)


def test_a_server_that_stumbles_is_asked_again(samples: list[SpatialSample]) -> None:
    seen: set[str] = set()

    def answer(request: dict[str, Any]) -> Reply:
        if (chain := chain_in(request)) not in seen:
            seen.add(chain)
            return Reply(b"busy", status=503)
        return rewrite_well(request)

    _, counts, server = rewrite(samples[:2], answer, attempts=2)
    assert set(total(counts)) == {"kept"}
    assert len(server.requests) == 2 * len(seen)


def test_no_more_requests_are_under_way_than_allowed(samples: list[SpatialSample]) -> None:
    def answer(request: dict[str, Any]) -> Reply:
        return Reply(rewrite_well(request).body, wait_s=0.05)

    _, counts, server = rewrite(samples, answer, concurrency=3)
    assert total(counts)["kept"] > 6
    assert server.most_at_once == 3


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_server_that_refuses_everybody_stops_the_build(samples: list[SpatialSample], status: int) -> None:
    with pytest.raises(BuildError, match=rf"refuses model 'fake' with status {status}: correct rewrite.model"):
        rewrite(samples, lambda request: Reply(b"{}", status=status))


def test_a_server_that_is_not_there_stops_the_build(samples: list[SpatialSample]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}/v1"
    with pytest.raises(BuildError, match="cannot be reached"):
        rewrite(samples, rewrite_well, base_url=url)


def test_the_key_comes_from_the_environment(samples: list[SpatialSample], monkeypatch: pytest.MonkeyPatch) -> None:
    config = OpenAIRewrite(base_url="http://127.0.0.1:1/v1", model="fake", api_key_env="A_KEY_OF_TESTS")
    monkeypatch.delenv("A_KEY_OF_TESTS", raising=False)
    with pytest.raises(BuildError, match="A_KEY_OF_TESTS: this environment variable is not set"):
        Rewriter(config, seed=0)
    monkeypatch.setenv("A_KEY_OF_TESTS", "secret")
    with Rewriter(config, seed=0):
        pass
