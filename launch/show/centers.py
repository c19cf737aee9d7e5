"""Detected centres beside the true ones, from above: the picture that validates region-to-3D."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from actors.run.run_folder import RunFolder
from launch.show.from_above import draw_axes
from rewards.center import distance_m
from spatial.json_lines import read_lines
from spatial.sample import SpatialSample, Vector3

_PHASES = {"cold_start": "after cold start", "rl": "after RL"}
_MAX_SHOWN = 150


class Pair(NamedTuple):
    """A true centre and the predicted one, camera frame."""

    domain: str
    true_m: Vector3
    predicted_m: Vector3

    @property
    def error_m(self) -> float:
        return distance_m(self.predicted_m, self.true_m)


def draw_centers(folder: RunFolder) -> bool:
    """Write `centers.png`: a row a phase, a column a family of scenes; False if no evaluation has centres."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    pairs = evaluated_pairs(folder)
    domains = sorted({pair.domain for found in pairs.values() for pair in found})
    if not pairs:
        return False
    size = (5.5 * len(domains), 5 * len(pairs))
    figure, grid = plt.subplots(len(pairs), len(domains), figsize=size, squeeze=False, layout="constrained")
    for row, (phase, found) in zip(grid, pairs.items(), strict=True):
        for axes, domain in zip(row, domains, strict=True):
            _draw(axes, [pair for pair in found if pair.domain == domain], f"{domain}, {_PHASES[phase]}")
    figure.savefig(folder.centers_picture, dpi=110)
    plt.close(figure)
    return True


def evaluated_pairs(folder: RunFolder) -> dict[str, list[Pair]]:
    """By phase, the centres of its greedy held-out responses beside the true ones; phases without any are left out."""
    files = {phase: folder.evaluations / f"{phase}.jsonl" for phase in _PHASES}
    true_m = _true_centers_m(folder)
    pairs = {phase: list(_pairs(file, true_m)) for phase, file in files.items() if file.exists()}
    return {phase: found for phase, found in pairs.items() if found}


def _true_centers_m(folder: RunFolder) -> dict[str, tuple[Vector3, ...]]:
    with (folder.data / "test.jsonl").open() as lines:
        samples = map(SpatialSample.model_validate_json, lines)
        return {sample.sample_id: sample.true_centers_m for sample in samples if sample.true_centers_m}


def _pairs(file: Path, true_m: dict[str, tuple[Vector3, ...]]) -> Iterable[Pair]:
    """The greedy responses' centres where there are as many as regions: the first written is the first region's."""
    for mark in read_lines(file):
        wanted = true_m.get(mark["sample_id"], ())
        if mark["is_greedy"] and wanted and len(mark["centers_m"]) == len(wanted):
            for true, predicted in zip(wanted, mark["centers_m"], strict=True):
                yield Pair(mark["domain"], true, tuple(predicted))


def _draw(axes: Any, pairs: Sequence[Pair], title: str) -> None:
    if not pairs:
        axes.set_title(f"{title}: none")
        return
    middle = median(pair.error_m for pair in pairs)
    draw_axes(axes, f"{title}: median error {middle:.2f} m of {len(pairs)}")
    shown = pairs[:_MAX_SHOWN]
    for pair in shown:
        (x, _, z), (predicted_x, _, predicted_z) = pair.true_m, pair.predicted_m
        axes.plot([x, predicted_x], [z, predicted_z], color="#b0b0b0", linewidth=0.8, zorder=1)
    axes.scatter(*_from_above(pair.true_m for pair in shown), s=26, facecolors="none", edgecolors="black", label="true")
    errors = [pair.error_m for pair in shown]
    predicted = _from_above(pair.predicted_m for pair in shown)
    crosses = axes.scatter(*predicted, s=14, c=errors, cmap="viridis_r", vmin=0, vmax=1, label="predicted")
    axes.figure.colorbar(crosses, ax=axes, label="error in 3D, m", extend="max")
    far_m = max(pair.true_m[2] for pair in shown) * 1.15
    axes.set(xlim=(-far_m / 2, far_m / 2), ylim=(-0.05 * far_m, far_m))
    axes.set_aspect("equal", adjustable="box")
    axes.legend(loc="lower right")


def _from_above(points_m: Iterable[Vector3]) -> tuple[list[float], list[float]]:
    x, _, z = zip(*points_m, strict=True)
    return list(x), list(z)
