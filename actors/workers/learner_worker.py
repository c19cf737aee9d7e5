"""Learner ranks: one DeepSpeed process each, and the group that calls them as one."""

import asyncio
import logging
import math
import socket
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from actors.cluster.calls import DeadlineError, answers, why_gone
from actors.cluster.placement import await_room, runtime_env
from actors.config import ClusterConfig
from actors.pool.publisher import PushReceipt
from flow.group import Group
from learner.config import LearnerConfig
from learner.errors import PortTakenError
from rollout.canary import Canary
from rollout.config import EngineConfig
from vlm.config import PromptConfig

_log = logging.getLogger(__name__)

# A port is chosen on the first rank's node, and bound only when that rank has imported what it needs.
_PORT_TRIES = 3


@dataclass(frozen=True)
class LearnerSpec:
    """What every rank is made from."""

    config: LearnerConfig
    checkpoint: Path
    """The weights that training starts from."""
    reference: Path | None
    """The weights that the KL penalty holds on to."""
    images: Path
    prompt: PromptConfig
    checkpoints: Path
    """Where training state is kept."""
    keep_checkpoints: int
    total_steps: int | None
    """Planned optimiser steps, for a schedule that ends."""
    steps_per_update: int
    """Those planned of one update on trajectories; see `LearnerEngine`."""
    temperature: float
    """What the engines sample at."""
    num_threads: int | None
    """CPU threads of a rank; None: left to PyTorch."""
    on_gpu: bool
    """What a rank computes on: its GPU, or the CPU."""


@dataclass(frozen=True)
class RolloutPort:
    """A rollout worker as the weight transfer sees it."""

    name: str
    num_ranks: int
    worker: Any

    def call(self, method: str, *args: object) -> "Future[Any]":
        return self.worker.transfer.remote(method, *args).future()


