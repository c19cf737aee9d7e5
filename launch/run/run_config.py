"""The config of a command: a new run takes it from a file or preset, an existing run keeps its own, with changes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from actors.run.run_folder import RunFolder
from launch.run.record import MADE, Difference, differences, own_config, recorded_from
from launch.run.resume import run_override
from launch.settings.config import ConfigError, RunConfig, find_config, load_config, parse_config, read_settings
from launch.settings.model_paths import model_folder
from launch.settings.overrides import lay_over

_ACCEPT = "--accept-changes"
_ORDER_OF_COLD_START = (
    "learner.seed",
    "learner.sft.blend",
    "learner.sft.rows_per_batch",
    "learner.sft.sort_window_batches",
)
# A checkpoint is laid out by these: no other learner can read it.
_LAYOUT = ("model", "learner.num_ranks", "learner.deepspeed.zero_stage", "learner.deepspeed.dtype", "learner.lora")
_LAYOUT_OF_COLD_START = (*_LAYOUT, "learner.sft.optimizer.type", "learner.sft.freeze")
_LAYOUT_OF_TRAINING = (
    *_LAYOUT,
    "learner.optimizer.type",
    "learner.freeze",
    "learner.last_language_layers",
)
_PATHS = "training.groups_per_step"


@dataclass(frozen=True)
class Rule:
    """Which fields must still be as the run was trained."""

    accepted: tuple[str, ...]
    """Fields that may differ if a person accepts it."""
    fixed: tuple[str, ...] = ()
    """Fields that may not differ, because the run's files could not be used otherwise."""
    keeps_paths: bool = False
    """Whether the set of trained paths is fixed too."""
    can_accept: bool = True


COLD_START = Rule((*MADE, "prompt"))
COLD_START_RESUMED = Rule((*MADE, "prompt", *_ORDER_OF_COLD_START), _LAYOUT_OF_COLD_START)
TRAIN = Rule((*MADE, "prompt"))
TRAIN_RESUMED = Rule((*MADE, "prompt", "learner.seed", "training.kinds"), _LAYOUT_OF_TRAINING, keeps_paths=True)
EXPORT = Rule(MADE, _LAYOUT_OF_TRAINING, can_accept=False)
USE = Rule(MADE, can_accept=False)
"""For commands that train nothing."""


def config_for(
    rule: Rule,
    file: str | None,
    overrides: Sequence[str] | None,
    console: Console,
    accept: bool = False,
    preset: str = "demo",
) -> RunConfig:
    """The config that a command works with.

    For a new folder: `file` with `overrides` applied. For a trained run: its own config (RUN/config.json and what later
    starts changed) with `overrides`; if `file` is named too, it is compared with that. Prints which config is used, and
    each field that differs.

    Args:
        file: a YAML file or a preset's name, if a person named one; else `preset`.
        accept: whether a person accepts that fields of `rule.accepted` differ.

    Raises:
        ConfigError: as `load_config`; or a field contradicts what the run was trained with.
    """
    overrides = list(overrides or [])
    folder = folder_of(file, overrides, preset)
    own = own_config(folder)
    if own is None:
        if folder.is_trained and file is None:
            missing = f"{folder.root} holds a trained run, but not its config.json"
            if rule.can_accept:
                raise ConfigError(f"{missing}: name its config with --config")
            console.print(f"[yellow]{missing}[/]: using the preset {preset}; name another with --config")
        return load_config(file or preset, overrides)
    own["run"] = _run_of(file or preset, overrides)
    if file is not None:
        config = load_config(file, overrides)
    else:
        config = parse_config(_laid_over(own, overrides, folder), source=str(folder.config))
    # Read as a config too, so that a field which the program did not have then is no difference.
    was = parse_config(own, source=str(folder.config)).model_dump(mode="json")
    changes = list(differences(was, config.model_dump(mode="json")))
    if folder.is_trained:
        _refuse(folder, rule, changes, accept)
    if file is None or changes:
        _say(folder, changes, console)
    return config


def folder_of(file: str | None, overrides: Sequence[str] | None, preset: str = "demo") -> RunFolder:
    """The folder that a command works in: as the overrides say, else as the config does.

    Raises:
        ConfigError: the config is missing or is no YAML.
    """
    return RunFolder(Path(_run_of(file or preset, overrides or ())).resolve())


