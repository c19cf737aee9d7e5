"""Paths on the command line that must be a model, a training checkpoint, or recorded trajectories.

Checked before anything is prepared; a path of the wrong kind is refused with the command that would work.
"""

import shlex
from pathlib import Path

from launch.settings.config import ConfigError

_PROGRAM = Path(__file__).parents[2]
_SHAPES = Path(__file__).parents[1] / "shapes"
_SHAPES_FROM = "Qwen"
"""Whose models the presets name: that part of a hub's name which the folders of `_SHAPES` leave out."""


def model_folder(path: Path, flag: str) -> Path:
    """A Hugging Face folder.

    Raises:
        ConfigError: it is not one.
    """
    if (path / "config.json").is_file() and not _is_run(path):
        return path.resolve()
    if not path.exists():
        raise ConfigError(f"{flag} {path}: there is no such folder")
    if _is_checkpoint(path):
        target = path.resolve().parent.parent / "exported" / path.resolve().name
        command = shlex.join(["sr-real", "export", str(target), "--checkpoint", str(path)])
        raise ConfigError(
            f"{flag} {path} is a training checkpoint, but a model is needed here: export it with\n  {command}\n"
            f"then give {flag} {target}"
        )
    if _is_run(path):
        models = [name for name in ("final_model", "cold_start_model") if (path / name / "config.json").is_file()]
        there = f"; it contains {', '.join(str(path / name) for name in models)}" if models else ""
        raise ConfigError(f"{flag} {path} is a run's folder, but a model is needed here{there}")
    raise ConfigError(f"{flag} {path} is not a model folder: it has no config.json")


def find_model(path: str) -> str:
    """What `model.path` means: a folder here, one that comes with this program (`assets/…`), or a name in the hub's
    cache.

    Raises:
        ConfigError: it is none of these.
    """
    for folder in (Path(path), _PROGRAM / path):
        if (folder / "config.json").is_file():
            return str(folder.resolve())
    if path.startswith((".", "/", "assets/")) or path.count("/") != 1:
        raise ConfigError(f"model.path={path}: there is no model folder (one with config.json)")
    return str(cached_model(path))


def find_shape(path: str) -> Path:
    """A folder that describes the model of `model.path`, for arithmetic about it: with or without its weights. Of the
    models that the presets name, a config.json comes with this program.

    Raises:
        ConfigError: there is none.
    """
    try:
        return Path(find_model(path))
    except ConfigError as error:
        if path.count("/") != 1:
            raise
        found = _cached_description(path) or _SHAPES / path.removeprefix(f"{_SHAPES_FROM}/")
        if (found / "config.json").is_file():
            return found
        advice = f"its description alone is enough here: `hf download {path} config.json preprocessor_config.json`"
        raise ConfigError(f"{error}; {advice}") from None


def has_weights(path: str) -> bool:
    """Whether what `find_shape` found is a model that a run can start from."""
    try:
        find_model(path)
    except ConfigError:
        return False
    return True


def _cached_description(name: str) -> Path | None:
    """Where the hub's cache has a model's config.json, whatever else it lacks."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        return None
    return Path(found).parent if isinstance(found, str) else None


def cached_model(name: str) -> Path:
    """Where the hub's cache on this machine has a model.

    The network is never asked: without one, every process would wait a minute before using the cache.

    Raises:
        ConfigError: it is not there, or not whole.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    fetch = f"fetch it with `hf download {name}`, or give the folder of a model"
    try:
        found = Path(snapshot_download(name, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        raise ConfigError(
            f"model.path={name}: no folder with a config.json, and the hub's cache ({HF_HUB_CACHE}) does not have "
            f"it; {fetch}"
        ) from None
    if not (found / "config.json").is_file() or not any(found.glob("*.safetensors")):
        raise ConfigError(f"model.path={name}: the hub's cache has only a part of it ({found}); {fetch}")
    return found


def training_checkpoint(path: Path, flag: str) -> Path:
    """A checkpoint that training wrote, every file of it checked.

    Raises:
        ConfigError: it is not one.
        CheckpointError: it is damaged.
    """
    from learner.checkpoint_store import list_checkpoints, verify

    if not path.exists():
        raise ConfigError(f"{flag} {path}: there is no such folder")
    if not _is_checkpoint(path):
        if (path / "config.json").is_file() and not _is_run(path):
            raise ConfigError(
                f"{flag} {path} is a model already (a Hugging Face folder); a training checkpoint is needed here, such "
                "as RUN/checkpoints/step-000050"
            )
        for folder in (path, path / "checkpoints"):
            if found := list_checkpoints(folder):
                raise ConfigError(f"{flag} {path} holds checkpoints; name one, such as {flag} {found[-1]}")
        raise ConfigError(f"{flag} {path} is not a training checkpoint: it has no manifest.json")
    verify(path)
    return path.resolve()


def trajectories_folder(path: Path, flag: str) -> Path:
    """A folder of recorded steps.

    Raises:
        ConfigError: it holds none.
    """
    if not path.exists():
        raise ConfigError(f"{flag} {path}: there is no such folder")
    if not any(path.glob("step-*.jsonl")):
        within = path / "trajectories"
        hint = f"; did you mean {within}?" if any(within.glob("step-*.jsonl")) else ""
        raise ConfigError(f"{flag} {path}: no step is recorded in it (step-000001.jsonl){hint}")
    return path.resolve()


def _is_checkpoint(path: Path) -> bool:
    return (path / "manifest.json").is_file() or (path / "trainer_state.json").is_file()


def _is_run(path: Path) -> bool:
    """A run's folder has a config.json too, but not of a model."""
    return (path / "checkpoints").is_dir() or (path / "metrics.jsonl").is_file()
