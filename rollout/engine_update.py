"""An engine's part in weight pushes, as a state machine over vLLM's own calls.

    GENERATING ──pause──▶ PAUSED ──start_update──▶ RECEIVING ──given up──▶ MIXED
        ▲                 │ │  ▲                      │   ▲                  │ ▲
        └─────resume──────┘ │  └────finish_update─────┘   └───start_update───┘ │
                            └──sleep──▶ ASLEEP ──────────wake_weights──────────┘

Between pause and resume nothing is submitted and nothing is scheduled; responses in flight wait, and continue under the
new weights, each token labelled with the version that made it. Between `start_update` and `finish_update` weights may
be partly old and partly new, and the engine does not resume; only a whole update leads out. An engine that sleeps has
dropped its weights: the update after it brings those too that never change.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from rollout.completeness import ExpectedWeights
from rollout.config import EngineConfig, GlooTransferConfig
from rollout.deadlines import EngineDeadlines
from rollout.engine_memory import EngineMemory
from rollout.errors import IncompleteUpdateError, TransferError
from rollout.submissions import Submissions

if TYPE_CHECKING:
    from vllm.v1.engine.async_llm import AsyncLLM


class UpdateState(StrEnum):
    """What an engine's weights and its scheduler are doing; see the picture above."""

    GENERATING = "generating"
    PAUSED = "paused"
    RECEIVING = "receiving"
    MIXED = "mixed"
    """An update was given up on the way, or weights were dropped."""
    ASLEEP = "asleep"
    """Its GPUs' memory is given back: no weights, no keys and values."""


_NEXT = {
    UpdateState.GENERATING: {UpdateState.PAUSED},
    UpdateState.PAUSED: {UpdateState.GENERATING, UpdateState.RECEIVING, UpdateState.ASLEEP},
    UpdateState.RECEIVING: {UpdateState.PAUSED, UpdateState.MIXED},
    UpdateState.MIXED: {UpdateState.RECEIVING},
    UpdateState.ASLEEP: {UpdateState.MIXED},
}


@dataclass
class _Arrivals:
    """The tensors that an open update has brought so far."""

    unchanged: Mapping[str, int]
    names: list[str] = field(default_factory=list)
    shapes: list[list[int]] = field(default_factory=list)


