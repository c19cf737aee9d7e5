"""The paper's four claims on generated scenes: runs the missing parts, then writes the report.

    python -m experiments.claims --seeds 0 1 2          # `make claims`: about four hours on two cores
    python -m experiments.claims --only rl-joint        # only these parts, and the cold starts that they need
    python -m experiments.claims --report-only          # from existing results

It can be stopped and repeated: parts with a result in experiments/claims/results are not run again, unless the preset
or the part has changed since.
"""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from experiments.claims.plan import chosen, parts_of
from experiments.claims.report import write_report
from experiments.claims.results import Result
from experiments.claims.run import PartFailedError, PartRunner

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", default=[], metavar="PART", help="such as rl-joint, each for all seeds")
    parser.add_argument("--root", type=Path, default=Path("runs/claims"), help="folder of the runs")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--report", type=Path, default=RESULTS.parent / "REPORT.md", help="file to write")
    parser.add_argument("--jobs", type=int, default=2, help="parts to run at the same time; they share the cores")
    parser.add_argument("--report-only", action="store_true", help="run nothing, only write the report")
    parser.add_argument("overrides", nargs="*", default=[], help="settings for every part, as for `sr-real`")
    options = parser.parse_args()
    console = Console()
    parts = [part for seed in options.seeds for part in parts_of(seed)]
    runner = PartRunner(options.root, options.results, options.overrides, options.jobs)
    if not options.report_only:
        try:
            runner.run(chosen(options.seeds, options.only), console)
        except (PartFailedError, ValueError) as error:
            sys.exit(str(error))
    found = {part: result for part in parts if (result := Result.find(part, options.results)) is not None}
    if not found:
        sys.exit(f"no results in {options.results}: run without --report-only first")
    write_report(found, options.report)
    console.print(f"{len(found)} of {len(parts)} parts; wrote [bold]{options.report}[/]")


if __name__ == "__main__":
    main()
