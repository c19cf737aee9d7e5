"""`sr-real doctor --config X`: the needs of a config, and whether the cluster meets them, before anything starts."""

import math
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from launch.machine.card_memory import (
    Shapes,
    check_card,
    check_engine,
    lacking_bytes,
    num_responses_held,
    phases_of_card,
    unknown_card,
)
from launch.machine.doctor import find_available_memory, run_doctor
from launch.machine.findings import GIB, Finding
from launch.machine.image_sizes import check_images
from launch.machine.inspection import Requirements
from launch.machine.memory import engine_needs, host_needs, learner_needs, total
from launch.machine.remedies import remedies
from launch.machine.shapes import ModelShape
from launch.machine.timing import ModelFacts, check_time
from launch.machine.told import NOTHING_TOLD, Told
from launch.settings.config import ConfigError, RunConfig
from launch.settings.model_paths import has_weights
from launch.settings.reward import check_reward
from learner.cards import card_kind
from learner.config import LearnerConfig

_OLD_GPU_GIB = {"T4": 15.0, "V100": 16.0}
"""By the names that Ray gives them: kinds that hold tensors, but too slow for an estimate of time."""
_KIND = "accelerator_type:"


@dataclass(frozen=True)
class Node:
    """A machine of a Ray cluster: what it offers, `{"CPU": 64, "GPU": 8, "learner": 8, "accelerator_type:H100": 1}`."""

    resources: Mapping[str, float]

    @property
    def gpu_kind(self) -> str | None:
        """What Ray calls its GPUs, such as "A100-80G"; None where it has no name for them."""
        return next((name.removeprefix(_KIND) for name in self.resources if name.startswith(_KIND)), None)

    @property
    def gpu_gib(self) -> float | None:
        """None where its GPUs are of a kind that is not known."""
        known = card_kind(self.gpu_kind or "")
        return _OLD_GPU_GIB.get(self.gpu_kind or "") if known is None else known.gib

    def holds(self, bundle: Mapping[str, float]) -> int:
        """The number of such bundles that it has room for."""
        asked = {name: amount for name, amount in bundle.items() if amount > 0}
        return min(int(self.resources.get(name, 0) / amount + 1e-9) for name, amount in asked.items()) if asked else 0


def check_room(name: str, bundle: Mapping[str, float], number: int, nodes: Sequence[Node], may_grow: bool) -> Finding:
    """Whether the cluster's nodes, as they are now, have room for this number of bundles.

    Args:
        may_grow: an autoscaler may add nodes.
    """
    asked = " ".join(f"{amount:g} {what}" for what, amount in bundle.items() if amount)
    room = sum(node.holds(bundle) for node in nodes)
    detail = f"{number} × ({asked}) needed, room for {room} on {len(nodes)} nodes"
    if room >= number:
        return Finding(name, "ok", detail)
    if may_grow:
        return Finding(
            name, "warn", detail, "the cluster must add nodes that offer them (ray_cluster.yaml: max_workers)"
        )
    return Finding(name, "fail", detail, "ask for fewer, or start the cluster with more")


def requirements_of(config: RunConfig) -> Requirements:
    """What a config asks of the machine that starts it."""
    return Requirements(
        num_gpus=0 if config.cluster.address else config.num_gpus,
        learner_on_gpu=config.cluster.learner_on_gpu,
        engines_on_gpu=config.engines_on_gpu,
        nccl=config.rollout.engine.transfer.type == "nccl",
        attention=config.learner.deepspeed.attention,
    )


def examine_config(
    config: RunConfig,
    nodes: Sequence[Node],
    gpu_gib: float | None = None,
    rollout_gpu_gib: float | None = None,
    available_bytes: int | None = None,
) -> list[Finding]:
    """All findings about a config.

    Args:
        nodes: of the cluster that it would run on; empty where there is none yet.
        gpu_gib: of a learner's GPU; None: as the nodes say.
        rollout_gpu_gib: of an engine's; None: as the nodes say, else the learner's.
        available_bytes: of this machine's memory, where all of the run would be on it; else None.
    """
    learner, rollout, cluster = config.learner, config.rollout, config.cluster
    is_cluster = cluster.address is not None
    findings = [
        check_room(whose, bundle, number, nodes, may_grow=is_cluster)
        for whose, bundle, number in config.rooms
        if nodes and (is_cluster or "GPU" in bundle)
    ]
    # In a shared layout both live in the same rooms.
    of_rank, of_worker = config.rooms[0].bundle, config.rooms[-1].bundle
    if config.model.type != "checkpoint":
        return [*findings, Finding("model", "ok", "a tiny one, built when the run starts; it fits anywhere")]
    try:
        shapes = shapes_of(config.model.path, learner)
    except (ConfigError, OSError, ValueError) as error:
        # Only its memory cannot be checked.
        advice = "fix that first, or give another (model.path); until then memory cannot be checked"
        return [*findings, Finding("model", "fail", str(error), advice)]
    shape = shapes.of_rl
    findings.append(_describe_model(config.model.path, shape))
    gpu_gib = gpu_gib or _smallest_gpu(nodes, of_rank)
    on_host: dict[str, float] = {}
    if cluster.learner_on_gpu:
        findings.append(_check_learner(shapes, config.model.path, config, gpu_gib))
        sleeps = cluster.layout.type == "shared" and cluster.layout.sleep
        # In the cold start only the engines sleep.
        of_cold_start = host_needs(shapes.of_cold_start, learner.for_cold_start(), sleeps=False)
        if kept := learner.num_ranks * max(total(host_needs(shape, learner, sleeps)), total(of_cold_start)):
            on_host["what the learner keeps off its GPUs"] = kept
    else:
        needs = learner_needs(shape, learner, rollout.engine)
        cold = learner_needs(shapes.of_cold_start, learner.for_cold_start(), rollout.engine)
        on_host["learner"] = learner.num_ranks * max(total(needs), total(cold))
    if config.engines_on_gpu:
        rollout_gpu_gib = rollout_gpu_gib or _smallest_gpu(nodes, of_worker) or gpu_gib
        findings.append(check_engine(shape, rollout.engine, rollout_gpu_gib))
    else:
        engine_bytes = total(engine_needs(shape, rollout.engine)) + rollout.engine.kv_cache_gib * GIB
        on_host["engines"] = rollout.num_workers * engine_bytes
    return [*findings, *([check_host(on_host, available_bytes, _host_advice(config, on_host))] if on_host else [])]