class LearnerRank:
    """Placement and lifetime of one `LearnerEngine`; the calls come in the same order to every rank."""

    def __init__(self, spec: LearnerSpec, rank: int) -> None:
        self._spec = spec
        self._rank = rank
        self._transfer: Any = None
        # Of the present weights: what engines were given last, and one more for each update since, for there may be no
        # engine to push to. None where there never was one.
        self._version: int | None = None

    def address(self) -> tuple[str, int]:
        """This node's address and a free port on it."""
        with socket.socket() as probe:
            probe.bind(("", 0))
            return ray.util.get_node_ip_address(), probe.getsockname()[1]

    def start(self, master_address: str, master_port: int) -> str:
        """Load the policy and join the other ranks; returns the attention that is active."""
        import torch

        from learner.engine import LearnerEngine
        from spatial.images import ImageStore
        from vlm.prompt import PromptEncoder

        spec = self._spec
        if spec.num_threads is not None:
            torch.set_num_threads(spec.num_threads)
        self._encoder = PromptEncoder(
            spec.checkpoint, ImageStore(spec.images, spec.prompt.image_cache_mib), spec.prompt
        )
        self._engine = LearnerEngine(
            spec.checkpoint,
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
        return self._engine.attention

    # -- cold start --------------------------------------------------------------------------------------------------

    def load_chains(self, file: Path, max_bad_share: float, left_out: frozenset[str]) -> int:
        """Read the training samples but those `left_out`; returns the number of chains."""
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
        metrics = self._engine.grpo_update(rows, self._version)
        if self._version is not None:
            self._version += 1
        return metrics

    def take_warnings(self) -> list[str]:
        """Optimiser steps that were left out since the last call, and why."""
        return self._engine.take_warnings()

    # -- weights out -------------------------------------------------------------------------------------------------

    def connect(self, ports: Sequence[RolloutPort], engine: EngineConfig, address: str) -> None:
        """Form the transfer group with the engines; they meet at a port of `address` that the sender chooses."""
        import torch
        from vllm.distributed.weight_transfer.factory import WeightTransferTrainerFactory

        from learner.weights import DeepSpeedWeightSource
        from rollout import plugin
        from rollout.transfer.buckets import PackedSource
        from rollout.transfer.client import FanOutClient, trainer_init_info

        plugin.register()
        self._client = FanOutClient(ports, engine.transfer_timeout_s)
        self._source = DeepSpeedWeightSource(self._engine.vlm, getattr(torch, engine.dtype))
        is_gloo = engine.transfer.type == "gloo"
        self._packed = PackedSource(
            self._source,
            bucket_bytes=int(engine.transfer.bucket_mb * 10**6),
            device="cpu" if is_gloo else self._engine.device,
            is_sender=self._rank == 0,
        )
        self._pack_bytes = int(engine.transfer.pack_gib * 2**30)
        self._verify_every = engine.verify_every
        info = trainer_init_info(
            engine.transfer,
            rank=self._rank,
            world_size=self._client.world_size,
            master_address=address,
            timeout_s=engine.transfer_timeout_s,
            largest_tensor_bytes=max(meta.dtype.itemsize * math.prod(meta.shape) for meta in self._source.metadata()),
        )
        if self._transfer is not None:
            self._transfer.shutdown()
        self._transfer = WeightTransferTrainerFactory.trainer_init(info, client=self._client, source=self._packed)

    def pack(self, version: int) -> None:
        """Gather and pack what `push` will send as `version`, or as much of it as `pack_gib` allows.

        The first push of a group brings everything, for what an engine holds is not known; later ones what is trained.
        """
        self._packed.hash_every = self._verify_every if self._source.only_trained else min(1, self._verify_every)
        self._packed.hash_turn = version
        self._packed.pack(self._pack_bytes)

    def push(self, version: int) -> PushReceipt:
        """Send what was packed, and the rest of the weights; returns when every engine has taken them."""
        self._client.version = self._version = version
        self._client.left_out, self._client.hashed = self._source.left_out, self._packed.hashed
        self._transfer.send_weights()
        receipt = PushReceipt(num_bytes=self._source.num_bytes, checksums=dict(self._packed.checksums))
        self._source.only_trained = True
        return receipt

    def canary_logprobs(self, canary: Canary) -> list[float]:
        """What the learner's model makes of the canary's response, with its present weights."""
        from learner.batch import SftRow

        row = SftRow(
            sample=canary.sample,
            path=canary.path,
            prompt_token_ids=self._encoder.prompt_token_ids(canary.sample, canary.path),
            response_token_ids=canary.response_token_ids(self._encoder),
        )
        return self._engine.response_logprobs([row], of_model=True)[0]

    # -- checkpoints -------------------------------------------------------------------------------------------------

    def save_checkpoint(self, step: int, trainer_state: Mapping[str, object]) -> None:
        self._store().save(step, trainer_state, self._engine.save)

    def load_checkpoint(self, folder: Path) -> None:
        self._engine.load(folder)

    def export(self, folder: Path) -> None:
        """Write a plain Hugging Face folder, which says how its model is asked."""
        from vlm.export import describe_model

        self._engine.export(folder)
        if self._rank == 0:
            describe_model(folder, self._spec.prompt)

    def _store(self) -> Any:
        from learner.checkpoint_store import CheckpointStore

        return CheckpointStore(
            self._spec.checkpoints, keep=self._spec.keep_checkpoints, rank=self._rank, barrier=self._engine.barrier
        )


_REMOTE = ray.remote(max_restarts=0)(LearnerRank)


class LearnerLostError(RuntimeError):
    """The learner cannot go on: a rank died or hangs. A new one, from the last checkpoint, can."""


class LearnerGroup:
    """All learner ranks, called as one; what is returned is rank 0's."""

    def __init__(
        self, spec: LearnerSpec, cluster: ClusterConfig, rollout_engine: EngineConfig, report: Callable[[str], None]
    ) -> None:
        """
        Args:
            report: called with a message for every optimiser step that was skipped, and when a rank finds no room.
        """
        self._spec = spec
        self._rollout_engine = rollout_engine
        self._deadlines = cluster.deadlines
        self._report = report
        asked = {"CPU": cluster.learner_rank_cpus, "GPU": cluster.learner_rank_gpus} | cluster.learner_resources
        self._asked = {name: amount for name, amount in asked.items() if amount}
        options: dict[str, Any] = {
            "num_cpus": cluster.learner_rank_cpus,
            "num_gpus": cluster.learner_rank_gpus,
            "resources": cluster.learner_resources,
            # Ray would give a rank as many threads as CPUs it asks for, which says how it is placed, not what it uses.
            "runtime_env": runtime_env(
                cluster.learner_rank_gpus,
                **({} if spec.num_threads is None else {"OMP_NUM_THREADS": str(spec.num_threads)}),
            ),
        }
        self._new_rank = _REMOTE.options(**options).remote
        self._ranks = self._make_ranks()

    def _make_ranks(self) -> list[Any]:
        return [self._new_rank(self._spec, rank) for rank in range(self._spec.config.num_ranks)]

    async def start(self) -> str:
        """Start every rank; returns the attention that is active.

        Raises:
            NoRoomError: a rank found no room in the cluster.
            LearnerLostError: a rank did not load in time.
            PortTakenError: however often a free port was chosen, another process took it first.
            Exception: a rank cannot load; as it was raised, with the rank's name as a note.
        """
        for tries_left in reversed(range(_PORT_TRIES)):
            await self._await_room()
            address, port = await self._address()
            try:
                return await self._call("start", address, port, timeout_s=self._deadlines.start_s)
            except PortTakenError as error:
                if not tries_left:
                    raise
                _log.warning("%s; the ranks start again with another", error)
                # The others wait at that port for a sender that is none.
                self.shutdown()
                self._ranks = self._make_ranks()
        raise AssertionError("unreachable")

    async def _await_room(self) -> None:
        place_s = self._deadlines.place_s
        await asyncio.gather(
            *(
                await_room(rank.address.remote(), self._asked, place_s, who=name, report=self._report)
                for name, rank in zip(self._names, self._ranks, strict=True)
            )
        )

    async def load_chains(self, file: Path, max_bad_share: float, left_out: frozenset[str]) -> int:
        return await self._call("load_chains", file, max_bad_share, left_out, timeout_s=self._deadlines.start_s)

    async def cold_start_steps(self, first_step: int, num_steps: int) -> list[dict[str, float]]:
        timeout_s = self._deadlines.update_s
        steps = await self._call("cold_start_steps", first_step, num_steps, timeout_s=timeout_s)
        await self._report_left_out(steps)
        return steps

    async def update(self, groups: list[Group]) -> dict[str, float]:
        # One copy in the object store for all ranks.
        metrics = await self._call("update", ray.put(groups), timeout_s=self._deadlines.update_s)
        await self._report_left_out([metrics])
        return metrics

    async def connect(self, workers: Mapping[str, Any]) -> None:
        """Leave the weight-transfer group there is, and form a new one with `workers`."""
        num_ranks = self._rollout_engine.tensor_parallel_size
        ports = [RolloutPort(name, num_ranks, worker.actor) for name, worker in workers.items()]
        address, _ = await self._address()
        await self._call("connect", ports, self._rollout_engine, address, timeout_s=self._deadlines.push_s)

    async def pack(self, version: int) -> None:
        """Gather and pack what `push` will send."""
        await self._call("pack", version, timeout_s=self._deadlines.push_s)

    async def canary_logprobs(self, canary: Canary) -> list[float]:
        """The learner's own log-probabilities of the canary's response."""
        return await self._call("canary_logprobs", canary, timeout_s=self._deadlines.push_s)

    async def push(self, version: int) -> PushReceipt:
        """Send the weights as `version`."""
        return await self._call("push", version, timeout_s=self._deadlines.push_s)

    async def save_checkpoint(self, step: int, trainer_state: Mapping[str, object]) -> None:
        await self._call("save_checkpoint", step, trainer_state, timeout_s=self._deadlines.save_s)

    async def load_checkpoint(self, folder: Path) -> None:
        await self._call("load_checkpoint", folder, timeout_s=self._deadlines.save_s)

    async def export(self, folder: Path) -> None:
        await self._call("export", folder, timeout_s=self._deadlines.save_s)

    def shutdown(self) -> None:
        for rank in self._ranks:
            ray.kill(rank)
        self._ranks = []

    @property
    def _names(self) -> list[str]:
        return [f"learner-{index}" for index in range(len(self._ranks))]

    async def _address(self) -> tuple[str, int]:
        first = {"learner-0": self._ranks[0].address.remote()}
        return (await answers(first, self._deadlines.start_s, waiter="coordinator", what="its address"))[0]

    async def _report_left_out(self, metrics: Sequence[Mapping[str, float]]) -> None:
        if any(one["nonfinite_steps"] for one in metrics):
            for warning in await self._call("take_warnings", timeout_s=self._deadlines.update_s):
                self._report(warning)

    async def _call(self, method: str, *arguments: object, timeout_s: float) -> Any:
        """
        Raises:
            LearnerLostError: a rank died, or did not answer in time. The others may hang in a collective.
        """
        calls = {
            name: getattr(rank, method).remote(*arguments) for name, rank in zip(self._names, self._ranks, strict=True)
        }
        try:
            return (await answers(calls, timeout_s, waiter="coordinator", what=method))[0]
        except ray.exceptions.RayError as error:
            raise LearnerLostError(f"a learner rank died during '{method}': {why_gone(error)}") from None
        except DeadlineError as error:
            raise LearnerLostError(str(error)) from None
