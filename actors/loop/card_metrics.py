"""A step on GPUs as numbers: tokens per second, MFU, how busy the cards were, how full their memory. Pure but for
`CardWatch`, which asks the cards' owners.

All begin with `gpu/`; a run on CPUs has none of them.
"""

import asyncio
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import fmean
from typing import Literal

from actors.cluster.card_meter import CardSample, CardSource, CardTrack
from learner.cards import card_kind
from learner.flops import mfu

GIB = 1024**3
PHASES = ("generate", "update", "push")
LEARNER, ENGINE = "learner", "engine"

Spans = Mapping[str, Sequence[tuple[float, float]]]
"""By phase: when it began and ended, in Unix time."""


@dataclass(frozen=True)
class StepFacts:
    """What a step did, as far as its cards' figures depend on it."""

    step_s: float
    generate_s: float
    update_s: float
    num_trained_tokens: int
    """Prompt and response tokens of the responses that were trained on."""
    num_generated_tokens: int
    """Response tokens that engines made in the step."""
    update_flops: float | None
    """Operations of the update (`learner.flops.update_flops`); None without a learner."""
    spans: Spans


@dataclass(frozen=True)
class CardWatch:
    """Asks about the cards at the end of each step."""

    sources: tuple[CardSource, ...]
    dtype: Literal["float32", "bfloat16"]
    """Of the learner's products: MFU is a share of the peak in this number format."""
    peak_tflops: float | None = None
    """Of one learner card; None: as its kind has it."""

    async def metrics(self, step: StepFacts) -> dict[str, float | str]:
        """The step's figures; empty where nobody could be asked."""
        tracks = list(chain.from_iterable(await asyncio.gather(*(source.card_tracks() for source in self.sources))))
        return card_metrics(tracks, step, self.dtype, self.peak_tflops)


def card_metrics(
    tracks: Sequence[CardTrack],
    step: StepFacts,
    dtype: Literal["float32", "bfloat16"],
    peak_tflops: float | None = None,
) -> dict[str, float | str]:
    """See docs/speed.md for what each is."""
    if not tracks:
        return {}
    learners = {track.card: track for track in tracks if track.peak_allocated_bytes is not None}
    engines = {track.card: track for track in tracks if track.peak_allocated_bytes is None}
    # Of a card that both use, the learner's own look tells more: how much of the memory is the learner's.
    cards = engines | learners
    kind = next(iter(learners.values() or engines.values())).kind
    metrics: dict[str, float | str] = {
        **({"gpu/kind": kind} if kind else {}),
        "gpu/num_cards": len(cards),
        "gpu/tokens_per_s": step.num_trained_tokens / step.step_s / len(cards),
    }
    if engines and step.generate_s > 0:
        metrics["gpu/generate_tokens_per_s"] = step.num_generated_tokens / step.generate_s / len(engines)
    if learners and step.update_s > 0:
        metrics["gpu/update_tokens_per_s"] = step.num_trained_tokens / step.update_s / len(learners)
        known = card_kind(kind)
        peak = peak_tflops or (known.peak_tflops(dtype) if known is not None else None)
        if peak is not None and step.update_flops is not None:
            metrics["gpu/peak_tflops"] = peak
            metrics["gpu/mfu"] = mfu(step.update_flops, step.update_s, len(learners), peak)
    return metrics | _busy(cards, learners, engines, step.spans) | _memory(cards, learners, engines, step.spans)


Cards = Mapping[str, CardTrack]


def _busy(cards: Cards, learners: Cards, engines: Cards, spans: Spans) -> dict[str, float | str]:
    """Shares of time: of each card, of all, of the learner's in updates, of the engines' while they generate."""
    of_card = {track.owner: mean_busy(track.samples) for track in cards.values()}
    metrics = {f"gpu/busy/{owner}": share for owner, share in of_card.items()}
    metrics["gpu/busy_mean"] = _mean(of_card.values())
    for name, those, phase in (("update", learners, "update"), ("generate", engines, "generate")):
        metrics[f"gpu/busy_{name}"] = _mean(
            mean_busy(during(cards[card].samples, spans.get(phase, ()))) for card in those
        )
    return {name: share for name, share in metrics.items() if share is not None}


def _memory(cards: Cards, learners: Cards, engines: Cards, spans: Spans) -> dict[str, float | str]:
    """The fullest card's, by phase, in GiB: what PyTorch holds for the learner, and what is taken beside that."""
    metrics: dict[str, float | str] = {}
    for phase in PHASES:
        samples = {card: during(track.samples, spans.get(phase, ())) for card, track in cards.items()}
        own = [sample.own_bytes for card in learners for sample in samples[card]]
        others = [sample.used_bytes - sample.own_bytes for card in engines for sample in samples[card]]
        for who, found in ((LEARNER, own), (ENGINE, others)):
            if found:
                metrics[f"gpu/memory/{who}_{phase}_gib"] = max(found) / GIB
    allocated = [track.peak_allocated_bytes or 0 for track in learners.values()]
    if allocated:
        metrics["gpu/memory/learner_tensors_gib"] = max(allocated) / GIB
    full = [max(sample.used_bytes for sample in t.samples) / t.total_bytes for t in cards.values() if t.samples]
    if full:
        metrics["gpu/memory/fullest_share"] = max(full)
    return metrics


def during(samples: Sequence[CardSample], spans: Sequence[tuple[float, float]]) -> list[CardSample]:
    """The samples, in order of time, that were taken within the spans, none of which overlap."""
    times = [sample.at_s for sample in samples]
    parts = (samples[bisect_left(times, start_s) : bisect_right(times, end_s)] for start_s, end_s in spans)
    return list(chain.from_iterable(parts))


def mean_busy(samples: Sequence[CardSample]) -> float | None:
    """The mean share of time that a card worked; None if no sample tells."""
    return _mean(sample.busy for sample in samples)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
