"""Requests for responses: those that wait for a seat at an engine, in order, and those that are being generated.

An engine is never given more than twice the number that it generates at once: enough that none of its seats is empty
between two answers, and few enough that a response hardly waits inside it, where its deadline runs. The rest waits
here, and so is available to workers that join the pool later.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from actors.pool.member import Member, State
from actors.pool.serving import ServingMembers
from actors.pool.waits import Waits
from actors.pool.worker import Worker, WorkerError, WorkerLateError
from flow.score import Failure
from flow.trajectory import RolloutRequest, Trajectory


@dataclass(frozen=True)
class Seats:
    """Seats at a member's present worker, counted in its load until they are given back."""

    member: Member
    worker: Worker
    identity: tuple[str, int]

    @classmethod
    def at(cls, member: Member) -> "Seats":
        assert member.worker is not None
        return cls(member, member.worker, member.identity)


class Requests:
    """Shares requests out over the members that serve.

    Args:
        num_seats: responses that an engine generates at once.
        max_attempts: how many times a request is tried before its failure is final.
        waits: where waits are entered.
        distrust: called with a worker that failed, and the reason.
        on_free: called when a member has given its last answer, or, if it is leaving, any.
    """

    def __init__(
        self,
        num_seats: int,
        max_attempts: int,
        waits: Waits,
        distrust: Callable[[tuple[str, int], str], None],
        on_free: Callable[[], None],
    ) -> None:
        self._num_seats = num_seats
        self._max_attempts = max_attempts
        self._waits = waits
        self._distrust = distrust
        self._on_free = on_free
        self._serving = ServingMembers()
        self._queue: deque[tuple[int, asyncio.Future[Seats]]] = deque()
        self._nobody: ExitStack | None = None
        """Holds the entry in `waits` while requests wait and nobody serves."""
        self.num_responses_reissued = 0
        """Responses that were asked for again because their worker left before it had given them."""

    async def generate(self, requests: Sequence[RolloutRequest]) -> list[Trajectory | Failure]:
        """Responses in the order of `requests`, all by one worker, the least loaded: they share prompt and images.

        If there are more than an engine generates at once, several workers share them. While no worker has room, this
        waits, in the order of the calls. Requests that failed are put to the worker that is least loaded then; if a
        worker leaves, that does not count as an attempt.
        """
        if len(requests) <= self._num_seats:
            return await self._generate(requests)
        starts = range(0, len(requests), self._num_seats)
        parts = await asyncio.gather(*(self._generate(requests[start : start + self._num_seats]) for start in starts))
        return [response for part in parts for response in part]

    async def _generate(self, requests: Sequence[RolloutRequest]) -> list[Trajectory | Failure]:
        results: list[Trajectory | Failure] = [Failure("rollout", "not tried", 0)] * len(requests)
        missing, attempt, is_again = list(range(len(requests))), 0, False
        while missing and attempt < self._max_attempts:
            seats = await self._seats(len(missing), is_again)
            responses = await self._ask(seats, [requests[index] for index in missing])
            is_again = True
            num_left = sum(response is None for response in responses)
            self.num_responses_reissued += num_left
            attempt += num_left < len(responses)
            for index, response in zip(missing, responses, strict=True):
                if response is not None:
                    results[index] = _after(response, attempt)
            missing = [index for index, result in enumerate(results) if isinstance(result, Failure)]
        return results

    async def _ask(self, seats: Seats, requests: Sequence[RolloutRequest]) -> list[Trajectory | Failure | None]:
        """The worker's responses; None in place of each that it left without giving."""
        num_open = len(requests)

        async def ask(request: RolloutRequest) -> Trajectory | Failure | None:
            nonlocal num_open
            response = await self._ask_one(seats, request)
            num_open -= 1
            self._give_back(seats, 1)
            return response

        started_s = time.monotonic()
        try:
            with self._waits.on("roll out", f"groups of {seats.member.name}"):
                responses = await asyncio.gather(*map(ask, requests))
        finally:
            self._give_back(seats, num_open)
        if seats.member.identity == seats.identity:
            seats.member.pace.note_group(time.monotonic() - started_s)
        failures = [response for response in responses if isinstance(response, Failure)]
        if len(failures) == len(responses):
            # The fault of the prompt, or of an engine which fails at once and so would be chosen again as least loaded.
            self._distrust(seats.identity, failures[0].reason)
        return responses

    async def _ask_one(self, seats: Seats, request: RolloutRequest) -> Trajectory | Failure | None:
        try:
            return await seats.worker.generate(request)
        except WorkerError as error:
            if seats.member.state is State.RETIRING:
                return None
            self._distrust(seats.identity, str(error))
            return Failure("rollout", str(error), 1, by_deadline=isinstance(error, WorkerLateError))

    # -- seats -------------------------------------------------------------------------------------------------------

    def update(self, member: Member) -> None:
        """A member's state has changed."""
        self._serving.update(member)
        self._fill()

    async def _seats(self, number: int, is_again: bool) -> Seats:
        """`number` seats at the least loaded member, when it is these requests' turn; repeated requests go first."""
        turn: asyncio.Future[Seats] = asyncio.get_running_loop().create_future()
        (self._queue.appendleft if is_again else self._queue.append)((number, turn))
        self._fill()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give_back(turn.result(), number)
            raise

    def _fill(self) -> None:
        """Give seats to those that wait, in their order, as far as there is room.

        The first in the queue wants at most half of what an engine may hold. So if it finds no room, the engine holds
        more than half, and all its seats are busy.
        """
        while self._queue and len(self._serving):
            number, turn = self._queue[0]
            member = self._serving.least_loaded()
            if not turn.cancelled():
                if member.load + number > 2 * self._num_seats:
                    break
                self._add_load(member, number)
                turn.set_result(Seats.at(member))
            self._queue.popleft()
        self._note_wait()

    def _note_wait(self) -> None:
        """Enter a wait if requests are queued and no member serves. A queue is normal while one does."""
        is_stuck = bool(self._queue) and not len(self._serving)
        if is_stuck and self._nobody is None:
            self._nobody = ExitStack()
            self._nobody.enter_context(self._waits.on("roll out", "a worker that serves"))
        elif not is_stuck and self._nobody is not None:
            self._nobody.close()
            self._nobody = None

    def _give_back(self, seats: Seats, number: int) -> None:
        # A member's next worker starts with a load of its own.
        if number and seats.member.identity == seats.identity:
            self._add_load(seats.member, -number)
            self._fill()
            if seats.member.state is State.RETIRING or not seats.member.load:
                # Others wait for an idle member at most, and are not woken for each response.
                self._on_free()

    def _add_load(self, member: Member, number: int) -> None:
        member.load += number
        self._serving.update(member)


def _after(response: Trajectory | Failure, attempt: int) -> Trajectory | Failure:
    return replace(response, attempts=attempt) if isinstance(response, Failure) else response