def shapes_of(model: str, learner: LearnerConfig) -> Shapes:
    """The model as reinforcement learning and the cold start train it.

    Raises:
        ConfigError: there is no such model.
        ValueError: it has no such layers.
    """
    shape, cold = ModelShape.of_model(model, learner), learner.for_cold_start()
    return Shapes(shape, shape if _trains(learner) == _trains(cold) else ModelShape.of_model(model, cold))


def _trains(learner: LearnerConfig) -> tuple[object, ...]:
    """What decides which weights are trained."""
    return (learner.lora, learner.freeze, learner.last_language_layers)


def _check_learner(shapes: Shapes, model: str, config: RunConfig, gpu_gib: float | None) -> Finding:
    """Whether the learner fits its GPU, beside an engine in a shared layout; and what would make it fit."""
    if gpu_gib is None:
        return unknown_card(phases_of_card(shapes, config, card_gib=0.0))
    size = gpu_gib
    # What is trained changes the shapes; nothing else does. To build one takes a while.
    known = {repr((_trains(config.learner), config.learner.sft.freeze)): shapes}

    def lacks(changed: RunConfig) -> float:
        learner, engine = changed.learner, changed.rollout.engine
        trained = repr((_trains(learner), learner.sft.freeze))
        if trained not in known:
            known[trained] = shapes_of(model, learner)
        own = known[trained]
        if changed.cluster.layout.type == "shared" and num_responses_held(own.of_rl, engine, size) < 1:
            return math.inf
        return lacking_bytes(phases_of_card(own, changed, size), size)

    phases = phases_of_card(shapes, config, size)
    fits = lacking_bytes(phases, size) <= 0
    return check_card(phases, size, "" if fits else remedies(config, lacks))


def _describe_model(path: str, shape: ModelShape) -> Finding:
    detail = f"{_count(shape.num_parameters)} parameters, {_trained(shape)} trained"
    if has_weights(path):
        return Finding("model", "ok", detail)
    advice = f"fetch them before a run starts: `hf download {path}`"
    return Finding("model", "warn", f"{detail}; its weights are not on this machine", advice)


def _host_advice(config: RunConfig, on_host: Mapping[str, float]) -> str:
    """What would make a run fit the host's memory."""
    learner, layout = config.learner, config.cluster.layout
    remedies = [f"a machine with {math.ceil(sum(on_host.values()) / GIB)} GiB to spare"]
    on_gpu = config.cluster.learner_on_gpu
    if not (on_gpu and config.engines_on_gpu):
        remedies += ["fewer rollout.num_workers or learner.num_ranks", "a smaller model", "GPUs"]
    if on_gpu and layout.type == "shared" and layout.sleep:
        remedies.append("cluster.layout.sleep=false")
    if learner.deepspeed.optimizer_offload != "none":
        remedies.append("learner.deepspeed.optimizer_offload=none")
    if on_gpu and learner.lora is None:
        remedies.append("learner.lora={rank: 32} with learner.optimizer.learning_rate=2e-5")
    return ", or ".join(remedies)


def check_host(num_bytes: Mapping[str, float], available_bytes: int | None, advice: str = "more memory") -> Finding:
    """Whether the tensors of what computes on CPUs fit in the host's memory.

    Args:
        num_bytes: by who holds them.
        available_bytes: None where nobody knows.
        advice: what would help, if they do not.
    """
    name, needed = "memory for tensors", sum(num_bytes.values())
    detail = f"{needed / GIB:.1f} GiB of host memory for tensors ({' and '.join(num_bytes)})"
    if available_bytes is None:
        return Finding(name, "ok", detail)
    detail = f"{detail}, {available_bytes / GIB:.1f} GiB available"
    if needed > available_bytes:
        return Finding(name, "fail", detail, advice)
    return Finding(name, "ok", detail)


