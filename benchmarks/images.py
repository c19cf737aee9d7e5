"""How often an update encodes an image, and what is saved by keeping groups together.

    python -m benchmarks.images

First the plans alone, of a large update: how many images its passes encode if single responses are sorted by length,
and if groups stay together. Then whole updates of a tiny model with a frozen vision tower on this machine's CPU, with
proximal, reference and training passes on one thread, and the images counted where the vision tower takes them; last
with the inputs of the next pass built in a second thread. The last line is JSON.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.recording import make_sample
from flow.trajectory import Trajectory, VersionSpan
from learner.batch import TrainingRow, rows_by_group
from learner.config import LearnerConfig
from learner.freezing import freeze
from learner.frozen_vision import FrozenVision
from learner.objective import policy_objective
from learner.passes import RankPasses
from learner.plan import PassBounds, padding_share, plan_micro_batches, shuffle_into_mini_batches
from spatial.images import ImageStore
from spatial.sample import ReasoningPath
from vlm.config import PromptConfig, TinyModelConfig
from vlm.policy import Policy, load_policy
from vlm.prompt import PromptEncoder
from vlm.tiny import build_tiny_checkpoint

GROUP_SIZE = 8
# The large update: on 8 ranks, with prompts of about a megapixel.
NUM_LARGE_GROUPS, NUM_RANKS, MAX_TOKENS = 512, 8, 16384
# The small one.
MODEL = TinyModelConfig(image_size_px=128, vision_layers=2, vision_width=64, text_layers=2, text_width=64)
PATH = ReasoningPath.LOR
CONFIG = LearnerConfig(freeze=("vision", "projector"), optimizer_steps_per_batch=4)
NUM_ROUNDS = 3


@dataclass(frozen=True)
class Way:
    """How an update is planned and made."""

    title: str
    in_groups: bool
    keeps_features: bool = False
    num_ahead: int = 0


WAYS = (
    Way("single responses, sorted", in_groups=False),
    Way("groups together", in_groups=True),
    Way("… features kept for the update", in_groups=True, keeps_features=True),
    Way("… inputs built in a thread", in_groups=True, keeps_features=True, num_ahead=1),
)


@dataclass(frozen=True)
class Spent:
    """What one update took."""

    num_images: int
    seconds: float


def planned(num_groups: int) -> dict[str, tuple[int, float]]:
    """Images encoded in one pass over a large update, and the share of padding, by way of planning."""
    random = np.random.default_rng(0)
    prompts = random.integers(1100, 1500, num_groups).repeat(GROUP_SIZE)
    lengths = (prompts + random.lognormal(5.5, 0.6, len(prompts)).clip(20, 2000)).astype(int).tolist()
    single = [[row] for row in range(len(lengths))]
    groups = np.arange(len(lengths)).reshape(-1, GROUP_SIZE).tolist()
    padded, packed = PassBounds(max_tokens=MAX_TOKENS), PassBounds(max_tokens=MAX_TOKENS, is_packed=True)
    found = {}
    for title, parts, bounds in (
        ("single responses, sorted", single, padded),
        ("groups together, padded", groups, padded),
        ("groups together, packed", groups, packed),
    ):
        plans = list(chain.from_iterable(plan_micro_batches(lengths, parts, NUM_RANKS, bounds)))
        num_images = sum(len({row // GROUP_SIZE for row in plan.rows}) for plan in plans)
        found[title] = num_images, padding_share(lengths, plans, bounds)
    return found


class SmallUpdate:
    """Groups of made-up responses to questions on images of noise, and the models that are trained on them."""

    def __init__(self, folder: Path, num_groups: int) -> None:
        random = np.random.default_rng(0)
        self._store, self._folder = ImageStore(folder / "images"), folder / "model"
        shape = (MODEL.image_size_px, MODEL.image_size_px, 3)
        images = [self._store.put(random.integers(0, 255, shape, dtype=np.uint8)) for _ in range(num_groups)]
        build_tiny_checkpoint(self._folder, ["A question on depth? think"], MODEL, seed=0)
        self._policy, self._reference = self._load(), self._load()
        encoder = self._encoder()
        words = [word for word in range(len(encoder.tokenizer)) if word not in encoder.banned_token_ids]
        self._rows = []
        for number, image in enumerate(images):
            sample = make_sample(image, "depth", PATH)
            prompt = encoder.prompt_token_ids(sample, PATH)
            for member in range(GROUP_SIZE):
                length = int(random.integers(16, 48))
                trajectory = Trajectory(
                    group_id=number,
                    member=member,
                    sample_id=sample.sample_id,
                    path=PATH,
                    images=sample.images,
                    prompt_token_ids=prompt,
                    response_token_ids=tuple(random.choice(words, length).tolist()),
                    rollout_logprobs=(-5.0,) * length,
                    version_spans=(VersionSpan(0, length),),
                    response_text="",
                    finish_reason="stop",
                    engine="none",
                )
                self._rows.append(TrainingRow(sample, trajectory, advantage=float(random.standard_normal())))

    def _load(self) -> Policy:
        policy = load_policy(self._folder)
        freeze(policy.vlm, CONFIG)
        return policy

    def _encoder(self) -> PromptEncoder:
        return PromptEncoder(self._folder, self._store, PromptConfig(instructions="short"))

    def run(self, way: Way) -> Spent:
        """One update without its optimiser steps; images are opened and cut into patches again."""
        engine = SimpleNamespace(device=torch.device("cpu"))
        passes = RankPasses(engine, self._encoder(), PassBounds(max_rows=16), 0, 1, way.num_ahead)
        groups: Sequence[Sequence[int]] = (
            rows_by_group(self._rows) if way.in_groups else [[row] for row in range(len(self._rows))]
        )
        num_patches: list[int] = []
        hooks = [
            policy.vlm.model.visual.patch_embed.register_forward_hook(
                lambda _, given, out: num_patches.append(len(out))
            )
            for policy in (self._policy, self._reference)
        ]
        vision = FrozenVision(self._policy, self._reference, max_bytes=2**30)
        started_s = time.perf_counter()
        batch = passes.cut(self._rows, shuffle_into_mini_batches(groups, CONFIG.optimizer_steps_per_batch, (0,)))
        with vision.kept() if way.keeps_features else nullcontext():
            later = [plan for mini_batch in batch.mini_batches[1:] for plan in mini_batch.passes[0]]
            every = [plan for mini_batch in batch.mini_batches for plan in mini_batch.passes[0]]
            proximal = passes.logprobs(self._policy, batch.collator, later, 1.0)
            reference = passes.logprobs(self._reference, batch.collator, every, 1.0)
            for mini_batch in batch.mini_batches:
                build: Any = partial(
                    batch.collator.rl_micro_batch, token_weights=mini_batch.token_weights(CONFIG.aggregation)
                )
                with passes.prepared(build, mini_batch.passes[0]) as micro_batches:
                    for plan, micro in zip(mini_batch.passes[0], micro_batches, strict=True):
                        logprobs, entropies = self._policy(micro.inputs)
                        loss, _ = policy_objective(
                            micro, CONFIG, proximal.get(plan), reference[plan], logprobs, entropies
                        )
                        loss.backward()
        seconds = time.perf_counter() - started_s
        for hook in hooks:
            hook.remove()
        return Spent(sum(num_patches) // (MODEL.image_size_px // MODEL.patch_size_px) ** 2, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, default=16, help="of the small updates")
    num_groups = parser.parse_args().groups
    torch.set_num_threads(1)
    plans = planned(NUM_LARGE_GROUPS)
    large = Table(
        "a pass over 512 groups of 8, 8 ranks, 16,384 tokens a pass", "images encoded", "padding", title="Planned"
    )
    for title, (num_images, padding) in plans.items():
        large.add_row(title, f"{num_images:,}", f"{padding:.1%}")
    with tempfile.TemporaryDirectory() as folder:
        update = SmallUpdate(Path(folder), num_groups)
        update.run(WAYS[0])  # the first is slower than all others
        rounds = [[update.run(way) for way in WAYS] for _ in range(NUM_ROUNDS)]
    spent = {
        way.title: min((one[place] for one in rounds), key=lambda one: one.seconds) for place, way in enumerate(WAYS)
    }
    small = Table(f"an update of {num_groups} groups of 8", "images encoded", "seconds, best of 3", title="Made on CPU")
    for title, one in spent.items():
        small.add_row(title, f"{one.num_images:,}", f"{one.seconds:.2f}")
    console = Console()
    console.print(large)
    console.print(small)
    print(
        json.dumps(
            {
                "planned_images": {title: number for title, (number, _) in plans.items()},
                "images": {title: one.num_images for title, one in spent.items()},
                "seconds": {title: round(one.seconds, 3) for title, one in spent.items()},
            },
            ensure_ascii=False,
        )
    )


if __name__ == "__main__":
    main()
