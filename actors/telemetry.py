"""Metrics to where people look: wandb, and Ray's Prometheus endpoint. The run's own files do not depend on either."""

import os
import re
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Literal

import wandb
from ray.util.metrics import Gauge

from actors.config import TelemetryConfig


class Telemetry:
    """Sends one flat mapping of numbers a step."""

    def __init__(self, config: TelemetryConfig, run_name: str, folder: FilePath, run_config: Mapping[str, object]):
        self._gauges: dict[str, Gauge] = {}
        self._tags = {"run": run_name}
        self.mode = _mode(config)
        self._run = (
            wandb.init(
                project=config.project,
                name=run_name,
                dir=str(folder),
                config=dict(run_config),
                mode=self.mode,
                settings=wandb.Settings(silent=True, console="off"),
            )
            if self.mode != "off"
            else None
        )

    def log(self, metrics: Mapping[str, object]) -> None:
        numbers = {name: float(value) for name, value in metrics.items() if isinstance(value, int | float)}
        if self._run is not None:
            self._run.log(numbers, step=int(numbers["step"]))
        for name, value in numbers.items():
            if name not in self._gauges:
                metric = "sr_real_" + re.sub(r"\W", "_", name)
                self._gauges[name] = Gauge(metric, description=name, tag_keys=("run",))
            self._gauges[name].set(value, tags=self._tags)

    def close(self) -> None:
        if self._run is not None:
            self._run.finish()


def _mode(config: TelemetryConfig) -> Literal["online", "offline", "off"]:
    if config.wandb != "auto":
        return config.wandb
    return "online" if os.environ.get("WANDB_API_KEY") else "offline"
