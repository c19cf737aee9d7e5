"""Does RL help by more than chance? Scores on held-out scenes before and after RL, for several seeds of the demo.

    python -m benchmarks.demo_seeds --seeds 0 1 2        # 15 minutes each on two cores

Finished runs in `runs/seed-N` are read instead of repeated.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from rich.console import Console
from rich.table import Table

SCORES = ("reward", "accuracy", "accuracy_greedy")


def run(seed: int, overrides: list[str]) -> dict[str, Any]:
    """The summary of one seed's run."""
    folder = Path("runs") / f"seed-{seed}"
    if "seconds_total" not in _summary(folder):
        program = Path(sys.executable).with_name("sr-real")
        subprocess.run([str(program), "demo", f"run={folder}", f"seed={seed}", *overrides], check=True)
    return _summary(folder)


def _summary(folder: Path) -> dict[str, Any]:
    file = folder / "summary.json"
    return json.loads(file.read_text()) if file.exists() else {}


def _spread(values: list[float]) -> float:
    return stdev(values) if len(values) > 1 else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("overrides", nargs="*", default=[], help="settings, as for `sr-real demo`")
    options = parser.parse_args()
    summaries = {seed: run(seed, options.overrides) for seed in options.seeds}
    console = Console()
    table = Table("held out", *(f"seed {seed}" for seed in summaries), "mean gain", "spread")
    result: dict[str, object] = {"seeds": options.seeds}
    for path in ("lor", "dtr"):
        for score in SCORES:
            key = f"{path}_{score}"
            pairs = [(summary["cold_start"][key], summary["rl"][key]) for summary in summaries.values()]
            gains = [after - before for before, after in pairs]
            spread = _spread(gains)
            cells = [f"{before:.3f} → {after:.3f}" for before, after in pairs]
            table.add_row(key, *cells, f"{fmean(gains):+.3f}", f"{spread:.3f}")
            result[f"{key}_gain"] = round(fmean(gains), 4)
            result[f"{key}_spread"] = round(spread, 4)
    for key in ("format_rate", "center_error_m_median"):
        cells = [f"{s['cold_start'][key]:.3f} → {s['rl'][key]:.3f}" for s in summaries.values()]
        table.add_row(key, *cells, "", "")
    minutes = [f"{summary['seconds_total'] / 60:.1f}" for summary in summaries.values()]
    table.add_row("minutes in all", *minutes, "", "")
    gains = [
        fmean(s["rl"][f"{path}_reward"] - s["cold_start"][f"{path}_reward"] for path in ("lor", "dtr"))
        for s in summaries.values()
    ]
    result |= {"reward_gain": round(fmean(gains), 4), "reward_spread": round(_spread(gains), 4)}
    console.print(table)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
