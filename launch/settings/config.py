"""A run's whole configuration: composed of the parts' own sections, read from YAML, checked before anything starts.

Importing this needs neither torch nor Ray.
"""

import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from actors.config import SessionConfig
from dashboard.config import DashboardConfig
from launch.settings.faults import describe_faults
from launch.settings.overrides import extend, lay_over
from launch.settings.yaml_text import read_yaml
from rollout.config import SamplingConfig
from spatial.scenes.config import Family, SceneConfig
from spatial.strict import StrictModel
from vlm.config import ModelConfig, TinyModelConfig
from vlm.pixel_limits import PixelLimits

PRESETS = Path(__file__).parents[1] / "presets"


class ConfigError(ValueError):
    """A config cannot be used. The message names each wrong key, the fault, and the most similar valid key."""


class SceneDataConfig(StrictModel):
    """Questions about the project's own procedural scenes, made when the run starts."""

    type: Literal["scenes"] = "scenes"
    scenes: SceneConfig = SceneConfig()
    """Size, content and questions of the scenes."""
    num_train_scenes: Annotated[int, Field(ge=1)] = 4000
    """Scenes of the training split."""
    num_validation_scenes: Annotated[int, Field(ge=1)] = 50
    """Scenes of the validation split, used by `training.evaluate_every`."""
    num_test_scenes: Annotated[int, Field(ge=1)] = 400
    """Scenes of the test split, from which the figures before and after training come."""
    test_families: Annotated[tuple[Family, ...], Field(min_length=1)] | None = None
    """Families of the test scenes, if they differ from those of the training scenes; null: the same."""


class FileDataConfig(StrictModel):
    """Samples in the project's own JSONL, images in an image store."""

    type: Literal["files"] = "files"
    folder: str
    """Folder with train.jsonl, validation.jsonl, test.jsonl and images/ (docs/data.md)."""
    check_images: Literal["some", "all"] = "some"
    """Images to decode before the run starts, to check that each is whole and has the size that its sample states:
    "some" takes those of 100 samples per file. Samples with a faulty image are left out."""
    too_long: Literal["bad", "leave_out"] = "bad"
    """What happens to samples whose prompts leave no room for a whole response in the engines, or have too many images.
    "bad": they count as bad, so that more than `max_bad_share` of them stop the run. "leave_out": they are left out,
    however many they are. Either way they are counted by reason before the run starts (`sr-real data check --config`
    counts them too)."""


DataConfig = Annotated[SceneDataConfig | FileDataConfig, Field(discriminator="type")]


class RunConfig(SessionConfig):
    """A run: its folder, its model, its data, and what is done with them."""

    run: Annotated[str, Field(min_length=1)] = "runs/run"
    """The run's folder. Everything it writes goes there."""
    model: ModelConfig
    """The base model: a model folder, or a tiny one that is built when the run starts."""
    data: DataConfig
    """Where samples come from: generated scenes, or files."""
    dashboard: DashboardConfig = DashboardConfig()
    """The page on which to watch and control the run."""

    @model_validator(mode="after")
    def _a_tiny_model_can_see_the_images(self) -> Self:
        if isinstance(self.model, TinyModelConfig):
            PixelLimits.of_tiny(self.model).within(self.prompt)
        return self


def find_config(file: Path | str, beside: Path | None = None) -> Path:
    """The file that is named: a path, or the name of a preset.

    Args:
        beside: the folder in which a relative path begins; None: the working directory.

    Raises:
        ConfigError: neither exists.
    """
    for path in ((beside or Path()) / file, PRESETS / f"{file}.yaml"):
        if path.is_file():
            return path
    known = sorted(preset.stem for preset in PRESETS.glob("*.yaml"))
    near = difflib.get_close_matches(str(file), known, n=1)
    meant = f"did you mean the preset {near[0]}? Or " if near else ""
    where = f" in {beside}" if beside is not None else ""
    raise ConfigError(
        f"config {file} does not exist{where}; {meant}give a YAML file, or one of the presets: {', '.join(known)}"
    )


def load_config(file: Path | str, overrides: list[str] | None = None) -> RunConfig:
    """A run's configuration from a YAML file, or the name of a preset, and dotted overrides
    (`launch/settings/overrides.py`).

    Args:
        overrides: such as `learner.optimizer.learning_rate=1e-5`.

    Raises:
        ConfigError: the file is missing or is not YAML, or a key is unknown, missing, of a wrong type, or contradicts
            another.
    """
    path = find_config(file)
    content = read_settings(path, overrides or [], RunConfig, source=f"config {path}")
    source = f"{path}{_whose_faults_too(path)}"
    return parse_config(content, source=f"{source} with the settings given" if overrides else source)


def _whose_faults_too(file: Path) -> str:
    """What a config extends, for messages: what is wrong may stand there."""
    content = read_yaml(file.read_text()) or {}
    return f" (extends {content['extends']})" if "extends" in content else ""


