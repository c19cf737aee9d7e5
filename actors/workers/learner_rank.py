"""One learner rank: a process with its part of the DeepSpeed engine. `learner_group` calls all ranks as one."""

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import ray

from actors.cluster.card_meter import CardMeter, CardTrack, start_meter
from actors.cluster.cards import NO_CARDS, Cards
from flow.group import Group
from flow.receipt import PushReceipt
from learner.config import LearnerConfig
from rollout.canary import Canary
from rollout.config import EngineConfig
from rollout.errors import TransferError
from rollout.transfer.client import WeightReceiver
from vlm.attention import Attention
from vlm.config import PromptConfig

if TYPE_CHECKING:
    # They bring torch, DeepSpeed and vLLM, which load in the rank's process and not in the coordinator's.
    from learner.checkpoint_store import CheckpointStore
    from learner.engine import LearnerEngine
    from learner.flops import ModelFlops
    from learner.sender import WeightSender
    from learner.sft import SftBatches
    from vlm.prompt import PromptEncoder


@dataclass(frozen=True)
class LearnerSpec:
    """What every rank is made from."""

    config: LearnerConfig
    model: Path
    """The weights that training starts from."""
    reference: Path | None
    """The weights that the KL penalty refers to; None without one."""
    images: Path
    prompt: PromptConfig
    checkpoints: Path
    """The folder of training state."""
    keep_checkpoints: int
    total_steps: int | None
    """Planned optimiser steps, for a schedule that ends."""
    steps_per_update: int
    """Planned optimiser steps of one update on trajectories; see `LearnerEngine`."""
    temperature: float
    """What the engines sample at."""
    num_threads: int | None
    """CPU threads of a rank; None leaves the number to PyTorch."""
    on_gpu: bool
    """Whether a rank computes on its GPU or on the CPU."""
    takes_turns: bool = False
    """Whether it shares its card with an engine that sleeps while it works."""


