"""How fast the page of a long run opens and finds groups, and what watching it costs the run.

    python -m benchmarks.dashboard
    python -m benchmarks.dashboard --steps 1000 --trajectories 10000

A run of 10,000 steps and 100,000 recorded responses is written in the format of a real one. `open_s`: the time to open
the page of this folder for the first time, all its first requests included. `filter_ms`: the slowest of many searches
for groups, over HTTP. `step_cost`: the share of all cores' time that the server takes while one person watches each
view in turn and the page asks for updates every two seconds. The reference is a request that reads nothing. The last
line is JSON.
"""

import argparse
import json
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
import psutil
from rich.console import Console
from rich.progress import track
from rich.table import Table

from actors.run.run_folder import RunFolder
from benchmarks.recording import KINDS, make_group, make_sample
from dashboard.board import Board
from dashboard.config import DashboardConfig
from dashboard.run_view import RunView
from dashboard.server import DashboardServer
from dashboard.views import VIEWS
from spatial.images import ImageStore
from spatial.sample import ReasoningPath

GROUP_SIZE = 8
MAX_OPEN_S, MAX_FILTER_MS, MAX_STEP_COST = 2.0, 300.0, 0.02
EVERY_S = 2.0


def write_run(root: Path, num_steps: int, num_trajectories: int) -> None:
    """Write metrics for every step, with groups spread evenly over the steps."""
    folder = RunFolder(root)
    folder.create()
    image = ImageStore(folder.images).put(np.full((64, 64, 3), 120, np.uint8))
    samples = [make_sample(image, kind, path) for path in (ReasoningPath.LOR, ReasoningPath.DTR) for kind in KINDS]
    rng = np.random.default_rng(0)
    num_groups = num_trajectories // GROUP_SIZE
    written = 0
    for step in track(range(1, num_steps + 1), "writing the run", console=Console(stderr=True)):
        due = step * num_groups // num_steps
        if due > written:
            groups = [
                (make_group(samples[i % 4], i, step, rng.uniform(0, 1, GROUP_SIZE).tolist()), True)
                for i in range(written, due)
            ]
            folder.write_trajectories(step, groups)
            written = due
        numbers = {
            f"{path}/{name}": float(rng.uniform())
            for path in ReasoningPath
            for name in ("reward_mean", "accuracy_mean")
        }
        others = {f"number_{i}": float(rng.uniform()) for i in range(60)}
        folder.append_metrics({"step": step, "time/step_s": 5.0, "time/push_s": 0.1, **numbers, **others})
        folder.append_timeline(step, [("learn", "wait", 5.0 * step, 5.0 * step + 3)])


