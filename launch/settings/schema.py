"""The keys of a config with their types, defaults and documentation, read from the models."""

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import PurePath
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

Model = type[BaseModel]


@dataclass(frozen=True)
class Setting:
    """One key of a config."""

    key: str
    """Dotted, such as "learner.optimizer.learning_rate"."""
    kind: str
    """The values it accepts, such as "number > 0"."""
    default: str
    """As JSON; "required" where there is none, "" for a section."""
    doc: str
    only_if: str = ""
    """The choice that it belongs to, such as "learner.policy_loss.type=gspo"; "" for a key that is always there."""

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rpartition(".")[2]


def settings_of(
    model: Model, prefix: str = "", only_if: str = "", defaults: BaseModel | None = None
) -> Iterator[Setting]:
    """Every key of a config; a section comes before the keys in it, and names the types that it may have.

    Args:
        defaults: the section's value if nobody sets it, where that differs from its model's defaults.
    """
    for name, field in model.model_fields.items():
        default = _default_of(field) if type(defaults) is not model else getattr(defaults, name)
        key = f"{prefix}{name}"
        if name != "type" or len(_tags(model)) > 1:  # a choice is listed with its section
            yield Setting(key, kind_of(field), _shown(default, field), docs_of(model).get(name, ""), only_if)
        models, inner = models_of(field.annotation), f"{key}."
        if not models and (models := models_in_list(field.annotation)):
            inner = f"{key}.N."
        for choice in models:
            condition = f"{inner}type={_tags(choice)[0]}" if len(models) > 1 and _tags(choice) else only_if
            yield from settings_of(choice, inner, condition, default if isinstance(default, BaseModel) else None)


def models_of(annotation: Any) -> list[Model]:
    """The models that a value may be: one for a section, several where its `type` decides, none for a plain value."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, UnionType, Annotated):
        return [model for argument in get_args(annotation) for model in models_of(argument)]
    return []


def models_in_list(annotation: Any) -> list[Model]:
    """The models that the entries of a list may be."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is tuple:
        return models_of(arguments[0])
    if origin in (Union, UnionType, Annotated):
        return [model for argument in arguments for model in models_in_list(argument)]
    return []


def types_of(models: Sequence[Model]) -> list[str]:
    """The values that `type` may take in a section."""
    return [tag for model in models for tag in _tags(model)]


def models_of_type(models: Sequence[Model], tag: object) -> list[Model]:
    """The models among them that this `type` chooses."""
    return [model for model in models if tag in _tags(model)]


def field_at(models: Sequence[Model], path: Sequence[str]) -> FieldInfo | None:
    """The field at a dotted path, for any `type` that has it; None if there is none. Numbers count in lists, and a
    mapping has a field for each of its keys."""
    found = [model.model_fields[path[0]] for model in models if path[0] in model.model_fields] if path else []
    if len(path) <= 1 or not found:
        return found[0] if found else None
    if len(path) == 2 and get_origin(found[0].annotation) is dict:
        return FieldInfo.from_annotation(get_args(found[0].annotation)[1])
    inside = [model for field in found for model in models_of(field.annotation)]
    if path[1].isdigit():
        inside, path = [model for field in found for model in models_in_list(field.annotation)], path[1:]
    return field_at(inside, path[1:])


def is_text(annotation: Any) -> bool:
    """Whether all of its values are text as it stands (a path, a name, one of several words), null apart."""
    if isinstance(annotation, type):
        return issubclass(annotation, str | PurePath)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return is_text(arguments[0])
    if origin is Literal:
        return all(isinstance(argument, str) for argument in arguments)
    if origin in (Union, UnionType):
        return all(is_text(argument) for argument in arguments if argument is not NoneType)
    return False


def words_of(annotation: Any) -> tuple[str, ...]:
    """The words that it may be, where it is one of several."""
    return tuple(map(str, get_args(annotation))) if get_origin(annotation) is Literal else ()


def is_one_of_several(annotation: Any) -> bool:
    """Whether it is one plain value of several kinds, such as a word or a truth value; null apart."""
    arguments = [argument for argument in get_args(annotation) if argument is not NoneType]
    kinds = [get_args(kind)[0] if get_origin(kind) is Annotated else kind for kind in arguments]
    is_plain = all(
        get_origin(kind) is Literal or (isinstance(kind, type) and not issubclass(kind, BaseModel)) for kind in kinds
    )
    return get_origin(annotation) in (Union, UnionType) and len(kinds) > 1 and is_plain


def allows_null(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, UnionType) and NoneType in get_args(annotation)


def kind_of(field: FieldInfo) -> str:
    """The values that a field accepts, such as "number > 0"."""
    return _with_bounds(_kind(field.annotation), field.metadata)


@cache
def docs_of(model: Model) -> dict[str, str]:
    """The documentation of each field: the text under it in the source, or the class's own for a section or a type."""
    docs: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if issubclass(base, BaseModel) and base is not BaseModel:
            docs |= _texts_under_fields(base)
    return docs


def _texts_under_fields(model: Model) -> dict[str, str]:
    body = ast.parse(textwrap.dedent(inspect.getsource(model))).body[0]
    assert isinstance(body, ast.ClassDef)
    docs: dict[str, str] = {}
    for field, text in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
            and isinstance(text.value.value, str)
        ):
            docs[field.target.id] = " ".join(text.value.value.split())
    return docs


def _tags(model: Model) -> list[str]:
    field = model.model_fields.get("type")
    return [] if field is None else [str(tag) for tag in get_args(field.annotation)]


_REQUIRED = object()


def _default_of(field: FieldInfo) -> Any:
    return _REQUIRED if field.is_required() else field.get_default(call_default_factory=True)


def _shown(default: Any, field: FieldInfo) -> str:
    if default is _REQUIRED:
        return "required"
    if isinstance(default, BaseModel):
        return f"type {getattr(default, 'type', '')}" if len(models_of(field.annotation)) > 1 else ""
    return json.dumps(to_jsonable_python(default), ensure_ascii=False)


_WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false", NoneType: "null"}


def _kind(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if models := models_of(annotation):
        types = types_of(models)
        kind = f"section, type {' | '.join(types)}" if len(models) > 1 else "section"
        return f"{kind}, or null" if allows_null(annotation) else kind
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return " | ".join(str(member.value) for member in annotation)
    if isinstance(annotation, type) and issubclass(annotation, PurePath):
        return "path"
    if origin is Annotated:
        return _with_bounds(_kind(arguments[0]), arguments[1:])
    if origin is Literal:
        return " | ".join(str(argument) for argument in arguments)
    if origin in (Union, UnionType):
        return ", or ".join(_kind(argument) for argument in arguments)
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return f"list of {_kind(arguments[0])}"
        return f"[{', '.join(_kind(argument) for argument in arguments)}]"
    if origin is dict:
        return f"mapping of {_kind(arguments[0])} to {_kind(arguments[1])}"
    return _WORDS.get(annotation, str(annotation))


def _with_bounds(kind: str, metadata: Sequence[Any]) -> str:
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤", "multiple_of": "multiple of"}
    bounds = [
        f"{sign} {value:g}"
        for entry in metadata
        for part in (getattr(entry, "metadata", None) or [entry])
        for name, sign in signs.items()
        if isinstance(value := getattr(part, name, None), int | float)
    ]
    return " ".join([kind, " and ".join(bounds)]).strip()
