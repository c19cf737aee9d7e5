"""An engine's memory on its GPUs: given back while others work there, and taken again in two parts.

    awake ──fall_asleep──▶ asleep ──wake_weights──▶ (room for weights) ──wake_cache──▶ awake

vLLM's sleep at level 2 keeps nothing of weights, keys and values. New weights come with the push that follows, so a
copy of the old ones on the host would be of no use. They are to be *all* weights: frozen ones are lost as well.
"""

from typing import TYPE_CHECKING

from rollout.deadlines import EngineDeadlines

if TYPE_CHECKING:
    from vllm.v1.engine.async_llm import AsyncLLM


class EngineMemory:
    """vLLM's sleep mode. vLLM is to be paused whenever anything here is called.

    Raises (every coroutine):
        RolloutTimeout: a deadline of the config has passed.
    """

    def __init__(self, vllm: "AsyncLLM", deadlines: EngineDeadlines) -> None:
        self._vllm = vllm
        self._deadlines = deadlines
        self._lacks_weights = False
        self._lacks_cache = False

    async def fall_asleep(self) -> float:
        """Give up weights, keys and values; returns the GiB that each GPU has gained, the least of them.

        Responses in flight are kept, and computed again from their tokens after waking.
        """
        await self._rpc("keep what sleep would lose", "keep_beside_weights")
        before = await self._free_bytes()
        # Already now: if this fails on the way, nothing may be computed with what is left.
        self._lacks_weights = self._lacks_cache = True
        await self._deadlines.control("sleep", self._vllm.sleep(level=2, mode="keep"))
        after = await self._free_bytes()
        return min(then - now for then, now in zip(after, before, strict=True)) / 2**30

    async def wake_weights(self) -> None:
        """Make room for the weights, which have no values yet. Does nothing if there is room."""
        if self._lacks_weights:
            await self._deadlines.control("wake for weights", self._vllm.wake_up(tags=["weights"]))
            await self._rpc("put back what sleep has lost", "put_back_beside_weights")
            self._lacks_weights = False

    async def wake_cache(self) -> None:
        """Make room for keys and values. vLLM then schedules again, so weights must be whole. Does nothing if there is
        room."""
        if self._lacks_cache:
            await self._deadlines.control("wake for keys and values", self._vllm.wake_up(tags=["kv_cache"]))
            self._lacks_cache = False

    async def _free_bytes(self) -> list[int]:
        return await self._deadlines.control("free memory", self._vllm.collective_rpc("free_bytes"))

    async def _rpc(self, operation: str, method: str) -> None:
        await self._deadlines.control(operation, self._vllm.collective_rpc(method))
