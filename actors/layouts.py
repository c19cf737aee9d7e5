"""Where learner ranks and engines run: on cards of their own, or together on every card."""

from collections.abc import Mapping
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from rollout.config import RolloutConfig
from spatial.strict import StrictModel

Amounts = Mapping[str, float]
"""Amounts of Ray's resources, by name."""


class Rooms(NamedTuple):
    """Equal parts of nodes that a run reserves; each lies on one node."""

    whose: str
    bundle: Amounts
    """What one of them holds."""
    number: int


class SplitLayoutConfig(StrictModel):
    """Learner ranks and engines on cards of their own, or on CPUs, as `cluster.learner_rank_gpus` and
    `rollout.gpus_per_worker` say."""

    type: Literal["split"] = "split"

    def check(self, num_ranks: int, rank_gpus: float, rollout: RolloutConfig, max_staleness: int) -> None:
        """
        Raises:
            ValueError: weights cannot travel from learner to engines, or an engine's ranks have no core each.
        """
        transfer, ranks = rollout.engine.transfer.type, rollout.engine.tensor_parallel_size
        if transfer == "ipc":
            raise ValueError(
                "rollout.engine.transfer.type='ipc' shares memory inside one card, but cluster.layout.type='split' "
                "gives learner and engines cards of their own; set rollout.engine.transfer.type=nccl, or "
                "cluster.layout.type=shared"
            )
        if rollout.gpus_per_worker == 0 and transfer != "gloo":
            raise ValueError(
                f"rollout.engine.transfer.type={transfer!r} needs GPUs, but rollout.gpus_per_worker=0; give "
                f"rollout.gpus_per_worker={ranks} or rollout.engine.transfer.type=gloo"
            )
        if transfer == "nccl" and not rank_gpus:
            raise ValueError(
                "rollout.engine.transfer.type='nccl' sends from a learner's GPU, but cluster.learner_rank_gpus=0; give "
                "cluster.learner_rank_gpus=1 or rollout.engine.transfer.type=gloo"
            )
        if rollout.gpus_per_worker == 0 and rollout.cpus_per_worker < ranks:
            raise ValueError(
                f"rollout.cpus_per_worker={rollout.cpus_per_worker} is less than rollout.engine.tensor_parallel_size="
                f"{ranks}; every rank needs a core"
            )

    def max_workers(self, num_ranks: int, rollout: RolloutConfig) -> int:
        """Most engines that the run may have."""
        return rollout.max_workers

    def on_fewer_gpus(self, num_gpus: int, rollout: RolloutConfig) -> str:
        """The nearest settings that fit on a machine with so few cards."""
        return (
            "ask for fewer (learner.num_ranks, rollout.num_workers), or have learner and engines share cards: "
            + SharedLayoutConfig().on_fewer_gpus(num_gpus, rollout)
        )

    def rooms(self, num_ranks: int, rank: Amounts, rollout: RolloutConfig) -> tuple[Rooms, ...]:
        """What the run reserves to begin with.

        Args:
            rank: what a learner rank asks for.
        """
        gpus = {"GPU": float(rollout.gpus_per_worker)} if rollout.gpus_per_worker else {}
        worker = {"CPU": float(rollout.cpus_per_worker)} | gpus | rollout.resources_per_worker
        return (Rooms("learner ranks", rank, num_ranks), Rooms("rollout workers", worker, rollout.num_workers))