class LearnerRank:
    """Placement and lifetime of one `LearnerEngine`. Every rank gets the same calls in the same order."""

    _encoder: "PromptEncoder"
    _engine: "LearnerEngine"
    _batches: "SftBatches"

    def __init__(self, spec: LearnerSpec, rank: int, cards: Cards = NO_CARDS) -> None:
        self._spec = spec
        self._rank = rank
        self._cards = cards
        self._sender: WeightSender | None = None
        # Of the present weights: the version that engines were given last, plus one for each update since, because
        # there may be no engine to push to. None before the first push.
        self._version: int | None = None
        # On GPUs alone.
        self._meter: CardMeter | None = None
        self._flops: ModelFlops | None = None

    def address(self) -> tuple[str, int]:
        """This node's address and a free port on it."""
        with socket.socket() as probe:
            probe.bind(("", 0))
            return ray.util.get_node_ip_address(), probe.getsockname()[1]

    def start(self, master_address: str, master_port: int) -> Attention:
        """Load the policy and join the other ranks; returns what it computes attention with."""
        import torch

        from learner.engine import LearnerEngine
        from spatial.images import ImageStore
        from vlm.prompt import PromptEncoder

        spec = self._spec
        if spec.num_threads is not None:
            torch.set_num_threads(spec.num_threads)
        self._encoder = PromptEncoder(spec.model, ImageStore(spec.images, spec.prompt.image_cache_mib), spec.prompt)
        self._engine = LearnerEngine(
            spec.model,
            self._encoder,
            spec.config,
            rank=self._rank,
            world_size=spec.config.num_ranks,
            master_address=master_address,
            master_port=master_port,
            reference=spec.reference,
            total_steps=spec.total_steps,
            on_gpu=spec.on_gpu,
            steps_per_update=spec.steps_per_update,
            temperature=spec.temperature,
        )
        if spec.on_gpu:
            from learner.flops import ModelFlops

            self._flops = ModelFlops.of_model(self._engine.vlm)
            device = self._engine.device
            self._meter = start_meter(
                f"learner-{self._rank}",
                self._cards.names,
                partial(torch.cuda.get_device_name, device),
                partial(torch.cuda.memory_reserved, device),
            )
        return self._engine.attention

    def card_tracks(self) -> list[CardTrack]:
        """How busy its card was, and how full its memory, since the last call; empty without a GPU."""
        if self._meter is None:
            return []
        import torch

        peak_bytes = torch.cuda.max_memory_allocated(self._engine.device)
        torch.cuda.reset_peak_memory_stats(self._engine.device)
        return self._meter.take(peak_bytes)

    # -- cold start --------------------------------------------------------------------------------------------------

    def load_chains(self, file: Path, max_bad_share: float, left_out: frozenset[str]) -> int:
        """Read the training samples except those `left_out`; returns the number of chains."""
        from learner.sft import SftBatches
        from spatial.dataset import open_samples
        from spatial.images import ImageStore

        samples = open_samples(file, ImageStore(self._spec.images), max_bad_share, left_out).samples
        self._batches = SftBatches(samples, self._encoder, self._spec.config.sft, seed=self._spec.config.seed)
        return len(self._batches)

    def cold_start_steps(self, first_step: int, num_steps: int) -> list[dict[str, float]]:
        """Metrics of optimiser steps `first_step` to `first_step + num_steps - 1`, counted from 0."""
        return [self._engine.sft_step(self._batches[step]) for step in range(first_step, first_step + num_steps)]

    # -- reinforcement learning --------------------------------------------------------------------------------------

    def update(self, groups: Sequence[Group]) -> dict[str, float]:
        """Update the policy on scored groups."""
        from learner.credit import group_rows

        config, tokenizer = self._spec.config, self._encoder.tokenizer
        rows = [row for group in groups for row in group_rows(group, config, tokenizer)]
        metrics = self._engine.policy_update(rows, self._version)
        if self._flops is not None:
            from learner.flops import row_sizes, update_flops

            sizes = row_sizes(rows, self._encoder.image_token_id)
            metrics["gpu/update_tflop"] = update_flops(self._flops, sizes, config) / 1e12
        if self._version is not None:
            self._version += 1
        return metrics

    def take_warnings(self) -> list[str]:
        """Optimiser steps that were skipped since the last call, and why."""
        return self._engine.take_warnings()

    # -- weights out -------------------------------------------------------------------------------------------------

    def connect(self, receivers: Sequence[WeightReceiver], engine: EngineConfig, address: str) -> None:
        """Leave the present transfer group and form one with `receivers`, at a port of `address` that rank 0 chooses.

        Raises:
            TransferError: an engine did not join within the deadline, or refused.
        """
        import torch

        from learner.sender import WeightSender
        from learner.weights import DeepSpeedWeightSource
        from rollout.transfer.channel import open_channel

        if self._sender is not None:
            self._sender.close()
            self._sender = None
        weights = DeepSpeedWeightSource(self._engine.vlm, getattr(torch, engine.dtype))
        channel = open_channel(
            receivers,
            weights,
            engine.transfer,
            rank=self._rank,
            device=self._engine.device,
            address=address,
            timeout_s=engine.transfer_timeout_s,
        )
        # An engine that slept has dropped frozen weights too.
        self._sender = WeightSender(channel, weights, engine.verify_every, always_whole=self._spec.takes_turns)

    def put_away(self) -> float:
        """Keep what only an update needs in host memory; returns the GiB that the card has gained."""
        return self._engine.put_away()

    def pack(self, version: int) -> None:
        """Gather and pack what `push(version)` will send, as much of it as `pack_gib` allows."""
        self._connected().pack(version)

    def push(self, version: int) -> PushReceipt:
        """Send what was packed, and the rest of the weights; returns once every engine has taken them."""
        self._version = version
        receipt = self._connected().push(version)
        if self._spec.takes_turns:
            # What was packed lay in memory that the engines now take for keys and values.
            self._engine.release_cache()
        return receipt

    def _connected(self) -> "WeightSender":
        if self._sender is None:
            raise TransferError("no transfer group: `connect` comes first")
        return self._sender

    def canary_logprobs(self, canary: Canary) -> list[float]:
        """Log-probabilities of the canary's response under the learner's present weights."""
        from learner.batch import SftRow

        row = SftRow(
            sample=canary.sample,
            path=canary.path,
            prompt_token_ids=self._encoder.prompt_token_ids(canary.sample, canary.path),
            response_token_ids=canary.response_token_ids(self._encoder),
        )
        return self._engine.response_logprobs([row], of_model=True)[0]

    # -- checkpoints -------------------------------------------------------------------------------------------------

    def save_checkpoint(self, step: int, loop_state: Mapping[str, object]) -> None:
        self._store().save(step, loop_state, self._engine.save)

    def load_checkpoint(self, folder: Path) -> None:
        self._engine.load(folder)

    def export(self, folder: Path, only_adapters: bool = False) -> None:
        """Write a plain Hugging Face folder, or adapters in peft's format, and how to prompt the model."""
        from vlm.export import describe_adapter, describe_model

        if only_adapters:
            self._engine.export_adapter(folder)
        else:
            self._engine.export(folder)
        if self._rank == 0:
            (describe_adapter if only_adapters else describe_model)(folder, self._spec.prompt)

    def _store(self) -> "CheckpointStore":
        from learner.checkpoint_store import CheckpointStore

        return CheckpointStore(
            self._spec.checkpoints, keep=self._spec.keep_checkpoints, rank=self._rank, barrier=self._engine.barrier
        )
