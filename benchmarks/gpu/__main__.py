"""Measures the program on one GPU, part by part, and needs no network.

    python -m benchmarks.gpu --out DIR [--seconds 480] [--only PART…] [--list] [--toy]

Parts come in order of worth. Each runs in a process of its own, or in one that it shares with others that need the same
engine, and has a deadline after which that process and all below it are killed. A figure is appended to DIR/gpu.jsonl
as soon as it is known, so what a run that was cut short has found is kept. While a process measures, the next one
imports its libraries and waits for its turn. At the end come a table and one line of JSON.

Models have random weights in real shapes and are made on the machine. Without a GPU, or with --toy, everything runs at
sizes that a laptop can do; those figures say nothing about speed.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from benchmarks.gpu.figures import FigureFile, read_figures, show
from benchmarks.gpu.machine import Bench, find_card, make_importable
from benchmarks.gpu.plan import JOBS, PARTS, chosen_jobs, processes_of
from benchmarks.gpu.runner import Runner


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="folder of gpu.jsonl and of the logs")
    parser.add_argument("--seconds", type=float, default=480.0, help="for everything; what does not fit is left out")
    known = [*PARTS, *(job.name for job in JOBS)]
    parser.add_argument(
        "--only", nargs="+", choices=known, metavar="PART", help="only these parts, or processes, in this order"
    )
    parser.add_argument("--list", action="store_true", help="say what the parts measure, and end")
    parser.add_argument("--toy", action="store_true", help="small sizes on a GPU too")
    arguments = parser.parse_args()
    if arguments.list:
        for name, what in PARTS.items():
            print(f"{name:10} {what} (in {', '.join(processes_of(name))})")
        return 0
    out = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    card = find_card()
    with tempfile.TemporaryDirectory(prefix="sr-real-gpu-", ignore_cleanup_errors=True) as work:
        bench = Bench(
            out=out, work=Path(work), on_gpu=card is not None, toy=arguments.toy or card is None, card=card or "no card"
        )
        make_importable(bench.work)
        before = len(read_figures(bench.out))
        print(f"{bench.card}; {arguments.seconds:.0f} s; figures go to {bench.out / 'gpu.jsonl'}", flush=True)
        outcome = Runner(bench, FigureFile(bench.out, bench.card), arguments.seconds).run(
            chosen_jobs(JOBS, arguments.only, bench.on_gpu)
        )
    figures = read_figures(bench.out)[before:]
    show(figures)
    summary = {f"{figure.part}/{figure.name}": figure.value for figure in figures if figure.value is not None}
    print(json.dumps({"card": bench.card, "toy": bench.toy, **outcome.as_dict(), "figures": summary}))
    return 1 if outcome.failed else 0


if __name__ == "__main__":
    sys.exit(main())
