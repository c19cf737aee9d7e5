"""All benchmarks. A new benchmark is one line here: the command line and the tables of documents follow."""

import difflib
from collections.abc import Mapping

from evaluation.benchmarks.benchmark import Benchmark
from evaluation.benchmarks.blink import Blink
from evaluation.benchmarks.cv import CvBench
from evaluation.benchmarks.embspatial import EmbSpatial
from evaluation.benchmarks.mmsi import Mmsi
from evaluation.benchmarks.omni3d_bench import Omni3dBench
from evaluation.benchmarks.qspatial import QSpatial
from evaluation.benchmarks.realworldqa import RealWorldQa
from evaluation.benchmarks.sat import Sat
from evaluation.benchmarks.spar import Spar
from evaluation.benchmarks.spatialrgpt import SpatialRgpt
from evaluation.benchmarks.three_dsr import ThreeDsr
from evaluation.benchmarks.viewspatial import ViewSpatial
from evaluation.benchmarks.vsi import Vsi

_ALL: tuple[Benchmark, ...] = (
    SpatialRgpt(),
    Spar(),
    Vsi(),
    CvBench(),
    Blink(),
    RealWorldQa(),
    ThreeDsr(),
    EmbSpatial(),
    Sat(),
    QSpatial(),
    Omni3dBench(),
    ViewSpatial(),
    Mmsi(),
)

BENCHMARKS: Mapping[str, Benchmark] = {benchmark.name: benchmark for benchmark in _ALL}
"""The benchmarks by their names on the command line."""


def find_benchmark(name: str) -> Benchmark:
    """
    Raises:
        KeyError: there is no such benchmark; the message suggests the nearest name and lists all.
    """
    if name not in BENCHMARKS:
        nearest = difflib.get_close_matches(name.lower(), BENCHMARKS, n=1, cutoff=0.0)[0]
        raise KeyError(f"{name} is no benchmark; did you mean {nearest}? There are {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]