class EngineUpdate:
    """Pause, new weights, resume.

    Raises (every coroutine):
        RolloutTimeout: a deadline of the config has passed.
    """

    def __init__(
        self,
        name: str,
        vllm: "AsyncLLM",
        config: EngineConfig,
        expected: ExpectedWeights,
        submissions: Submissions,
        deadlines: EngineDeadlines,
    ) -> None:
        """
        Args:
            name: the engine's.
            vllm: loaded.
            config: of the engine.
            expected: what a whole update brings.
            submissions: shared with the engine's generation.
            deadlines: of the engine.
        """
        self.state = UpdateState.GENERATING
        self._name = name
        self._vllm = vllm
        self._config = config
        self._expected = expected
        self._submissions = submissions
        self._deadlines = deadlines
        self._arrivals = _Arrivals({})
        self._memory = EngineMemory(vllm, deadlines)
        self._needs_every_weight = False

    @property
    def is_paused(self) -> bool:
        return self.state is not UpdateState.GENERATING

    async def pause(self) -> None:
        """Stop scheduling; responses in flight are kept, new requests wait. A second call does nothing."""
        if self.is_paused:
            return
        # With "recompute" vLLM drops the keys and values of everything in flight, and all caches.
        clear = self._config.in_flight_kv == "recompute"
        await self._deadlines.control("wait for submissions", self._submissions.lock.acquire())
        try:
            await self._deadlines.control("pause", self._vllm.pause_generation(mode="keep", clear_cache=clear))
        except BaseException:
            self._submissions.lock.release()
            raise
        self._move(UpdateState.PAUSED)

    async def resume(self) -> None:
        """Continue generating.

        Raises:
            TransferError: an update was started and not finished, so the weights may be a mixture.
        """
        if self.state in (UpdateState.RECEIVING, UpdateState.MIXED):
            raise TransferError(f"engine {self._name} holds a mixture of weights; it needs a whole update first")
        if self.state is UpdateState.ASLEEP:
            raise TransferError(f"engine {self._name} is asleep; wake it for an update first")
        if self.state is UpdateState.PAUSED:
            await self._memory.wake_cache()
            await self._deadlines.control("resume", self._vllm.resume_generation())
            self._move(UpdateState.GENERATING)
            self._submissions.lock.release()

    async def sleep(self) -> float:
        """Give the GPUs' memory back; returns the GiB that each has gained. Generation pauses if it has not yet."""
        await self.pause()
        self._move(UpdateState.ASLEEP)
        self._needs_every_weight = True
        return await self._memory.fall_asleep()

    async def wake_weights(self) -> None:
        """Take memory for the weights again; an update must bring them. Does nothing if the engine is not asleep."""
        if self.state is UpdateState.ASLEEP:
            await self._memory.wake_weights()
            self._move(UpdateState.MIXED)

    async def join_transfer(self, init_info: dict[str, Any]) -> None:
        """Leave the present transfer group, if any, and join the one that `init_info` describes."""
        from vllm.distributed.weight_transfer.base import WeightTransferInitRequest

        await self.leave_transfer()
        await self._deadlines.transfer(
            "join_transfer", self._vllm.init_weight_transfer_engine(WeightTransferInitRequest(init_info))
        )

    async def leave_transfer(self) -> None:
        """Leave the transfer group; an update that is open is given up."""
        await self._give_up()
        await self._deadlines.transfer("leave_transfer", self._vllm.shutdown_weight_transfer_engine())

    async def start_update(self, unchanged: Mapping[str, int], hashed: Sequence[str] = ()) -> None:
        """Prepare for new weights.

        Args:
            unchanged: number of elements, by name, of each weight that the update will not bring because it has not
                changed.
            hashed: names of the tensors that the update will be verified by (`received_checksums`).

        Raises:
            TransferError: the engine is not paused, or asleep.
            IncompleteUpdateError: some are unchanged, and the engine has dropped its weights.
        """
        if not self.is_paused:
            raise TransferError(f"engine {self._name} is generating; pause it before an update")
        if self.state is UpdateState.ASLEEP:
            raise TransferError(f"engine {self._name} is asleep; wake it before an update")
        if self._needs_every_weight and unchanged:
            raise IncompleteUpdateError(
                f"engine {self._name} dropped its weights when it slept, and the update leaves out {len(unchanged)} of "
                f"them as unchanged, {next(iter(unchanged))} among them"
            )
        await self._give_up()
        self._arrivals = _Arrivals(unchanged)
        self._move(UpdateState.RECEIVING)
        expect = self._vllm.collective_rpc("expect_checksums", args=(list(hashed),))
        await self._deadlines.control("choose checksums", expect)
        await self._deadlines.transfer("start_update", self._vllm.start_weight_update())

    async def receive_weights(self, update_info: dict[str, Any]) -> None:
        """Receive tensors, described by `names`, `dtype_names` and `shapes`; several calls may make an update.

        Raises:
            TransferError: no update is open.
            IncompleteUpdateError: all would come in this one call, and a tensor is missing.
        """
        from vllm.distributed.weight_transfer.base import WeightTransferUpdateRequest

        self._require_open()
        if isinstance(self._config.transfer, GlooTransferConfig):
            # All comes in one call: refuse before receiving rather than after.
            self._expected.check(update_info["names"], update_info["shapes"], self._arrivals.unchanged)
        self._arrivals.names += update_info["names"]
        self._arrivals.shapes += update_info["shapes"]
        request = WeightTransferUpdateRequest(update_info)
        await self._deadlines.transfer("receive_weights", self._vllm.update_weights(request))

    async def finish_update(self, version: int) -> None:
        """Put the received weights to use, call them `version`, and drop all that was computed with the old ones.

        Raises:
            TransferError: no update is open.
            IncompleteUpdateError: a tensor is missing.
        """
        self._require_open()
        self._expected.check(self._arrivals.names, self._arrivals.shapes, self._arrivals.unchanged)
        await self._deadlines.transfer("finish_update", self._vllm.finish_weight_update(str(version)))
        recompute = self._config.in_flight_kv == "recompute"
        # With "keep" this does nothing while responses are in flight, and the salt of prompts does its work.
        reset_prefix = self._vllm.reset_prefix_cache(reset_running_requests=recompute)
        await self._deadlines.control("reset the prefix cache", reset_prefix)
        await self._deadlines.control("reset the multimodal cache", self._vllm.reset_mm_cache())
        await self._deadlines.control("reset the encoder cache", self._vllm.reset_encoder_cache())
        self._submissions.weights_changed()
        self._needs_every_weight = False
        self._move(UpdateState.PAUSED)

    async def weight_version(self) -> int:
        """The version that the engine itself reports."""
        return int(await self._deadlines.control("weight version", self._vllm.get_weight_version()))

    async def received_checksums(self) -> list[dict[str, str]]:
        """BLAKE3 by name of the tensors that the latest update is verified by, as each rank's model was handed them.

        To be compared with those of the sender's `PushReceipt`.
        """
        return await self._deadlines.control("checksums", self._vllm.collective_rpc("received_checksums"))

    async def _give_up(self) -> None:
        """End an update that is open, however far it came."""
        if self.state is UpdateState.RECEIVING:
            # Every rank knows by itself how far it came: one may have failed where another did not.
            await self._deadlines.control("give the open update up", self._vllm.collective_rpc("abandon_update"))
            self._move(UpdateState.MIXED)

    def _require_open(self) -> None:
        if self.state is not UpdateState.RECEIVING:
            raise TransferError(f"engine {self._name} is {self.state}, and receives no update; start one first")

    def _move(self, state: UpdateState) -> None:
        if state not in _NEXT[self.state]:
            raise ValueError(f"engine {self._name} cannot go from {self.state} to {state}")
        self.state = state
