"""An engine's numbers for people who watch. Importing this needs no vLLM."""

from dataclasses import dataclass
from typing import Any


@dataclass
class EngineUsage:
    """The scheduler's latest numbers."""

    num_waiting: int = 0
    cache_share: float = 0.0
    """Share of the memory for keys and values that is in use."""


@dataclass(frozen=True)
class Vitals:
    """A worker at one moment."""

    num_tokens: int
    """Response tokens that it has given since its start."""
    usage: EngineUsage
    memory_gib: float
    """Memory of all its processes; what they share is counted in each."""


def usage_logger(usage: EngineUsage) -> type:
    """A logger for `AsyncLLM.from_engine_args(stat_loggers=[…])` that only keeps `usage` up to date."""
    from vllm.v1.metrics.loggers import PrometheusStatLogger

    class UsageLogger(PrometheusStatLogger):
        """A Prometheus logger in name: beside any other kind vLLM adds its own, which costs time at every iteration."""

        def __init__(self, vllm_config: Any, engine_indexes: Any = None) -> None: ...

        def record(
            self, scheduler_stats: Any, iteration_stats: Any, mm_cache_stats: Any = None, engine_idx: int = 0
        ) -> None:
            if scheduler_stats is not None:
                usage.num_waiting = scheduler_stats.num_waiting_reqs
                usage.cache_share = scheduler_stats.kv_cache_usage

        def log(self) -> None: ...

        def log_engine_initialized(self) -> None: ...

    return UsageLogger