def read_settings(file: Path | None, overrides: Sequence[str], *models: type[BaseModel], source: str) -> dict[str, Any]:
    """Plain data from a YAML file, if there is one, and dotted overrides; not yet checked.

    Args:
        models: of the settings; several where keys of more than one may stand at the top.

    Raises:
        ConfigError: the file or an override cannot be read.
    """
    try:
        content = {} if file is None else _read_file(file, models, source)
        return lay_over(content, overrides, *models)
    except (yaml.YAMLError, ValueError, OSError) as error:
        raise error if isinstance(error, ConfigError) else ConfigError(f"{source}: {error}") from error


def _read_file(file: Path, models: Sequence[type[BaseModel]], source: str) -> dict[str, Any]:
    """The content of a file, laid over that of the one which it `extends`.

    Raises:
        ConfigError: it has no keys, or cannot extend what it names.
    """
    content = _read_keys(file, source)
    if (misspelt := _misspelt_extends(content, models)) is not None:
        raise ConfigError(f"{source}: {misspelt}: unknown key; did you mean 'extends'?")
    if "extends" not in content:
        return content
    base = _read_extended(content.pop("extends"), file, source)
    return extend(base, content, *models)


def _read_keys(file: Path, source: str) -> dict[str, Any]:
    content = read_yaml(file.read_text()) or {}
    if not isinstance(content, dict):
        raise ConfigError(f"{source}: it holds a {type(content).__name__}, not keys with values")
    return content


def _misspelt_extends(content: Mapping[str, Any], models: Sequence[type[BaseModel]]) -> str | None:
    """A key of no setting that is nearly `extends`."""
    unknown = [str(key) for key in content if not any(key in model.model_fields for model in models)]
    near = difflib.get_close_matches("extends", unknown, n=1, cutoff=0.8)
    return near[0] if near and "extends" not in content else None


def _read_extended(name: Any, file: Path, source: str) -> dict[str, Any]:
    """The content of the file that another extends.

    Args:
        name: what that other gives: a path from its own folder on, or the name of a preset.

    Raises:
        ConfigError: it is not there, cannot be read, or extends another itself.
    """
    if not isinstance(name, str) or not name:
        raise ConfigError(
            f"{source}: extends: this takes the name of a preset or a file, such as extends: demo (given: {name!r})"
        )
    try:
        extended = find_config(Path(name).expanduser(), beside=file.parent)
        if extended.resolve() == file.resolve():
            raise ConfigError("that is this file itself; name another, or remove extends")
        base = _read_keys(extended, source=str(extended))
        if "extends" in base:
            raise ConfigError(_no_chain(base["extends"], extended, file))
    except (yaml.YAMLError, ValueError, OSError) as error:
        raise ConfigError(f"{source}: it extends {name}: {error}") from error
    if not base:
        raise ConfigError(f"{source}: it extends {name}: {extended} has no keys, so that there is nothing to extend")
    return base


def _no_chain(name: Any, extended: Path, file: Path) -> str:
    """Why a file that extends another itself cannot be extended, and what to do."""
    # Where the other names a preset, no such file lies beside it.
    further = extended.parent / str(name)
    if further.is_file() and further.resolve() == file.resolve():
        return f"{extended} extends this file in turn; remove one of the two"
    return f"{extended} extends another ({name}); only one can be extended: extend {name}, or copy what you need"


def parse_config(content: Mapping[str, Any], source: str) -> RunConfig:
    """Validate plain data.

    Raises:
        ConfigError: as `load_config`.
    """
    return parse_settings(
        without_former_keys(content, source),
        RunConfig,
        source=f"config {source}",
        where_to_search=" (`sr-real config WORD` searches all)",
    )


def without_former_keys(content: Mapping[str, Any], source: str) -> dict[str, Any]:
    """A config without keys that only earlier versions had, so that their runs can still be resumed.

    Raises:
        ConfigError: such a key contradicts the one that replaced it.
    """
    learner = content.get("learner")
    if not isinstance(learner, Mapping) or "temperature" not in learner:
        return dict(content)
    sampling = (content.get("rollout") or {}).get("sampling") or {}
    sampled_at = sampling.get("temperature", SamplingConfig().temperature)
    if learner["temperature"] != sampled_at:
        raise ConfigError(
            f"config {source}: learner.temperature={learner['temperature']} is a former key and differs from "
            f"rollout.sampling.temperature={sampled_at}, which now counts for the engines and the learner alike: "
            "remove learner.temperature, and set rollout.sampling.temperature to the value you want"
        )
    return {**content, "learner": {key: value for key, value in learner.items() if key != "temperature"}}


_Settings = TypeVar("_Settings", bound=BaseModel)


def parse_settings(content: Any, model: type[_Settings], source: str, where_to_search: str = "") -> _Settings:
    """Validate plain data.

    Raises:
        ConfigError: a key is unknown, missing, of a wrong type, or contradicts another; the message lists all faults.
    """
    try:
        # Through JSON: strict types, but lists for tuples and strings for enumerations, as files have them.
        return model.model_validate_json(json.dumps(content))
    except ValidationError as error:
        raise ConfigError(f"{source}: {describe_faults(error, model, where_to_search)}") from None
