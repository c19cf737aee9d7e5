"""Small helpers for asyncio tasks."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

Start = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]
"""Starts a task."""


@asynccontextmanager
async def background() -> AsyncIterator[Start]:
    """Tasks beside the block: when it ends, those that still run are cancelled. If one fails, it ends the block and the
    others."""
    async with asyncio.TaskGroup() as group:
        running: set[asyncio.Task[None]] = set()

        def start(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
            task = group.create_task(work)
            running.add(task)
            task.add_done_callback(running.discard)
            return task

        yield start
        for task in running:
            task.cancel()


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run `work`, which never ends by itself, while the block runs; its failure ends the block."""
    async with background() as start:
        start(work)
        yield