def _run_of(file: str, overrides: Sequence[str]) -> str:
    given = [override for override in overrides if override.startswith("run=")]
    path = find_config(file)
    content = read_settings(None if given else path, given, RunConfig, source=f"config {path}")
    return str(content.get("run") or RunConfig.model_fields["run"].default)


def with_run_of(checkpoints: Sequence[Path], file: str | None, overrides: Sequence[str] | None) -> list[str]:
    """The overrides; and the run that the checkpoints lie in, where neither a run nor a config is named.

    Raises:
        ConfigError: they lie in several.
    """
    given = list(overrides or ())
    if file is not None or any(override.startswith("run=") for override in given):
        return given
    runs = {_run_around(checkpoint.resolve()) for checkpoint in checkpoints}
    if runs <= {None}:
        return given
    if len(runs) > 1:
        raise ConfigError(
            "the models belong to several runs: choose the one whose config and held-out questions are used, with run=…"
        )
    return [*given, run_override(str(runs.pop()))]


def _run_around(checkpoint: Path) -> Path | None:
    """The run's folder that a checkpoint or a model lies in: RUN/checkpoints/step-… or RUN/final_model."""
    runs = (RunFolder(parent) for parent in list(checkpoint.parents)[:2])
    return next((run.root for run in runs if run.config.is_file() and run.is_trained), None)


def start_of_training(folder: RunFolder, given: Path | None, is_resumed: bool, accept: bool) -> Path:
    """The model that training starts from, or started from.

    Raises:
        ConfigError: it is not a model folder, or not the one from which the resumed run started.
    """
    recorded = recorded_from(folder) if is_resumed else None
    start = (given or recorded or folder.cold_start_model).resolve()
    if recorded is not None and recorded.resolve() != start and not accept:
        raise ConfigError(
            f"{folder.root} was trained with other settings ({folder.starts}):\n  --from: {recorded} → {start}\n"
            f"Leave --from out, or accept it with {_ACCEPT}"
        )
    if given is None and not start.exists():
        raise ConfigError(f"{start} does not exist: run `sr-real cold-start` first, or give a model with --from")
    return model_folder(start, "--from")


def _laid_over(own: dict[str, Any], overrides: list[str], folder: RunFolder) -> dict[str, Any]:
    try:
        return lay_over(own, overrides, RunConfig)
    except ValueError as error:
        raise ConfigError(f"config {folder.config}: {error}") from error


def _refuse(folder: RunFolder, rule: Rule, changes: Sequence[Difference], accept: bool) -> None:
    fixed = [change for change in changes if change.concerns(rule.fixed) or (rule.keeps_paths and _is_path(change))]
    if fixed:
        raise ConfigError(
            f"{folder.root} was trained with other settings, and no other learner can read its checkpoints "
            f"({folder.config}):\n{_listed(fixed)}\nRestore these values; or start from an exported model, in another "
            "folder (`sr-real export`, then `sr-real train --from … run=…`)"
        )
    contradicting = [change for change in changes if change.concerns(rule.accepted)]
    if not contradicting or (accept and rule.can_accept):
        return
    remedy = (
        f"Restore these values, give another folder (run=…), or accept the changes with {_ACCEPT}"
        if rule.can_accept
        else f"Restore these values, or give another folder, with this run's config: --config {folder.config} run=…"
    )
    raise ConfigError(
        f"{folder.root} was trained with other settings ({folder.config}):\n{_listed(contradicting)}\n{remedy}"
    )


def _is_path(change: Difference) -> bool:
    """Whether a path was added to training or removed from it."""
    if not change.concerns((_PATHS,)):
        return False
    return not (isinstance(change.was, int) and isinstance(change.now, int) and change.was and change.now)


def _listed(changes: Sequence[Difference]) -> str:
    return "\n".join(f"  {line}" for change in changes for line in str(change).splitlines())


def _say(folder: RunFolder, changes: Sequence[Difference], console: Console) -> None:
    console.print(f"config: the run's own, {folder.config}" + (", with changes:" if changes else ""), highlight=False)
    if changes:
        console.print(_listed(changes), highlight=False, markup=False)
