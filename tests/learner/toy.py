"""A toy problem for the learner's tests: noise images, a tiny model, responses of several lengths."""

import random
import socket
from pathlib import Path
from typing import Any

import numpy as np

from flow.trajectory import Trajectory, VersionSpan
from learner.batch import SftRow, TrainingRow
from learner.config import DeepSpeedConfig, LearnerConfig, SftConfig
from learner.engine import LearnerEngine
from learner.optimizers.config import ColdStartOptimizerConfig, OptimizerConfig
from spatial.images import ImageStore
from spatial.sample import ChoiceAnswer, ReasoningPath, Region, SpatialSample
from vlm.config import PromptConfig, TinyModelConfig
from vlm.prompt import PromptEncoder
from vlm.tiny import build_tiny_checkpoint

QUESTION = "Which is closer to the camera? A. red point B. blue point"
PATHS = (ReasoningPath.LOR, ReasoningPath.DTR)
TINY = TinyModelConfig(image_size_px=64, vision_layers=1, vision_width=32, text_layers=2, text_width=64, num_heads=2)


def chain(path: ReasoningPath, number: int) -> str:
    """A response in `path`'s grammar; its length grows with `number`."""
    think = "red is closer than blue " * (1 + number % 4)
    answer = f"<think>{think}</think><answer>{'AB'[number % 2]}</answer>"
    detect = f'<detect>Find 1 relevant objects:\n<3d_box center="0.0{number % 10},1.06,2.03">cube</3d_box></detect>'
    return answer if path is ReasoningPath.LOR else detect + answer


def make_samples(store: ImageStore, num_samples: int) -> list[SpatialSample]:
    """Samples with a chain for both paths."""
    rng = np.random.default_rng(0)
    return [
        SpatialSample(
            sample_id=f"sample-{number}",
            domain="toy",
            kind="closer",
            paths=(ReasoningPath.LOR, ReasoningPath.DTR),
            images=(store.put(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)),),
            question=QUESTION,
            answer=ChoiceAnswer(letter="AB"[number % 2], num_options=2),
            # Some without: a rank whose rows have no regions must keep in step with one whose rows have.
            regions=(Region(mark="red", box_xyxy_px=(1.0, 2.0, 40.0, 50.0)),) if number % 3 else (),
            chains={path: chain(path, number) for path in PATHS},
        )
        for number in range(num_samples)
    ]


def make_model(folder: Path, seed: int = 0, model: TinyModelConfig = TINY) -> None:
    """A model folder whose vocabulary covers the toy texts."""
    texts = [QUESTION + " red point blue point think detect", *(chain(path, n) for path in PATHS for n in range(10))]
    build_tiny_checkpoint(folder, texts, model, seed)


def make_encoder(model: Path, store: ImageStore) -> PromptEncoder:
    return PromptEncoder(model, store, PromptConfig(instructions="short"))


def sft_rows(samples: list[SpatialSample], encoder: PromptEncoder) -> list[SftRow]:
    """Each sample once, paths in turn."""
    return [SftRow.from_chain(sample, PATHS[i % 2], encoder) for i, sample in enumerate(samples)]


def training_rows(samples: list[SpatialSample], encoder: PromptEncoder, seed: int = 0) -> list[TrainingRow]:
    """Each sample once, paths in turn, with made-up log-probabilities and advantages."""
    rng = random.Random(seed)
    rows = []
    for i, sample in enumerate(samples):
        path = PATHS[i % 2]
        response = encoder.response_token_ids(chain(path, i))
        trajectory = Trajectory(
            group_id=i,
            member=0,
            sample_id=sample.sample_id,
            path=path,
            images=sample.images,
            prompt_token_ids=encoder.prompt_token_ids(sample, path),
            response_token_ids=response,
            rollout_logprobs=tuple(rng.uniform(-5.5, -2.5) for _ in response),
            version_spans=(VersionSpan(0, len(response)),),
            response_text=chain(path, i),
            finish_reason="stop",
            engine="toy",
        )
        rows.append(TrainingRow(sample, trajectory, advantage=rng.choice([-1.5, -0.5, 0.5, 1.5])))
    return rows


# What weights may differ by after a few steps of `gradient_sized`, between computations that differ in rounding alone.
# Gradients have norm 1 (clipped) and agree to 1e-6 of it, ten units in the last place of float32; a step moves a weight
# by its gradient at most. Measured: up to 2e-7, whatever the processor.
ROUNDING = 2e-6


def gradient_sized(config: LearnerConfig) -> LearnerConfig:
    """The same with steps whose size follows the gradient: weights after them may be compared with others.

    Adam divides a gradient by its own size, so a weight whose gradient is rounding noise moves by a whole step, in a
    direction that differs from processor to processor. With an epsilon far above every gradient it does not divide.
    """
    return config.replace(optimizer=config.optimizer.replace(learning_rate=1.0, epsilon=1.0))


def make_config(zero_stage: int = 0, num_ranks: int = 1, **changes: Any) -> LearnerConfig:
    """Settings that move a toy model visibly in a few steps."""
    rate: dict[str, Any] = {"learning_rate": 1e-3, "warmup_steps": 2, "schedule": "constant"}
    config = LearnerConfig(
        num_ranks=num_ranks,
        deepspeed=DeepSpeedConfig(zero_stage=zero_stage, micro_batch_rows=3),
        optimizer=OptimizerConfig(**rate),
        sft=SftConfig(optimizer=ColdStartOptimizerConfig(**rate), steps=6, rows_per_batch=8),
    )
    return config.replace(**changes)


def free_port() -> int:
    """A TCP port that nobody listens at now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def num_optimizer_steps(engine: LearnerEngine) -> int:
    """Optimiser steps made so far, those before a loaded checkpoint included; skipped ones are not."""
    return int(engine._engine.global_steps - engine._engine.skipped_steps)
