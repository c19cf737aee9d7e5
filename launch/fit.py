"""`sr-real doctor --config X`: what a config needs, and whether the cluster has it, before anything starts."""

import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from launch.config import RunConfig
from launch.doctor import GIB, Finding
from launch.memory import ModelShape, check_engine, check_learner, engine_needs, learner_needs, total

GPU_GIB = {
    "T4": 16,
    "V100": 16,
    "A10G": 24,
    "L4": 24,
    "A100": 40,
    "A100-40G": 40,
    "L40S": 48,
    "A100-80G": 80,
    "H100": 80,
    "H200": 141,
    "B200": 180,
}
"""By the names that Ray gives them."""
_KIND = "accelerator_type:"


@dataclass(frozen=True)
class Node:
    """A machine of a Ray cluster: what it offers, `{"CPU": 64, "GPU": 8, "learner": 8, "accelerator_type:H100": 1}`."""

    resources: Mapping[str, float]

    @property
    def gpu_gib(self) -> float | None:
        """None where its GPUs are of a kind that is not known."""
        kinds = [name.removeprefix(_KIND) for name in self.resources if name.startswith(_KIND)]
        return next((float(GPU_GIB[kind]) for kind in kinds if kind in GPU_GIB), None)

    def holds(self, bundle: Mapping[str, float]) -> int:
        """How many such bundles it has room for."""
        asked = {name: amount for name, amount in bundle.items() if amount > 0}
        return min(int(self.resources.get(name, 0) / amount + 1e-9) for name, amount in asked.items()) if asked else 0


def check_room(name: str, bundle: Mapping[str, float], number: int, nodes: Sequence[Node], may_grow: bool) -> Finding:
    """Whether the cluster's nodes, as they are, have room for so many bundles.

    Args:
        may_grow: an autoscaler may add nodes.
    """
    asked = " ".join(f"{amount:g} {what}" for what, amount in bundle.items() if amount)
    room = sum(node.holds(bundle) for node in nodes)
    detail = f"{number} × ({asked}) wanted, room for {room} on {len(nodes)} nodes"
    if room >= number:
        return Finding(name, "ok", detail)
    if may_grow:
        return Finding(
            name, "warn", detail, "the cluster must add nodes that offer them (ray_cluster.yaml: max_workers)"
        )
    return Finding(name, "fail", detail, "ask for fewer, or start the cluster with more")


def examine_config(
    config: RunConfig, nodes: Sequence[Node], gpu_gib: float | None = None, rollout_gpu_gib: float | None = None
) -> list[Finding]:
    """All findings about a config.

    Args:
        nodes: of the cluster that it would run on; empty where there is none yet.
        gpu_gib: of a learner's GPU; None: as the nodes say.
        rollout_gpu_gib: of an engine's; None: as the nodes say, else the learner's.

    Raises:
        OSError: the model's checkpoint is not there.
    """
    learner, rollout, cluster = config.learner, config.rollout, config.cluster
    of_rank = {"CPU": cluster.learner_rank_cpus, "GPU": cluster.learner_rank_gpus, **cluster.learner_resources}
    of_worker = {"CPU": rollout.cpus_per_worker, "GPU": rollout.gpus_per_worker, **rollout.resources_per_worker}
    findings = []
    if nodes:
        findings += [
            check_room("learner ranks", of_rank, learner.num_ranks, nodes, may_grow=True),
            check_room("rollout workers", of_worker, rollout.num_workers, nodes, may_grow=True),
        ]
    if config.model.type != "checkpoint":
        return [*findings, Finding("model", "ok", "a tiny one, made on the spot: it fits anywhere")]
    shape = ModelShape.of_checkpoint(config.model.path, learner)
    needs = learner_needs(shape, learner, rollout.engine)
    findings.append(Finding("model", "ok", f"{_count(shape.num_parameters)} parameters, {_trained(shape)} trained"))
    if not cluster.learner_rank_gpus:
        engine_bytes = total(engine_needs(shape, rollout.engine)) + rollout.engine.kv_cache_gib * GIB
        whole = learner.num_ranks * total(needs) + rollout.num_workers * engine_bytes
        detail = f"{whole / GIB:.1f} GiB of host memory for tensors, learner and engines together"
        return [*findings, Finding("memory for tensors", "ok", detail)]
    gpu_gib = gpu_gib or _smallest_gpu(nodes, of_rank)
    rollout_gpu_gib = rollout_gpu_gib or _smallest_gpu(nodes, of_worker) or gpu_gib
    return [*findings, check_learner(needs, gpu_gib), check_engine(shape, rollout.engine, rollout_gpu_gib)]


def _trained(shape: ModelShape) -> str:
    return "all" if shape.num_trained == shape.num_parameters else _count(shape.num_trained)


def _count(number: int) -> str:
    return f"{number / 1e9:.2f} B" if number >= 1e8 else f"{number / 1e6:.2f} M"


def _smallest_gpu(nodes: Sequence[Node], bundle: Mapping[str, float]) -> float | None:
    """Of the nodes that such a bundle may come to lie on; None where one of them is of an unknown kind."""
    sizes = [node.gpu_gib for node in nodes if node.holds(bundle)]
    known = [size for size in sizes if size is not None]
    return min(known) if known and len(known) == len(sizes) else None


def find_nodes(address: str | None) -> list[Node]:
    """The nodes of a running cluster, or this machine's GPUs as one; empty where there are neither.

    Raises:
        ConnectionError: there is an address, and nobody answers, or the cluster refuses this process.
    """
    if address is None:
        return _this_machine()
    import ray

    from actors.joining import join

    try:
        join(address)
        return [Node(node["Resources"]) for node in ray.nodes() if node["Alive"]]
    finally:
        with suppress(RuntimeError):
            ray.shutdown()


def _this_machine() -> list[Node]:
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    sizes = [float(line) / 1024 for line in result.stdout.splitlines() if line.strip()]
    return [_LocalNode({"GPU": float(len(sizes)), "CPU": float("inf")}, min(sizes))] if sizes else []


@dataclass(frozen=True)
class _LocalNode(Node):
    """This machine, whose GPUs say themselves how large they are."""

    local_gpu_gib: float

    @property
    def gpu_gib(self) -> float | None:
        return self.local_gpu_gib
