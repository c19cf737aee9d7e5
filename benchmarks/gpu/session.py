"""A job's process: `python -m benchmarks.gpu.session`, started by the runner.

A session is a class that is made with the `Bench` and the file of figures. Its `warm` imports what it needs and touches
no card; then it waits for its turn, and its methods run in order. The runner hears of each by a line of JSON.
"""

import argparse
import importlib
import json
import os
import sys
import traceback
from typing import Any, Protocol

from benchmarks.gpu.figures import FigureFile
from benchmarks.gpu.machine import Bench


class Session(Protocol):
    """What a job's class offers besides its stages."""

    def warm(self) -> None:
        """Import what the stages need; nothing of the card is touched."""

    def close(self) -> None:
        """End what was started."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--session", required=True, help="module:class")
    parser.add_argument("--bench", type=json.loads, required=True)
    parser.add_argument("--stages", nargs="+", required=True)
    parser.add_argument("--events", type=int, required=True, help="file descriptor that the runner reads")
    arguments = parser.parse_args()
    os.set_inheritable(arguments.events, False)

    def tell(**event: Any) -> None:
        os.write(arguments.events, json.dumps(event).encode() + b"\n")

    bench = Bench.from_dict(arguments.bench)
    module, name = arguments.session.split(":")
    try:
        session: Session = getattr(importlib.import_module(module), name)(bench, FigureFile(bench.out, bench.card))
        session.warm()
    except Exception as error:  # reported, with the job's first stage
        _fail(tell, error)
        return
    tell(event="warm")
    if sys.stdin.readline() == "":  # the runner is gone
        return
    try:
        for stage in arguments.stages:
            tell(event="begins")
            getattr(session, stage)()
            tell(event="ends")
    except Exception as error:  # reported; what is left of the job gets another process
        _fail(tell, error)
    finally:
        session.close()


def _fail(tell: Any, error: Exception) -> None:
    traceback.print_exc()
    sys.stderr.flush()
    tell(event="failed", error=f"{type(error).__name__}: {error}"[:1000])


if __name__ == "__main__":
    main()
