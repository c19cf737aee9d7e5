"""`make demo`: the whole method, small."""

import time

from rich.console import Console
from rich.markup import escape

from launch.run.driver import Driver
from launch.run.ready import Needs
from launch.settings.config import RunConfig
from launch.show.centers import draw_centers
from launch.show.summary import draw_summary, print_summary


def run_demo(config: RunConfig, console: Console) -> None:
    """Scenes → cold start → RL → figures before and after, into the run's folder."""
    started_s = time.perf_counter()
    with Driver(config, console, Needs(phases=["cold_start", "train"])) as run:
        start = run.cold_start()
        run.train(start.folder)
        run.folder.write_summary("seconds_total", time.perf_counter() - started_s)
    print_summary(run.folder, console)
    draw_summary(run.folder)
    draw_centers(run.folder)
    console.print(
        f"everything is in [bold]{escape(config.run)}[/]; the pictures are [bold]{run.folder.picture.name}[/] and "
        f"[bold]{run.folder.centers_picture.name}[/] (detected and true centres)"
    )
