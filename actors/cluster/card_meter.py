"""How much of its time a card works, and how much of its memory is taken: sampled by a thread beside the work.

The share of time is NVML's: that in which the card ran a kernel, whoever started it. The spans of our own calls would
say more than is true, since a card also waits inside an update, for its host or for another card.
"""

import logging
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

_log = logging.getLogger(__name__)

# NVML itself looks at stretches of a sixth of a second to a second, by kind of card; a push is shorter than that.
_EVERY_S = 0.1
# Beyond this, neighbours are merged, so that a step of an hour takes no more room than one of minutes.
_MAX_SAMPLES = 3000


class CardSample(NamedTuple):
    """A card at one moment."""

    at_s: float
    """In Unix time."""
    busy: float | None
    """Share of the time before, in [0, 1]; None where the driver does not tell (MIG's parts of a card)."""
    used_bytes: int
    """Memory that is taken, whoever took it."""
    own_bytes: int
    """Of it, what PyTorch has reserved in the process that looks."""


@dataclass(frozen=True)
class CardTrack:
    """One card since the last look at it."""

    owner: str
    """Whose card it is: "learner-0", "rollout-2"; of an engine with several, "rollout-2.1"."""
    card: str
    """The card's own identity, the same for all who share it."""
    kind: str
    """Such as "NVIDIA H100 80GB HBM3"."""
    total_bytes: int
    samples: tuple[CardSample, ...]
    peak_allocated_bytes: int | None = None
    """Most that tensors of the learner rank took at once; None for engines."""


class CardSource(Protocol):
    """Who can tell about cards."""

    async def card_tracks(self) -> list[CardTrack]:
        """What was seen since the last call; a card that cannot be asked is left out."""


class Driver(Protocol):
    """What is asked of NVML about some cards."""

    @property
    def cards(self) -> Sequence[tuple[str, str, int]]:
        """Identity, kind and bytes of memory of each."""

    def read(self, index: int) -> tuple[float | None, int]:
        """Share of its time that the card worked, and bytes of its memory that are taken."""


class Nvml:
    """NVIDIA's library, as vLLM brings it along."""

    def __init__(self, ids: Sequence[str]) -> None:
        """
        Args:
            ids: the cards by number or by UUID, as CUDA_VISIBLE_DEVICES has them.

        Raises:
            OSError: there is no driver, or it does not know a card.
        """
        from vllm.third_party import pynvml

        self._nvml: Any = pynvml
        try:
            pynvml.nvmlInit()
            self._handles = [
                pynvml.nvmlDeviceGetHandleByIndex(int(card))
                if card.isdigit()
                else pynvml.nvmlDeviceGetHandleByUUID(card)
                for card in ids
            ]
            self.cards = [
                (
                    str(pynvml.nvmlDeviceGetUUID(handle)),
                    str(pynvml.nvmlDeviceGetName(handle)),
                    int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
                )
                for handle in self._handles
            ]
        except pynvml.NVMLError as error:
            raise OSError(f"NVML about cards {', '.join(ids)}: {error}") from None

    def read(self, index: int) -> tuple[float | None, int]:
        handle, nvml = self._handles[index], self._nvml
        try:
            busy = nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100
        except nvml.NVMLError_NotSupported:
            busy = None
        return busy, int(nvml.nvmlDeviceGetMemoryInfo(handle).used)


class CardMeter:
    """Samples some cards in a thread, from `start` until the process ends."""

    def __init__(self, owner: str, driver: Driver, own_bytes: Callable[[], int] = lambda: 0) -> None:
        """
        Args:
            own_bytes: what PyTorch has reserved on the (one) card in this process.
        """
        self._owner = owner
        self._driver = driver
        self._own_bytes = own_bytes
        self._lock = threading.Lock()
        self._samples: list[list[CardSample]] = [[] for _ in driver.cards]

    def start(self) -> None:
        threading.Thread(target=self._sample_forever, name="card meter", daemon=True).start()

    def _sample_forever(self) -> None:
        try:
            while True:
                self.sample(time.time())
                time.sleep(_EVERY_S)
        except Exception as error:  # whatever the driver says: a run does not end for want of a figure
            _log.warning("the cards of %s are not looked at any more: %s", self._owner, error)

    def sample(self, at_s: float) -> None:
        """Look at every card once."""
        own_bytes = self._own_bytes()
        for index, samples in enumerate(self._samples):
            busy, used_bytes = self._driver.read(index)
            with self._lock:
                samples.append(CardSample(at_s, busy, used_bytes, own_bytes))
                if len(samples) >= _MAX_SAMPLES:
                    samples[:] = merged(samples)

    def take(self, peak_allocated_bytes: int | None = None) -> list[CardTrack]:
        """What was seen since the last call."""
        with self._lock:
            taken = [tuple(samples) for samples in self._samples]
            for samples in self._samples:
                samples.clear()
        owners = [self._owner] if len(taken) == 1 else [f"{self._owner}.{index}" for index in range(len(taken))]
        return [
            CardTrack(owner, card, kind, total_bytes, samples, peak_allocated_bytes)
            for owner, (card, kind, total_bytes), samples in zip(owners, self._driver.cards, taken, strict=True)
        ]


def merged(samples: Sequence[CardSample]) -> list[CardSample]:
    """Half as many: each of two neighbours, with the mean of the times that the card worked and the fuller memory."""
    pairs = zip(samples[::2], samples[1::2], strict=False)
    return [
        max(pair, key=lambda sample: sample.used_bytes)._replace(
            at_s=pair[0].at_s,
            busy=None if pair[0].busy is None or pair[1].busy is None else (pair[0].busy + pair[1].busy) / 2,
        )
        for pair in pairs
    ]


class Unseen:
    """Cards of which no driver tells: their number and kind alone."""

    def __init__(self, ids: Sequence[str], kind: str) -> None:
        self.cards = [(f"{socket.gethostname()}/{card}", kind, 0) for card in ids]

    def read(self, index: int) -> tuple[float | None, int]:
        raise OSError("nobody tells")


def start_meter(
    owner: str, ids: Sequence[str], kind: Callable[[], str] = str, own_bytes: Callable[[], int] = lambda: 0
) -> CardMeter:
    """A meter of an actor's cards, by number or UUID. Where NVML does not answer, a warning is in the log, and all that
    the meter tells is that there are such cards.

    Args:
        kind: their name, if there is another who knows it.
    """
    try:
        meter = CardMeter(owner, Nvml(ids), own_bytes)
    except OSError as error:
        _log.warning("the metrics will not tell how busy the cards of %s are: %s", owner, error)
        return CardMeter(owner, Unseen(ids, kind()), own_bytes)
    meter.start()
    return meter
