"""How much an engine is given at a time, and in which order, over workers that answer when they are told to."""

import asyncio
from collections.abc import Sequence

import pytest

from actors.pool.member import Member, State
from actors.pool.requests import Requests
from actors.pool.waits import Waits
from actors.pool.worker import WorkerError, WorkerLateError
from flow.score import Failure
from flow.trajectory import RolloutRequest, Trajectory
from tests.actors.fake_workers import make_requests
from tests.actors.fakes import make_trajectory

pytestmark = pytest.mark.anyio
NUM_SEATS = 4


class Engine:
    """Generates `NUM_SEATS` responses at once, the first that came first; each lasts until somebody ends it."""

    def __init__(self) -> None:
        self.waiting: list[tuple[RolloutRequest, asyncio.Future[None]]] = []
        self.asked: list[tuple[str, int]] = []
        self.given_up: list[int] = []

    async def generate(self, request: RolloutRequest) -> Trajectory:
        self.asked.append((request.sample.sample_id, request.member))
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append((request, ended))
        try:
            await ended
        except asyncio.CancelledError:
            self.given_up.append(request.member)
            self.waiting.remove((request, ended))
            raise
        return make_trajectory(request, 0)

    @property
    def num_running(self) -> int:
        return min(NUM_SEATS, len(self.waiting))

    async def end(self, place: int = 0, error: Exception | None = None) -> None:
        """One of those that are generated ends."""
        _, ended = self.waiting.pop(place)
        if error is None:
            ended.set_result(None)
        else:
            ended.set_exception(error)
        for _ in range(8):
            await asyncio.sleep(0)


def make(num_engines: int) -> tuple[Requests, list[Member], list[Engine], Waits]:
    waits = Waits()
    requests = Requests(NUM_SEATS, 3, waits, lambda identity, reason: None, lambda: None)
    engines = [Engine() for _ in range(num_engines)]
    members = [Member(f"rollout-{number}", worker=engine) for number, engine in enumerate(engines)]  # type: ignore[arg-type]
    return requests, members, engines, waits


def serve(requests: Requests, members: Sequence[Member]) -> None:
    for member in members:
        member.state = State.SERVING
        requests.update(member)


async def submit(requests: Requests, sizes: Sequence[int]) -> list[asyncio.Task[list[Trajectory | Failure]]]:
    tasks = [asyncio.create_task(requests.generate(make_requests(size, group))) for group, size in enumerate(sizes)]
    await asyncio.sleep(0.005)
    return tasks


@pytest.mark.parametrize("sizes", [[3] * 12, [1] * 30, [4] * 10, [2, 4, 3, 1] * 6, [17, 3, 9, 1, 1]])
async def test_every_seat_is_busy_while_anybody_waits_and_no_engine_has_more_than_twice_its_seats(
    sizes: list[int],
) -> None:
    """The last of each engine's responses is ended first: one long response a group must not keep seats empty."""
    requests, members, engines, _ = make(2)
    serve(requests, members)
    tasks = await submit(requests, sizes)
    num_left = sum(sizes)
    while num_left:
        num_waiting = num_left - sum(len(engine.waiting) for engine in engines)
        for engine in engines:
            assert len(engine.waiting) <= 2 * NUM_SEATS
            assert num_waiting == 0 or engine.num_running == NUM_SEATS
        engine = max(engines, key=lambda engine: len(engine.waiting))
        await engine.end(engine.num_running - 1)
        num_left -= 1
    assert [len(await task) for task in tasks] == sizes
    assert [member.load for member in members] == [0, 0]


async def test_groups_are_taken_in_their_order_and_whole() -> None:
    requests, members, engines, _ = make(1)
    tasks = await submit(requests, [3, 3, 4, 1, 3])
    serve(requests, members)
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        if engines[0].waiting:
            await engines[0].end()
    assert engines[0].asked == [
        (f"s{group}", member) for group, size in enumerate([3, 3, 4, 1, 3]) for member in range(size)
    ]


async def test_a_worker_that_joins_takes_requests_that_wait() -> None:
    requests, members, engines, _ = make(2)
    serve(requests, members[:1])
    tasks = await submit(requests, [4] * 4)
    assert [len(engine.waiting) for engine in engines] == [8, 0]
    serve(requests, members[1:])
    await asyncio.sleep(0.005)
    assert [len(engine.waiting) for engine in engines] == [8, 8]
    for task in tasks:
        task.cancel()


async def test_a_request_that_failed_before_goes_first() -> None:
    requests, members, engines, _ = make(1)
    serve(requests, members)
    tasks = await submit(requests, [4, 4, 4, 4])
    await engines[0].end(1, WorkerError("lost"))
    while not any(sample == "s3" for sample, _ in engines[0].asked):
        await engines[0].end()
    # When group 0 had its three answers, group 2 was there already, and group 3 waited.
    assert engines[0].asked.index(("s0", 1), 4) < engines[0].asked.index(("s3", 0))
    for task in tasks:
        task.cancel()


async def test_a_request_that_is_given_up_is_cancelled_at_the_engine_and_its_seat_is_free() -> None:
    requests, members, engines, _ = make(1)
    serve(requests, members)
    first, second, third = await submit(requests, [4, 4, 4])
    first.cancel()
    third.cancel()
    await asyncio.sleep(0.005)
    assert engines[0].given_up == [0, 1, 2, 3]
    assert (members[0].load, len(engines[0].waiting)) == (4, 4)
    second.cancel()
    await asyncio.sleep(0.005)
    assert members[0].load == 0
    (again,) = await submit(requests, [4])
    assert len(engines[0].waiting) == 4
    again.cancel()


async def test_a_seat_that_is_given_in_the_moment_of_a_cancellation_is_not_lost() -> None:
    requests, members, _, _ = make(1)
    (task,) = await submit(requests, [4])
    serve(requests, members)
    task.cancel()  # seated, and not yet awake
    await asyncio.sleep(0.005)
    assert members[0].load == 0


async def test_a_queue_is_no_wait_to_worry_about_unless_nobody_serves() -> None:
    requests, members, _, waits = make(1)
    now_s = [0.0]
    waits._now = lambda: now_s[0]
    tasks = await submit(requests, [4] * 4)
    now_s[0] = 10.0
    tasks += await submit(requests, [4])
    # A request that comes later does not make the wait look shorter.
    assert [(wait.whom, wait.for_s) for wait in waits.current()] == [("a worker that serves", 10.0)]
    serve(requests, members)
    await asyncio.sleep(0.005)
    assert [(wait.whom, wait.number) for wait in waits.current()] == [("groups of rollout-0", 2)]
    for task in tasks:
        task.cancel()


@pytest.mark.parametrize(("error", "by_deadline"), [(WorkerLateError("late"), True), (WorkerError("broken"), False)])
async def test_a_response_that_came_too_late_is_counted_apart_from_other_failures(
    error: WorkerError, by_deadline: bool
) -> None:
    requests, members, engines, _ = make(1)
    serve(requests, members)
    (task,) = await submit(requests, [1])
    while not task.done():
        if engines[0].waiting:
            await engines[0].end(0, error)
        await asyncio.sleep(0)
    (failure,) = task.result()
    assert isinstance(failure, Failure)
    assert (failure.attempts, failure.by_deadline) == (3, by_deadline)