def _trained(shape: ModelShape) -> str:
    return "all" if shape.num_trained == shape.num_parameters else _count(shape.num_trained)


def _count(number: int) -> str:
    return f"{number / 1e9:.2f} B" if number >= 1e8 else f"{number / 1e6:.2f} M"


def _smallest_gpu(nodes: Sequence[Node], bundle: Mapping[str, float]) -> float | None:
    """The smallest GPU among the nodes that could hold the bundle; None if one of them is of an unknown kind."""
    sizes = [node.gpu_gib for node in nodes if node.holds(bundle)]
    known = [size for size in sizes if size is not None]
    return min(known) if known and len(known) == len(sizes) else None


def gpu_kind_for(nodes: Sequence[Node], bundle: Mapping[str, float]) -> str | None:
    """The slowest kind of GPU among the nodes that could hold the bundle; None if one of them is not known."""
    names = [node.gpu_kind or "" for node in nodes if node.holds(bundle)]
    kinds = {name: card_kind(name) for name in names}
    known = {name: kind.bf16_tflops for name, kind in kinds.items() if kind is not None}
    return min(known, key=known.__getitem__) if known and len(known) == len(kinds) else None


def find_nodes(address: str | None) -> list[Node]:
    """The nodes of a running cluster, or this machine's GPUs as one; empty where there are neither.

    Raises:
        ConnectionError: there is an address, and nobody answers, or the cluster refuses this process.
    """
    if address is None:
        return _this_machine()
    import ray

    from actors.cluster.joining import join

    try:
        join(address)
        return nodes_of_ray()
    finally:
        with suppress(RuntimeError):
            ray.shutdown()


def nodes_of_ray() -> list[Node]:
    """Those of the cluster that this process has joined."""
    import ray

    return [Node(node["Resources"]) for node in ray.nodes() if node["Alive"]]


def _this_machine() -> list[Node]:
    command = ["nvidia-smi", "--query-gpu=memory.total,name", "--format=csv,noheader,nounits"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    cards = [line.split(",", 1) for line in result.stdout.splitlines() if line.strip()]
    if not cards:
        return []
    return [LocalNode({"GPU": float(len(cards))}, min(float(mib) for mib, _ in cards) / 1024, cards[0][1].strip())]


@dataclass(frozen=True)
class LocalNode(Node):
    """This machine: its GPUs report their own size, and a run's own Ray offers whatever else is asked for."""

    local_gpu_gib: float
    local_gpu_kind: str = ""
    """As its driver calls them."""

    def holds(self, bundle: Mapping[str, float]) -> int:
        return super().holds({"GPU": bundle.get("GPU", 0)})

    @property
    def gpu_kind(self) -> str | None:
        return self.local_gpu_kind or None

    @property
    def gpu_gib(self) -> float | None:
        return self.local_gpu_gib


def findings_for(config: RunConfig, told: Told = NOTHING_TOLD) -> list[Finding]:
    """All findings about a config, and then about this machine and this install, whichever of them fail."""
    findings: list[Finding] = []
    nodes: Sequence[Node] = []
    address = config.cluster.address
    try:
        # Cards of this machine say nothing about another.
        nodes = [] if told.is_elsewhere and address is None else find_nodes(address)
    except ConnectionError as error:
        reason = str(error).splitlines()[0]
        advice = "the checks below use the config alone; start the cluster, or leave cluster.address out"
        findings.append(Finding("cluster", "warn", f"none at cluster.address={address}: {reason}", advice))
    try:
        check_reward(config)
    except ConfigError as error:
        findings.append(Finding("reward", "fail", str(error), "install what it needs, or choose another"))
    available_bytes = find_available_memory() if address is None and not told.is_elsewhere else None
    findings += examine_config(config, nodes, told.learner_gib, told.engine_gib, available_bytes)
    findings += [*check_images(config), *examine_time(config, nodes, told)]
    if told.is_elsewhere:
        return [*findings, *(_as_note(finding) for finding in run_doctor())]
    return [*findings, *run_doctor(required=requirements_of(config))]


def _as_note(finding: Finding) -> Finding:
    """A fault of this machine, where the config is for another."""
    return replace(finding, status="warn") if finding.status == "fail" else finding


def examine_time(config: RunConfig, nodes: Sequence[Node], told: Told) -> list[Finding]:
    """How long a step takes; nothing for a run that does not train a real model on GPUs."""
    if config.model.type != "checkpoint" or not (config.cluster.learner_on_gpu and config.engines_on_gpu):
        return []
    try:
        facts = ModelFacts.of_config(config, config.model.path)
    except (ConfigError, OSError, ValueError):
        return []  # `examine_config` has said why
    of_learner = told.gpu or gpu_kind_for(nodes, config.rooms[0].bundle)
    of_engine = told.rollout_gpu or told.gpu or gpu_kind_for(nodes, config.rooms[-1].bundle)
    return check_time(config, facts, of_learner, of_engine, told.response_tokens)
