"""The paper's four claims on the embedded data: run what is missing, then write the report.

    python -m experiments.claims --seeds 0 1 2          # `make claims`: about four hours on two cores
    python -m experiments.claims --only rl-joint        # these parts first, and the cold starts that they need
    python -m experiments.claims --report-only          # from the results that are there

Safe to stop and to repeat: parts that have a result in experiments/claims/results are not run again, unless the preset
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
    parser.add_argument("--only", nargs="+", default=[], metavar="PART", help="such as rl-joint; for all seeds")
    parser.add_argument("--root", type=Path, default=Path("runs/claims"), help="where the runs lie")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where results are kept and looked for")
    parser.add_argument("--report", type=Path, default=RESULTS.parent / "REPORT.md")
    parser.add_argument("--jobs", type=int, default=2, help="parts at a time; the cores are dealt out among them")
    parser.add_argument("--report-only", action="store_true", help="run nothing")
    parser.add_argument("overrides", nargs="*", default=[], help="for every part, as for `sr-real`; for trying it out")
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
