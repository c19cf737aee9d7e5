"""Tokens a second through `RolloutEngine` against raw vLLM on the same prompts, and without regions, in the same run.

    python -m benchmarks.rollout [--groups 12] [--rounds 12]

The arms share one engine, seeds and sampling parameters, so "ours" and "raw" generate the same tokens; "plain" is ours
with the regions left out of the same samples. Each round has images of its own, vLLM's caches are emptied before each
arm, and the arms take turns in going first. The raw arm gets text, decoded images and regions ready-made, one
`AsyncLLM.generate` a response. Weights are random: responses end anywhere.
"""

import argparse
import asyncio
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from flow.trajectory import RolloutRequest
from rollout.config import EngineConfig
from rollout.engine import EngineSpec, RolloutEngine
from rollout.responses import sampling_params
from spatial.images import ImageStore
from spatial.sample import ChoiceAnswer, ReasoningPath, Region, SpatialSample
from vlm.config import PromptConfig, TinyModelConfig

GROUP_SIZE = 8
MAX_TOKENS = 96
QUESTION = "Which is closer to the camera? A. red point B. blue point"
PROMPT = PromptConfig(instructions="short")


def make_requests(images: ImageStore, num_groups: int, seed: int) -> list[RolloutRequest]:
    """Groups of `GROUP_SIZE` requests, each group about an image of its own."""
    random = np.random.default_rng(seed)
    requests = []
    for group in range(num_groups):
        sample = SpatialSample(
            sample_id=f"{seed}-{group}",
            domain="benchmark",
            kind="closer",
            paths=(ReasoningPath.DTR,),
            images=(images.put(random.integers(0, 255, (128, 128, 3), dtype=np.uint8)),),
            question=QUESTION,
            answer=ChoiceAnswer(letter="A", num_options=2),
            regions=(
                Region(mark="red", box_xyxy_px=(1.0, 2.0, 40.0, 50.0)),
                Region(mark="blue", box_xyxy_px=(50.0, 20.0, 70.0, 50.0)),
            ),
        )
        requests += [
            RolloutRequest(group, member, sample, ReasoningPath.DTR, group * GROUP_SIZE + member, 1.0, MAX_TOKENS)
            for member in range(GROUP_SIZE)
        ]
    return requests


class Arms:
    """The ways to the same engine; each returns the number of tokens it generated."""

    def __init__(self, engine: RolloutEngine) -> None:
        self._engine = engine
        self._llm = engine.vllm
        self._encoder = engine.encoder
        self._numbers = itertools.count()

    async def ours(self, requests: Sequence[RolloutRequest]) -> int:
        trajectories = await asyncio.gather(*map(self._engine.generate, requests))
        return sum(len(trajectory.response_token_ids) for trajectory in trajectories)

    async def plain(self, requests: Sequence[RolloutRequest]) -> int:
        return await self.ours([replace(request, sample=request.sample.replace(regions=())) for request in requests])

    async def raw(self, requests: Sequence[RolloutRequest]) -> int:
        return sum(await asyncio.gather(*map(self._raw_one, requests)))

    def prepare_raw(self, requests: Sequence[RolloutRequest]) -> None:
        self._prompts = {
            request.group_id: (
                self._encoder.encode(request.sample, request.path),
                self._encoder.regions(request.sample, request.path),
            )
            for request in requests[::GROUP_SIZE]
        }

    async def _raw_one(self, request: RolloutRequest) -> int:
        encoded, regions = self._prompts[request.group_id]
        prompt = {
            "prompt": encoded.text,
            "multi_modal_data": {"image": list(encoded.images)},
            "mm_processor_kwargs": {"regions": regions},
        }
        sampling = sampling_params(request, 1.0, self._encoder.banned_token_ids)
        async for output in self._llm.generate(prompt, sampling, f"raw-{next(self._numbers)}"):
            last = output
        return len(last.outputs[0].token_ids)

    async def forget(self) -> None:
        await self._llm.reset_prefix_cache()
        await self._llm.reset_mm_cache()
        await self._llm.reset_encoder_cache()


async def measure(arms: Arms, images: ImageStore, num_groups: int, num_rounds: int) -> dict[str, list[float]]:
    """Tokens a second of each arm in each round, after one round that does not count."""
    speeds: dict[str, list[float]] = {"ours": [], "raw": [], "plain": []}
    for index in range(num_rounds + 1):
        requests = make_requests(images, num_groups, seed=index)
        arms.prepare_raw(requests)
        order: list[tuple[str, Callable[[Sequence[RolloutRequest]], Coroutine[Any, Any, int]]]]
        order = [("ours", arms.ours), ("raw", arms.raw), ("plain", arms.plain)]
        for name, arm in order if index % 2 else order[::-1]:
            await arms.forget()
            started = time.perf_counter()
            num_tokens = await arm(requests)
            if index > 0:
                speeds[name].append(num_tokens / (time.perf_counter() - started))
    return speeds


async def run(num_groups: int, num_rounds: int, core: int) -> None:
    from vlm.tiny import build_tiny_checkpoint

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        texts = [QUESTION + " red point: blue point: detect", "<think>red is closer</think><answer>A</answer>"]
        build_tiny_checkpoint(root / "model", texts, TinyModelConfig(), seed=0)
        images = ImageStore(root / "images")
        config = EngineConfig(max_model_len=512, max_num_seqs=64, kv_cache_gib=0.5, log_level="ERROR")
        engine = RolloutEngine(EngineSpec(root / "model", images, PROMPT, config, "benchmark", cpu_cores=(core,)))
        try:
            await engine.start()
            speeds = await measure(Arms(engine), images, num_groups, num_rounds)
        finally:
            await engine.shutdown()
    report(speeds)


def report(speeds: dict[str, list[float]]) -> None:
    print(f"{'round':>8}{'ours, tok/s':>14}{'raw':>8}{'ratio':>8}{'no regions':>12}{'ratio':>8}")

    def line(name: object, ours: float, raw: float, plain: float) -> None:
        print(f"{name!s:>8}{ours:>14.0f}{raw:>8.0f}{ours / raw:>8.3f}{plain:>12.0f}{ours / plain:>8.3f}")

    for index, row in enumerate(zip(speeds["ours"], speeds["raw"], speeds["plain"], strict=True), 1):
        line(index, *row)
    line("median", *map(statistics.median, speeds.values()))
    # The best round of each is the one that the machine's other work disturbed least.
    ours, raw, plain = map(max, speeds.values())
    line("best", ours, raw, plain)
    print(
        json.dumps(
            {
                "ratio": round(ours / raw, 4),
                "regions_ratio": round(ours / plain, 4),
                "tokens_per_s": round(ours, 1),
                "raw_tokens_per_s": round(raw, 1),
                "tokens_per_s_without_regions": round(plain, 1),
            }
        )
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, default=12, help=f"groups of {GROUP_SIZE} responses a round")
    parser.add_argument("--rounds", type=int, default=12, help="rounds that count")
    parser.add_argument("--core", type=int, default=0, help="the core the engine is bound to")
    arguments = parser.parse_args()
    asyncio.run(run(arguments.groups, arguments.rounds, arguments.core))
