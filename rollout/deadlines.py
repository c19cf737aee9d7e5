"""An end to every wait for vLLM."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from rollout.config import EngineConfig
from rollout.errors import RolloutTimeout

T = TypeVar("T")


class EngineDeadlines:
    """The deadlines of one engine's operations.

    Raises (every coroutine):
        RolloutTimeout: the deadline has passed; names engine, operation and seconds. The operation is cancelled.
    """

    def __init__(self, engine: str, config: EngineConfig) -> None:
        self._engine = engine
        self._config = config

    async def start(self, work: Awaitable[T]) -> T:
        return await self._within("start", self._config.start_timeout_s, work)

    async def generate(self, work: Awaitable[T]) -> T:
        return await self._within("generate", self._config.generate_timeout_s, work)

    async def control(self, operation: str, work: Awaitable[T]) -> T:
        """For what should take an engine moments."""
        return await self._within(operation, self._config.control_timeout_s, work)

    async def transfer(self, operation: str, work: Awaitable[T]) -> T:
        """For what depends on the learner and on other engines too."""
        return await self._within(operation, self._config.transfer_timeout_s, work)

    async def _within(self, operation: str, seconds: float, work: Awaitable[T]) -> T:
        try:
            return await asyncio.wait_for(work, seconds)
        except TimeoutError:
            raise RolloutTimeout(self._engine, operation, seconds) from None
