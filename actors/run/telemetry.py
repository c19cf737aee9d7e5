"""Sends metrics to wandb and to Ray's Prometheus endpoint. The run's own files do not depend on either."""

import asyncio
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Self

import wandb
from ray.util.metrics import Gauge

from actors.config import TelemetryConfig
from actors.run.run_folder import RunFolder
from actors.run.wandb_run import Warn, finish_wandb, start_wandb
from spatial.images import ImageStore
from spatial.json_lines import read_object


class Telemetry:
    """Sends the numbers of each step."""

    def __init__(
        self, config: TelemetryConfig, folder: RunFolder, run_config: Mapping[str, object], warn: Warn
    ) -> None:
        """Connects to wandb, which may take a minute without a network: see `begin`.

        Args:
            warn: called with each message that a person should see.
        """
        self._config = config
        self._folder = folder
        self._gauges: dict[str, Gauge] = {}
        self._tags = {"run": folder.root.name}
        self._warn = warn
        self._run = start_wandb(config, folder, run_config, warn)

    @classmethod
    async def begin(
        cls, config: TelemetryConfig, folder: RunFolder, run_config: Mapping[str, object], warn: Warn
    ) -> Self:
        """Connect in a thread: requests for the run's status must not wait for wandb's network."""
        return await asyncio.to_thread(cls, config, folder, run_config, warn)

    def log(self, metrics: Mapping[str, object]) -> None:
        """Send a step's numbers, and every few steps some of its recorded responses."""
        numbers = {name: float(value) for name, value in metrics.items() if isinstance(value, int | float)}
        step = int(numbers["step"])
        if self._run is not None:
            # wandb takes one record per step.
            samples = self._samples(step) if step % self._config.samples_every == 0 else {}
            self._run.log({**numbers, **samples}, step=step)
        for name, value in numbers.items():
            if name not in self._gauges:
                self._gauges[name] = Gauge(gauge_name(name), description=name, tag_keys=("run",))
            self._gauges[name].set(value, tags=self._tags)

    def _samples(self, step: int) -> dict[str, wandb.Table]:
        recorded = self._folder.step_file(step)
        if not recorded.exists():
            return {}
        images = ImageStore(self._folder.images)
        table = wandb.Table(columns=list(_SAMPLE_COLUMNS))
        for row in first_responses(recorded.read_bytes().splitlines(), self._config.num_samples):
            score = row["score"]
            image = wandb.Image(images.load(row["images"][0]))
            parts = (score["total"], score["accuracy"], score["format"], score["center"])
            truth = json.dumps(row["truth"])
            table.add_data(step, row["path"], row["kind"], image, row["prompt"], truth, row["response"], *parts)
        return {"samples": table}

    async def close(self) -> None:
        if self._run is not None:
            await asyncio.to_thread(finish_wandb, self._run, self._warn)


_SAMPLE_COLUMNS = (
    *("step", "path", "kind", "image", "question", "truth", "response", "reward", "accuracy", "format", "centres"),
)


def gauge_name(metric: str) -> str:
    """The name of a metric at Ray's Prometheus endpoint, which adds `ray_` in front."""
    return "sr_real_" + re.sub(r"\W", "_", metric)


def first_responses(lines: Iterable[bytes | str], num_groups: int) -> list[dict[str, Any]]:
    """The first response of each of the first `num_groups` groups of every path."""
    first: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
    for line in lines:
        row = read_object(line)
        if row is None:
            continue
        of_path = first[row["path"]]
        if "response" in row and (row["group"] in of_path or len(of_path) < num_groups):
            of_path.setdefault(row["group"], row)
    return [row for of_path in first.values() for row in of_path.values()]
