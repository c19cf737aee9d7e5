"""Settings on the command line, `key=value`, applied to what a file says. The rules, in full:

- A dotted key changes one entry: `learner.sft.blend.lor=1`. A section that is not in the file starts from its defaults.
- A whole mapping or list replaces the former one: `learner.sft.blend={lor: 1, dtr: 1}` is these two alone.
- Another `type` starts its section from that type's defaults, so that no number of the former type is misread.
  `learner.policy_loss=gspo` is short for `learner.policy_loss.type=gspo`.
- The order does not matter: a section is set before its entries. Of two values for one key, the last one counts.
- Text is taken literally, not as YAML: `telemetry.wandb=off`, `run=/tmp/a #b`, `run=2026`.
"""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

import yaml
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from launch.settings.schema import Model, allows_null, field_at, is_text, models_of, models_of_type, types_of, words_of
from launch.settings.yaml_text import read_yaml

_log = logging.getLogger(__name__)


class OverrideError(ValueError):
    """A setting on the command line cannot be read; the message names it."""


_TRUTH = {"on": True, "yes": True, "off": False, "no": False}
_OFF = (False, "false", "no")


def lay_over(content: Mapping[str, Any], overrides: Sequence[str], *models: Model) -> dict[str, Any]:
    """The content of a file with the overrides applied.

    Args:
        models: of the config as a whole; several where keys of more than one may stand at its top.

    Raises:
        OverrideError: an override is no `key=value`, or its value cannot be read.
    """
    # A copy: callers compare the former config with the new one.
    laid = {key: as_meant(value, field_at(models, [key])) for key, value in deepcopy(dict(content)).items()}
    given = [_parse(override, models) for override in overrides]
    # Stable: of two values for one key, the last one counts.
    for path, value in sorted(given, key=lambda pair: len(pair[0]) - (pair[0][-1] == "type")):
        _set(laid, path, value, models)
    return laid


def extend(base: Mapping[str, Any], content: Mapping[str, Any], *models: Model) -> dict[str, Any]:
    """A file's content laid over that of the file which it extends: entry by entry, and by the same rules.

    Args:
        models: of the config as a whole.
    """
    laid = lay_over(base, [], *models)
    given = list(_entries(content, models, []))
    for path, value in sorted(given, key=lambda pair: len(pair[0]) - (pair[0][-1] == "type")):
        _set(laid, path, value, models)
    return laid


def _entries(
    content: Mapping[str, Any], models: Sequence[Model], section: list[str]
) -> Iterator[tuple[list[str], Any]]:
    """What a file gives, by path; a mapping that is no section, such as weights by name, is one entry."""
    for key, value in content.items():
        path = [*section, key]
        field = field_at(models, path)
        if isinstance(value, Mapping) and field is not None and models_of(field.annotation):
            yield from _entries(value, models, path)
        else:
            yield path, as_meant(value, field)


def as_meant(value: Any, field: FieldInfo | None) -> Any:
    """A value from YAML as its field means it: `yes`, `no`, `on`, `off` are truth values only where one is wanted, and
    `false` is "off" where that is one of the words."""
    if field is None:
        return value
    if value in _OFF and "off" in words_of(field.annotation):
        return "off"
    if field.annotation is bool and isinstance(value, str):
        return _TRUTH.get(value.lower(), value)
    models = models_of(field.annotation)
    if models and isinstance(value, Mapping):
        chosen = models_of_type(models, value.get("type")) or models
        return {key: as_meant(entry, field_at(chosen, [key])) for key, entry in value.items()}
    return value


def _parse(override: str, models: Sequence[Model]) -> tuple[list[str], Any]:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise OverrideError(
            f"{override!r} is not a setting: write key=value, such as run=runs/mine (`sr-real config` lists all)"
        )
    path = key.split(".")
    field = field_at(models, path)
    if field is not None and is_text(field.annotation):
        return path, as_meant(_text(text, allows_null(field.annotation)), field)
    try:
        return path, as_meant(read_yaml(text), field)
    except yaml.YAMLError as error:
        what = " ".join(str(getattr(error, "problem", None) or error).split())
        raise OverrideError(
            f"{key}: the value {text!r} cannot be read as YAML ({what}); put text that contains signs such as "
            "# : { } [ ] in quotes of its own"
        ) from None


def _text(text: str, or_null: bool) -> str | None:
    if or_null and text in ("", "null", "~"):
        return None
    is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    if is_quoted:
        return text[1:-1]
    # Shells leave the home folder as it is in the middle of a word.
    return os.path.expanduser(text) if text == "~" or text.startswith("~/") else text


def _set(content: dict[str, Any], path: list[str], value: Any, models: Sequence[Model]) -> None:
    here: Any = content
    for depth, part in enumerate(path[:-1], start=1):
        if _entry(here, part) is None:
            is_chosen = path[depth:] == ["type"]
            _put(here, part, {} if is_chosen else _default(field_at(models, path[:depth])), path)
        if not isinstance(_entry(here, part), dict | list):
            raise OverrideError(f"{'.'.join(path)}: {'.'.join(path[:depth])} is not a section and has no keys")
        here = _entry(here, part)
    field = field_at(models, path)
    types = types_of(models_of(field.annotation)) if field is not None else []
    if isinstance(value, str) and value in types:
        path = [*path, "type"]
        if not isinstance(_entry(here, path[-2]), dict):
            _put(here, path[-2], {}, path)
        here = _entry(here, path[-2])
    if (
        path[-1] == "type"
        and len(path) > 1
        and isinstance(here, dict)
        and here.get("type", _default_type(path, models)) != value
    ):
        _tell_what_is_lost(".".join(path), here, value, field_at(models, path[:-1]))
        here.clear()
    _put(here, path[-1], value, path)


def _entry(section: Any, part: str) -> Any:
    if isinstance(section, dict):
        return section.get(part)
    return section[int(part)] if part.isdigit() and int(part) < len(section) else None


def _put(section: Any, part: str, value: Any, path: Sequence[str]) -> None:
    if isinstance(section, dict):
        section[part] = value
    elif part.isdigit() and int(part) < len(section):
        section[int(part)] = value
    else:
        raise OverrideError(f"{'.'.join(path)}: there is no entry {part} in a list of {len(section)}")


def _default(field: FieldInfo | None) -> dict[str, Any] | list[Any]:
    """What a section holds that nobody gave."""
    default = None if field is None or field.is_required() else field.get_default(call_default_factory=True)
    plain = to_jsonable_python(default)
    return deepcopy(plain) if isinstance(plain, dict | list) else {}


def _default_type(path: Sequence[str], models: Sequence[Model]) -> str | None:
    """The `type` of a section that is given without one: its model has only one, or a default among several."""
    field = field_at(models, path)
    return field.default if field is not None and isinstance(field.default, str) else None


def _tell_what_is_lost(key: str, before: Mapping[str, Any], value: Any, section: FieldInfo | None) -> None:
    choices = [] if section is None else models_of_type(models_of(section.annotation), value)
    lost = [name for name in before if name != "type" and any(name in model.model_fields for model in choices)]
    if lost:
        old = ", ".join(f"{name}={before[name]}" for name in lost)
        _log.warning("%s=%s: values set for another type are dropped (%s)", key, value, old)