class Visitor:
    """Sends the requests of the page's scripts."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.callbacks: list[dict[str, Any]] = json.loads(self.get("_dash-dependencies"))

    def get(self, address: str) -> bytes:
        with urlopen(self._url + address, timeout=60) as response:
            return response.read()

    def ask(self, asked: str, view: str, **values: Any) -> bytes:
        """Request one part of the page, as its scripts do.

        Args:
            asked: the beginning of the part's name, such as "now.children".
            view: the view that is open.
            values: the values of inputs by id, if they differ from the initial ones.
        """
        (callback,) = [entry for entry in self.callbacks if asked in entry["output"].split("...")[0]]
        given = {"tick": 1, "tabs": view, "scheme": "light", "page": 1, "rewards": [0, 1], "last-steps": "5"}
        given |= {"smoothing": "1", **values}
        # One chart stands for all, because they share a callback.
        output = callback["output"]
        outputs = [self._part(name.replace('["MATCH"]', '"Reward"')) for name in output.strip(".").split("...")]
        question = {
            "output": output,
            "outputs": outputs if output.startswith("..") else outputs[0],
            "changedPropIds": ["tick.n_intervals"],
            "inputs": [self._given(entry, given) for entry in callback["inputs"]],
            "state": [self._given(entry, given) for entry in callback["state"]],
        }
        headers = {"Content-Type": "application/json"}
        request = Request(f"{self._url}_dash-update-component", json.dumps(question).encode(), headers)
        with urlopen(request, timeout=60) as response:
            return response.read()

    @staticmethod
    def _part(name: str) -> dict[str, Any]:
        component, _, prop = name.rpartition(".")
        return {"id": json.loads(component) if component.startswith("{") else component, "property": prop}

    @classmethod
    def _given(cls, entry: dict[str, str], given: dict[str, Any]) -> dict[str, Any]:
        part = cls._part(f"{entry['id']}.{entry['property']}".replace('["MATCH"]', '"Reward"'))
        value = given.get(entry["id"]) if part["property"] != "id" else part["id"]
        return {**part, "value": value}


def opening(visitor: Visitor) -> None:
    """Request the page, its parts and the first view; then the two views that read most."""
    for address in ("", "_dash-layout", "_dash-dependencies"):
        visitor.get(address)
    visitor.ask("now.children", "now")
    visitor.ask('"curve"', "curves")
    visitor.ask("groups.children", "samples")


def filters() -> Iterator[dict[str, Any]]:
    for paths in ([], ["lor"], ["dtr"]):
        for kinds in ([], [KINDS[0]]):
            for rewards in ([0, 1], [0.4, 0.6]):
                for first_step, page in ((None, 1), (50, 1), (None, 40)):
                    yield {
                        "paths": paths,
                        "kinds": kinds,
                        "rewards": rewards,
                        "first-step": first_step,
                        "page": page,
                    }


def timed_ms(work: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - started_s)


def watching_cost(visitor: Visitor, watched_s: float) -> float:
    """The share of all cores' time that the server takes while one person watches for so long."""
    outputs = {"now": "now.children", "curves": '"curve"', "workers": "workers.children", "samples": "groups.children"}
    process = psutil.Process()
    before = sum(process.cpu_times()[:2])
    started_s = time.perf_counter()
    number = 0
    while time.perf_counter() - started_s < watched_s:
        view = VIEWS[number // 2 % len(VIEWS)].name
        number += 1
        if view in outputs:
            visitor.ask(outputs[view], view)
        time.sleep(EVERY_S)
    spent_s = sum(process.cpu_times()[:2]) - before
    return spent_s / (time.perf_counter() - started_s) / len(os.sched_getaffinity(0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--trajectories", type=int, default=100_000)
    parser.add_argument("--watched-s", type=float, default=20.0, help="seconds for which the page is watched")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "run"
        write_run(root, arguments.steps, arguments.trajectories)
        opened_s = time.perf_counter()
        view = RunView(root)
        server = DashboardServer(Board({view.name: view}), DashboardConfig())
        threading.Thread(target=server.run, daemon=True).start()
        visitor = Visitor(server.place.url)
        opening(visitor)
        open_s = time.perf_counter() - opened_s
        nothing_ms = statistics.median(timed_ms(lambda: visitor.get("assets/favicon.svg")) for _ in range(20))
        filter_ms = max(timed_ms(partial(visitor.ask, "groups.children", "samples", **query)) for query in filters())
        step_cost = watching_cost(visitor, arguments.watched_s)
        server.close()
    title = f"{arguments.steps:,} steps, {arguments.trajectories:,} responses"
    table = Table("measured", "value", "target", title=title)
    table.add_row("opens in", f"{open_s:.2f} s", f"< {MAX_OPEN_S:g} s")
    table.add_row("slowest filter", f"{filter_ms:.0f} ms", f"< {MAX_FILTER_MS:g} ms")
    table.add_row("a request that reads nothing", f"{nothing_ms:.1f} ms", "reference")
    table.add_row("cost of watching, of all cores' time", f"{step_cost:.2%}", f"< {MAX_STEP_COST:.0%}")
    Console().print(table)
    print(json.dumps({"open_s": round(open_s, 3), "filter_ms": round(filter_ms, 1), "step_cost": round(step_cost, 5)}))


if __name__ == "__main__":
    main()
