"""The paper's four claims on the embedded data: run what is missing, then write the report.

    python -m experiments.claims --seeds 0 1 2          # `make claims`: about four hours on two cores
    python -m experiments.claims --report-only          # from the results that are there

Safe to stop and to repeat: parts that have a result in experiments/claims/results are not run again.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from experiments.claims.plan import Part, parts_of, shown
from experiments.claims.report import write_report
from experiments.claims.results import Result

RESULTS = Path(__file__).parent / "results"
# Before any part was measured.
_GUESS_S = {"cold_start": 420.0, "rl": 360.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--root", type=Path, default=Path("runs/claims"), help="where the runs lie")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where results are kept and looked for")
    parser.add_argument("--report", type=Path, default=RESULTS.parent / "REPORT.md")
    parser.add_argument("--report-only", action="store_true", help="run nothing")
    parser.add_argument("overrides", nargs="*", default=[], help="for every part, as for `sr-real`; for trying it out")
    options = parser.parse_args()
    console = Console()
    parts = [part for seed in options.seeds for part in parts_of(seed)]
    if not options.report_only:
        run_missing(parts, options.root, options.results, options.overrides, console)
    found = {part: Result.read(file) for part in parts if (file := _file(options.results, part)).exists()}
    if not found:
        sys.exit(f"no results in {options.results}: run without --report-only first")
    write_report(found, options.report)
    console.print(f"{len(found)} of {len(parts)} parts; wrote [bold]{options.report}[/]")


def run_missing(parts: list[Part], root: Path, results: Path, overrides: list[str], console: Console) -> None:
    """Run each part that has no result yet; the first that fails ends it with the end of its log."""
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
    ) as bar:
        task = bar.add_task("", total=len(parts))
        for index, part in enumerate(parts):
            left_s = _left_s(parts[index:], results)
            bar.update(task, description=f"{part.key}: {part.title} (about {left_s / 3600:.1f} h left)")
            if not _file(results, part).exists():
                _run(part, root, results, overrides)
            bar.advance(task)


def _run(part: Part, root: Path, results: Path, overrides: list[str]) -> None:
    folder = root / part.key
    folder.mkdir(parents=True, exist_ok=True)
    command = [*part.command(root), *overrides]
    started_s = time.perf_counter()
    with (folder / "log.txt").open("w") as log:
        program = Path(sys.executable).with_name("sr-real")
        status = subprocess.run([program, *command], stdout=log, stderr=subprocess.STDOUT, check=False).returncode
    if status != 0:
        end = "\n".join((folder / "log.txt").read_text().splitlines()[-15:])
        sys.exit(f"{part.key} failed ({status}); what is done is kept, so repeat the command to go on.\n{end}")
    written = " ".join([shown(part, root), *overrides])
    Result.of_run(part, written, folder, time.perf_counter() - started_s).write(_file(results, part))


def _left_s(parts: list[Part], results: Path) -> float:
    """How long the parts without results will take, by the median of those that have some."""
    measured = [Result.read(file) for file in results.glob("*/*.json")]
    typical = {
        phase: median([r.seconds for r in measured if bool(r.curve) == (phase == "rl")] or [guess])
        for phase, guess in _GUESS_S.items()
    }
    return sum(typical[part.phase] for part in parts if not _file(results, part).exists())


def _file(results: Path, part: Part) -> Path:
    return results / f"{part.key}.json"


if __name__ == "__main__":
    main()
