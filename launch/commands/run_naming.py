"""Naming a run on the command line: `run=RUN`, in every command. `--run RUN` and the folder alone mean the same."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from launch.settings.config import ConfigError

DEFAULT_RUN = Path("runs/demo")
_MOST_SHOWN = 5

RunName = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="run=RUN", help="The run's folder, such as run=runs/mine. Default: runs/demo.", show_default=False
    ),
]
RunNames = Annotated[
    list[str] | None,
    typer.Argument(metavar="run=RUN", help="The runs' folders; the first is the baseline.", show_default=False),
]
RunOption = Annotated[
    Path | None, typer.Option("--run", help="The same as run=RUN.", show_default=False, metavar="RUN")
]
RunOptions = Annotated[
    list[Path] | None, typer.Option("--run", help="The same as run=RUN.", show_default=False, metavar="RUN")
]


def with_run(settings: Sequence[str] | None, option: Path | None) -> list[str]:
    """A command's settings, with the run as `run=…` whichever way it was named.

    A folder alone is taken for the run's only if it looks like one (it is there, or has a slash in it): a mistyped word
    must not become a new run.

    Raises:
        ConfigError: two different runs are named.
    """
    others, runs = [], [] if option is None else [str(option)]
    for text in settings or ():
        if text.startswith("run="):
            runs.append(text.removeprefix("run="))
        elif _is_folder(text):
            runs.append(text)
        else:
            others.append(text)
    if len({Path(run) for run in runs}) > 1:
        raise ConfigError(f"this takes one run, but {' and '.join(runs)} were given")
    return [*(f"run={run}" for run in runs[:1]), *others]


def the_run(names: Sequence[str] | None, option: Path | None) -> Path:
    """The one run that is named, or the default.

    Raises:
        ConfigError: it does not exist, is not a run, or several are named.
    """
    named = runs_named(names, None if option is None else [option])
    if len(named) > 1:
        raise ConfigError(f"this takes one run, but {' and '.join(map(str, named))} were given")
    return named[0]


def runs_named(names: Sequence[str] | None, options: Sequence[Path] | None) -> list[Path]:
    """The runs that are named, each once, or the default.

    Raises:
        ConfigError: one of them does not exist, or is not a run.
    """
    given = [*(Path(name.removeprefix("run=")).expanduser() for name in names or ()), *(options or ())]
    runs = list(dict.fromkeys(given)) or [DEFAULT_RUN]
    for run in runs:
        _check_is_run(run, is_default=not given)
    return runs


def _check_is_run(run: Path, is_default: bool) -> None:
    from actors.run.run_folder import RunFolder

    folder = RunFolder(run)
    if folder.config.is_file() or folder.metrics.is_file():
        return
    what = "there is no such folder" if not run.exists() else "it is not a run: it has neither config.json nor metrics"
    name = f"run={run}, the default" if is_default else f"run={run}"
    raise ConfigError(f"{name}: {what}{_others_beside(run)}")


def _others_beside(run: Path) -> str:
    found = sorted(file.parent for file in run.parent.glob("*/config.json") if file.parent != run)
    near = difflib.get_close_matches(run.name, [other.name for other in found], n=1)
    if near:
        return f"; did you mean run={run.parent / near[0]}?"
    if not found:
        return "; name a run with run=RUN"
    shown = ", ".join(f"run={other}" for other in found[:_MOST_SHOWN])
    return f"; there are {shown}{' and others' if len(found) > _MOST_SHOWN else ''}"


def _is_folder(text: str) -> bool:
    if text.startswith(("/", "./", "../", "~")):
        return True
    return "=" not in text and ("/" in text or Path(text).is_dir())