class SharedLayoutConfig(StrictModel):
    """A learner rank and an engine's rank together on every card: `learner.num_ranks` cards, and as many in the engines
    of `rollout.num_workers` × `rollout.engine.tensor_parallel_size`. The other settings of GPUs follow and need not be
    given.

    Weights go from one to the other inside the card (`rollout.engine.transfer.type=ipc`). An engine takes
    `rollout.engine.gpu_memory_utilization` of its cards; the rest is the learner's.
    """

    type: Literal["shared"] = "shared"
    sleep: bool = False
    """Whether the two take turns, in synchronous training: engines give their memory back while the learner works, and
    the learner's optimiser states and gradients wait in the host's memory while engines generate."""

    def check(self, num_ranks: int, rank_gpus: float, rollout: RolloutConfig, max_staleness: int) -> None:
        """
        Raises:
            ValueError: the cards cannot carry the engines, weights cannot be shared, or both sides want the card at
                once.
        """
        transfer = rollout.engine.transfer.type
        if transfer != "ipc":
            raise ValueError(
                f"cluster.layout.type='shared' shares weights inside the card, but rollout.engine.transfer.type="
                f"{transfer!r} sends them from one card to another; set rollout.engine.transfer.type=ipc"
            )
        if rank_gpus not in (0, 1):
            raise ValueError(
                f"cluster.learner_rank_gpus={rank_gpus:g}, but cluster.layout.type='shared' has one card for each "
                "rank; leave cluster.learner_rank_gpus out"
            )
        ranks, engines = rollout.engine.tensor_parallel_size, rollout.num_workers
        if engines * ranks != num_ranks:
            remedies = [f"learner.num_ranks={engines * ranks}"] if engines else []
            remedies += [f"rollout.num_workers={num_ranks // ranks}"] if num_ranks % ranks == 0 else []
            if not remedies:
                fitting = max(1, round(num_ranks / ranks))
                remedies = [f"learner.num_ranks={fitting * ranks} with rollout.num_workers={fitting}"]
            raise ValueError(
                "cluster.layout.type='shared' puts a learner rank and an engine's rank on every card, but "
                f"rollout.num_workers={engines} × rollout.engine.tensor_parallel_size={ranks} = {engines * ranks} is "
                f"not learner.num_ranks={num_ranks}; set {' or '.join(remedies)}"
            )
        if self.sleep and max_staleness:
            raise ValueError(
                "cluster.layout.sleep=true lets learner and engines take turns, but training.max_staleness="
                f"{max_staleness} has them work at the same time; set training.max_staleness=0 or "
                "cluster.layout.sleep=false"
            )

    def max_workers(self, num_ranks: int, rollout: RolloutConfig) -> int:
        """Most engines that the run may have: no more than its cards carry."""
        return min(rollout.max_workers, num_ranks // rollout.engine.tensor_parallel_size)

    def on_fewer_gpus(self, num_gpus: int, rollout: RolloutConfig) -> str:
        """The nearest settings that fit on a machine with so few cards."""
        ranks = min(rollout.engine.tensor_parallel_size, num_gpus)
        engines = num_gpus // ranks
        smaller = f"rollout.engine.tensor_parallel_size={ranks} " if ranks < rollout.engine.tensor_parallel_size else ""
        settings = f"learner.num_ranks={engines * ranks} rollout.num_workers={engines}"
        return f"cluster.layout=shared rollout.engine.transfer=ipc {smaller}{settings} fits"

    def rooms(self, num_ranks: int, rank: Amounts, rollout: RolloutConfig) -> tuple[Rooms, ...]:
        """What the run reserves: for each engine its cards, with the learner ranks on them. Ray puts a room on one
        node, where the engine's ranks must be together.

        Args:
            rank: what a learner rank asks for, its card not counted.
        """
        ranks = rollout.engine.tensor_parallel_size
        room = {name: ranks * amount for name, amount in rank.items()}
        for name, amount in ({"CPU": float(rollout.cpus_per_worker)} | rollout.resources_per_worker).items():
            room[name] = room.get(name, 0.0) + amount
        whose = "cards" if ranks == 1 else f"{ranks} cards of an engine"
        return (Rooms(whose, room | {"GPU": float(ranks)}, num_ranks // ranks),)


LayoutConfig = Annotated[SplitLayoutConfig | SharedLayoutConfig, Field(discriminator="type")]
