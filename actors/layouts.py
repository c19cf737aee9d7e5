"""Where learner ranks and engines run: on cards of their own, or together on every card."""

from collections.abc import Iterator, Mapping
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
        if faults := list(self._faults(rank_gpus, rollout)):
            raise ValueError("\n".join(faults))

    def _faults(self, rank_gpus: float, rollout: RolloutConfig) -> Iterator[str]:
        transfer, ranks = rollout.engine.transfer.type, rollout.engine.tensor_parallel_size
        if transfer == "ipc":
            carried = "nccl" if rollout.gpus_per_worker and rank_gpus else "gloo"
            yield (
                "rollout.engine.transfer.type='ipc' shares memory inside one card, but cluster.layout.type='split' "
                f"gives learner and engines places of their own; set rollout.engine.transfer.type={carried}, or "
                "cluster.layout.type=shared"
            )
        if transfer == "nccl" and not rollout.gpus_per_worker:
            yield (
                "rollout.engine.transfer.type='nccl' needs GPUs, but rollout.gpus_per_worker=0; give "
                f"rollout.gpus_per_worker={ranks} or rollout.engine.transfer.type=gloo"
            )
        if transfer == "nccl" and not rank_gpus:
            yield (
                "rollout.engine.transfer.type='nccl' sends from a learner's GPU, but cluster.learner_rank_gpus=0; give "
                "cluster.learner_rank_gpus=1 or rollout.engine.transfer.type=gloo"
            )
        if rollout.gpus_per_worker == 0 and rollout.cpus_per_worker < ranks:
            yield (
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
        faults = [
            *self._faults(rank_gpus, rollout, max_staleness),
            *_wrong_sum(num_ranks, rollout),
        ]
        if faults:
            raise ValueError("\n".join(faults))

    def _faults(self, rank_gpus: float, rollout: RolloutConfig, max_staleness: int) -> Iterator[str]:
        transfer = rollout.engine.transfer.type
        if transfer != "ipc":
            yield (
                f"cluster.layout.type='shared' shares weights inside the card, but rollout.engine.transfer.type="
                f"{transfer!r} sends them from one card to another; set rollout.engine.transfer.type=ipc"
            )
        if rank_gpus not in (0, 1):
            yield (
                f"cluster.learner_rank_gpus={rank_gpus:g}, but cluster.layout.type='shared' has one card for each "
                "rank; leave cluster.learner_rank_gpus out"
            )
        if self.sleep and max_staleness:
            yield (
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
        settings += _more_workers(engines, rollout)
        cards = f"{engines * ranks} card{'s' if engines * ranks > 1 else ''}"
        shared = f"cluster.layout=shared rollout.engine.transfer=ipc {smaller}{settings}"
        return f"{shared} needs {cards} (`sr-real doctor` with these says whether their memory suffices)"

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


def _wrong_sum(num_ranks: int, rollout: RolloutConfig) -> Iterator[str]:
    """What is wrong with a shared layout whose engines do not take as many cards as the learner has ranks."""
    ranks, engines = rollout.engine.tensor_parallel_size, rollout.num_workers
    if engines * ranks == num_ranks:
        return
    remedies = [f"learner.num_ranks={engines * ranks}"] if engines else []
    if num_ranks % ranks == 0:
        fitting = num_ranks // ranks
        remedies.append(f"rollout.num_workers={fitting}{_more_workers(fitting, rollout)}")
    if not remedies:
        fitting = max(1, round(num_ranks / ranks))
        workers = f"rollout.num_workers={fitting}{_more_workers(fitting, rollout)}"
        remedies.append(f"learner.num_ranks={fitting * ranks} with {workers}")
    yield (
        "cluster.layout.type='shared' puts a learner rank and an engine's rank on every card, but "
        f"rollout.num_workers={engines} × rollout.engine.tensor_parallel_size={ranks} = {engines * ranks} is "
        f"not learner.num_ranks={num_ranks}; set {' or '.join(remedies)}"
    )


def _more_workers(num_workers: int, rollout: RolloutConfig) -> str:
    """What so many engines need to be set besides, where the config has fewer at most."""
    return f" rollout.max_workers={num_workers}" if num_workers > rollout.max_workers else ""


LayoutConfig = Annotated[SplitLayoutConfig | SharedLayoutConfig, Field(discriminator="type")]
