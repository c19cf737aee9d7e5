"""All learner ranks, called as one."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import ray

from actors.cluster.calls import DeadlineError, answers, call, why_gone
from actors.cluster.card_meter import CardTrack
from actors.cluster.placement import await_room
from actors.config import ClusterConfig
from actors.pool.worker import EnginePort
from actors.workers.learner_rank import LearnerRank, LearnerSpec
from actors.workers.places import Place
from flow.group import Group
from flow.receipt import PushReceipt
from learner.errors import PortTakenError
from rollout.canary import Canary
from rollout.config import EngineConfig
from vlm.attention import Attention

_log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

# A port is chosen on the first rank's node, and bound only when that rank has imported what it needs.
_PORT_TRIES = 3

_REMOTE = ray.remote(max_restarts=0)(LearnerRank)


class LearnerLostError(RuntimeError):
    """A rank died or hangs, so this learner is of no more use. A new one can continue from the last checkpoint."""


class LearnerGroup:
    """All learner ranks, called as one; results are those of rank 0."""

    def __init__(
        self,
        spec: LearnerSpec,
        cluster: ClusterConfig,
        rollout_engine: EngineConfig,
        place_of_rank: Callable[[int], Place],
        report: Callable[[str], None],
    ) -> None:
        """
        Args:
            place_of_rank: where each rank lives.
            report: called with a message for every optimiser step that was skipped, and when a rank finds no room.
        """
        self._spec = spec
        self._cluster = cluster
        self._rollout_engine = rollout_engine
        self._deadlines = cluster.deadlines
        self._place_of_rank = place_of_rank
        self._report = report
        self._ranks: list[ray.actor.ActorHandle] = []

    async def start(self) -> Attention:
        """Start every rank; returns what they compute attention with.

        Raises:
            NoRoomError: a rank found no room in the cluster.
            LearnerLostError: a rank did not load in time.
            PortTakenError: each time a free port was chosen, another process took it first.
            Exception: a rank cannot load; the error as it was raised, with the rank's name as a note.
        """
        for tries_left in reversed(range(_PORT_TRIES)):
            self._ranks = await self._make_ranks()
            address, port = await self._address()
            try:
                return await self._call(self._deadlines.start_s, LearnerRank.start, address, port)
            except PortTakenError as error:
                if not tries_left:
                    raise
                _log.warning("%s; the ranks start again with another", error)
                # The others wait at that port for a rank 0 that is not there.
                self.shutdown()
        raise AssertionError("unreachable")

    async def _make_ranks(self) -> list[ray.actor.ActorHandle]:
        """Ranks that have found room."""
        return await asyncio.gather(*map(self._make_rank, range(self._spec.config.num_ranks)))

    async def _make_rank(self, rank: int) -> ray.actor.ActorHandle:
        name, place_s, cluster = f"learner-{rank}", self._deadlines.place_s, self._cluster
        seat = await self._place_of_rank(rank).seat(place_s, who=name, report=self._report)
        # DeepSpeed computes on this one of the cards that the process sees.
        card = {"LOCAL_RANK": str(seat.cards.own[0])} if seat.cards.own else {}
        # Ray would give a rank as many threads as it asks for CPUs, a number that is for placement only.
        num_threads = self._spec.num_threads
        threads = {} if num_threads is None else {"OMP_NUM_THREADS": str(num_threads)}
        actor = _REMOTE.options(
            num_cpus=cluster.learner_rank_cpus, resources=cluster.learner_resources, **seat.options(**card, **threads)
        ).remote(self._spec, rank, seat.cards)
        # In its room there may still be an earlier rank that is ending.
        await await_room(
            call(actor, LearnerRank.address),
            {"CPU": cluster.learner_rank_cpus},
            place_s,
            who=name,
            report=self._report,
        )
        return actor

    async def load_chains(self, file: Path, max_bad_share: float, left_out: frozenset[str]) -> int:
        return await self._call(self._deadlines.start_s, LearnerRank.load_chains, file, max_bad_share, left_out)

    async def cold_start_steps(self, first_step: int, num_steps: int) -> list[dict[str, float]]:
        steps = await self._call(self._deadlines.longest_update_s, LearnerRank.cold_start_steps, first_step, num_steps)
        await self._report_skipped(steps)
        return steps

    async def update(self, groups: list[Group]) -> dict[str, float]:
        # One copy in the object store for all ranks.
        metrics = await self._call(self._deadlines.longest_update_s, LearnerRank.update, ray.put(groups))
        await self._report_skipped([metrics])
        return metrics

    async def card_tracks(self) -> list[CardTrack]:
        """What each rank's card did since the last call; empty if one of them does not tell in time."""
        calls = {name: call(rank, LearnerRank.card_tracks) for name, rank in zip(self._names, self._ranks, strict=True)}
        try:
            of_ranks = await answers(calls, self._deadlines.probe_s, waiter="coordinator", what="its card's figures")
        except (DeadlineError, ray.exceptions.RayError) as error:
            # They are for people; the next call that training needs finds out what is wrong.
            _log.warning("the learner's cards could not be asked: %s", error)
            return []
        return list(chain.from_iterable(of_ranks))

    async def connect(self, engines: Mapping[str, EnginePort]) -> None:
        """Leave the present transfer group and form one with `engines`."""
        receivers = [engine.receiver for engine in engines.values()]
        address, _ = await self._address()
        await self._call(self._deadlines.push_s, LearnerRank.connect, receivers, self._rollout_engine, address)

    async def put_away(self) -> float:
        """Keep what only an update needs in host memory; returns the GiB that rank 0's card has gained."""
        return await self._call(self._deadlines.push_s, LearnerRank.put_away)

    async def pack(self, version: int) -> None:
        """Gather and pack what `push` will send."""
        await self._call(self._deadlines.push_s, LearnerRank.pack, version)

    async def canary_logprobs(self, canary: Canary) -> list[float]:
        """The learner's own log-probabilities of the canary's response."""
        return await self._call(self._deadlines.push_s, LearnerRank.canary_logprobs, canary)

    async def push(self, version: int) -> PushReceipt:
        """Send the weights as `version`."""
        return await self._call(self._deadlines.push_s, LearnerRank.push, version)

    async def save_checkpoint(self, step: int, loop_state: Mapping[str, object]) -> None:
        await self._call(self._deadlines.save_s, LearnerRank.save_checkpoint, step, loop_state)

    async def load_checkpoint(self, folder: Path) -> None:
        await self._call(self._deadlines.save_s, LearnerRank.load_checkpoint, folder)

    async def export(self, folder: Path, only_adapters: bool = False) -> None:
        await self._call(self._deadlines.save_s, LearnerRank.export, folder, only_adapters)

    def shutdown(self) -> None:
        for rank in self._ranks:
            ray.kill(rank)
        self._ranks = []

    @property
    def _names(self) -> list[str]:
        return [f"learner-{index}" for index in range(len(self._ranks))]

    async def _address(self) -> tuple[str, int]:
        first = {"learner-0": call(self._ranks[0], LearnerRank.address)}
        return (await answers(first, self._deadlines.start_s, waiter="coordinator", what="its address"))[0]

    async def _report_skipped(self, metrics: Sequence[Mapping[str, float]]) -> None:
        if any(one["nonfinite_steps"] for one in metrics):
            for warning in await self._call(self._deadlines.longest_update_s, LearnerRank.take_warnings):
                self._report(warning)

    async def _call(
        self, timeout_s: float, method: Callable[Concatenate[LearnerRank, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call every rank; returns the answer of rank 0.

        Raises:
            LearnerLostError: a rank died, or did not answer in time. The others may hang in a collective.
        """
        what = method.__name__
        calls = {name: call(rank, method, *args, **kwargs) for name, rank in zip(self._names, self._ranks, strict=True)}
        try:
            return (await answers(calls, timeout_s, waiter="coordinator", what=what))[0]
        except ray.exceptions.RayError as error:
            raise LearnerLostError(f"a learner rank died during '{what}': {why_gone(error)}") from None
        except DeadlineError as error:
            raise LearnerLostError(str(error)) from None
