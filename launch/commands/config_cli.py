"""`sr-real config`: every setting with its type, default and documentation; or the values of a preset or a run."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.markup import escape
from rich.padding import Padding

from launch.commands.options import console
from launch.commands.run_naming import RunOption, the_run
from launch.machine.image_sizes import check_images
from launch.settings.config import ConfigError, RunConfig, load_config, parse_config
from launch.settings.faults import KNOWN_ELSEWHERE_AS
from launch.settings.overrides import OverrideError, lay_over
from launch.settings.schema import Setting, settings_of


def show_config(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="WORD|KEY=VALUE",
            help="Words to search for in keys and documentation; and settings to change in --config or the run.",
            show_default=False,
        ),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option("--config", "-c", help="Show the values of this YAML file or preset.", show_default=False),
    ] = None,
    run: RunOption = None,
    as_yaml: Annotated[
        bool, typer.Option("--yaml", help="Print all values as YAML, to save as your own config.")
    ] = False,
) -> None:
    """List every setting with its type, default and documentation, or show the values of a preset or a run.

    Examples: sr-real config learning rate · sr-real config --config demo optimizer · sr-real config run=runs/mine
    """
    overrides = [word for word in words or () if "=" in word]
    wanted = [word for word in words or () if "=" not in word]
    named = [override for override in overrides if override.startswith("run=")]
    if config is None and (run is not None or named):
        values = values_of_run(the_run(named, run), [override for override in overrides if override not in named])
    elif config is not None:
        values = _checked(load_config(config, overrides)).model_dump(mode="json")
    elif overrides or as_yaml:
        raise ConfigError("key=value and --yaml need a config: give --config PRESET or run=RUN")
    else:
        values = None
    if as_yaml:
        print(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), end="")
        return
    found = search(wanted, values)
    if not found:
        raise ConfigError(f"no setting matches {' '.join(wanted)!r}; `sr-real config` lists all")
    for setting in found:
        _print(setting, values)


def _checked(config: RunConfig) -> RunConfig:
    """
    Raises:
        ConfigError: its model, as far as this machine has a description of it, cannot see the prompts' images.
    """
    for finding in check_images(config):
        if finding.status == "fail":
            raise ConfigError(f"{finding.detail}: {finding.advice}")
    return config


def values_of_run(root: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """The config that a run is trained with now, including what later starts changed, with `overrides` applied.

    Raises:
        ConfigError: the run has no config, or an override does not fit it.
    """
    from actors.run.run_folder import RunFolder
    from launch.run.record import own_config

    own = own_config(RunFolder(root))
    if own is None:
        raise ConfigError(f"run={root}: it has no config.json")
    try:
        laid = lay_over(own, overrides, RunConfig)
    except OverrideError as error:
        raise ConfigError(str(error)) from None
    return parse_config(laid, source=str(root)).model_dump(mode="json")


def search(words: Sequence[str], values: dict[str, Any] | None = None) -> list[Setting]:
    """The settings that match all words: first by key, then by the name that other trainers give them, then by
    documentation.

    Args:
        values: of a config; keys of types that it does not choose are left out.
    """
    settings = [setting for setting in settings_of(RunConfig) if values is None or _is_chosen(setting, values)]
    ranks = [(_rank(setting, [word.lower() for word in words]), setting) for setting in settings]
    return [setting for rank, setting in sorted(ranks, key=lambda pair: pair[0]) if rank < _NOT_FOUND]


_NOT_FOUND = 3


def _rank(setting: Setting, words: Sequence[str]) -> int:
    key = setting.key.lower()
    if all(word in key for word in words):
        return 0
    meant = {key for word in words for key in KNOWN_ELSEWHERE_AS.get(word, ())}
    if setting.key in meant:
        return 1
    text = f"{key} {setting.doc} {setting.kind}".lower()
    return 2 if all(re.search(rf"\b{re.escape(word)}", text) for word in words) else _NOT_FOUND


def _is_chosen(setting: Setting, values: dict[str, Any]) -> bool:
    if ".N." in setting.key or not _has(setting.key, values):
        return False
    if not setting.only_if:
        return True
    key, _, wanted = setting.only_if.partition("=")
    return bool(_has(key, values) and _value(key, values) == wanted)


def _has(key: str, values: Any) -> bool:
    for part in key.split("."):
        if not isinstance(values, dict) or part not in values:
            return False
        values = values[part]
    return True


def _value(key: str, values: Any) -> Any:
    for part in key.split("."):
        values = values[part]
    return values


def _print(setting: Setting, values: dict[str, Any] | None) -> None:
    is_section = setting.kind.startswith("section")
    value = ""
    if values is not None:
        found = _value(setting.key, values)
        shown = (
            f"type {found['type']}"
            if isinstance(found, dict) and "type" in found
            else json.dumps(found, ensure_ascii=False)
        )
        value = "" if is_section and shown.startswith("{") else f" = {shown}"
    default = f", default {setting.default}" if setting.default not in ("", "required") else ""
    kind = setting.kind if setting.default != "required" else f"{setting.kind}, required"
    only_if = f"  (with {setting.only_if})" if setting.only_if else ""
    head = f"[bold]{escape(setting.key)}[/]{escape(value)}  [dim]{escape(kind + default + only_if)}[/]"
    if not console.is_terminal:  # one line each, for grep
        console.print(f"{head}  {escape(setting.doc)}", highlight=False, soft_wrap=True)
        return
    console.print(head, highlight=False)
    if setting.doc:
        console.print(Padding(escape(setting.doc), (0, 0, 0, 4)), highlight=False)
