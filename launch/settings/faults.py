"""What is wrong with a config: each key as a person writes it, the cause, and the most similar valid key."""

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from launch.settings.schema import (
    Model,
    docs_of,
    field_at,
    is_one_of_several,
    kind_of,
    models_in_list,
    models_of,
    models_of_type,
    settings_of,
    types_of,
)

Fault = Mapping[str, Any]
"""One of pydantic's faults: where it is, its type, the message, what was given."""

_MOST_GIVEN_LETTERS = 120
_MOST_SUGGESTIONS = 4
_MOST_LINES = 20

KNOWN_ELSEWHERE_AS = {
    "lr": ("learner.optimizer.learning_rate", "learner.sft.optimizer.learning_rate"),
    "batch_size": (
        "training.groups_per_step",
        "training.group_size",
        "learner.sft.rows_per_batch",
        "learner.deepspeed.micro_batch_rows",
    ),
    "train_batch_size": ("training.groups_per_step", "learner.sft.rows_per_batch"),
    "per_device_train_batch_size": ("learner.deepspeed.micro_batch_rows",),
    "micro_batch_size": ("learner.deepspeed.micro_batch_rows",),
    "mini_batch_size": ("learner.optimizer_steps_per_batch",),
    "ppo_epochs": ("learner.optimizer_steps_per_batch",),
    "gradient_accumulation_steps": ("learner.deepspeed.micro_batch_rows", "learner.deepspeed.micro_batch_tokens"),
    "steps": ("training.num_steps", "learner.sft.steps"),
    "max_steps": ("training.num_steps", "learner.sft.steps"),
    "epochs": ("training.num_steps", "learner.sft.steps"),
    "num_epochs": ("training.num_steps", "learner.sft.steps"),
    "save_steps": ("training.checkpoint_every", "learner.sft.checkpoint_every"),
    "eval_steps": ("training.evaluate_every",),
    "num_generations": ("training.group_size",),
    "rollout_n": ("training.group_size",),
    "beta": ("learner.kl_coefficient",),
    "kl_coef": ("learner.kl_coefficient",),
    "clip_ratio": ("learner.policy_loss.clip_low", "learner.policy_loss.clip_high"),
    "epsilon_high": ("learner.policy_loss.clip_high",),
    "max_new_tokens": ("rollout.sampling.max_response_tokens",),
    "max_tokens": ("rollout.sampling.max_response_tokens", "rollout.engine.max_model_len"),
    "max_response_length": ("rollout.sampling.max_response_tokens",),
    "max_prompt_length": ("rollout.engine.max_model_len",),
    "model_name_or_path": ("model.path",),
    "model_path": ("model.path",),
    "output_dir": ("run",),
    "out": ("run",),
    "dataset": ("data.folder",),
    "train_files": ("data.folder",),
    "reward": ("rewards.custom",),
    "reward_fn": ("rewards.custom",),
    "num_gpus": ("learner.num_ranks", "rollout.num_workers"),
    "n_gpus": ("learner.num_ranks", "rollout.num_workers"),
    "tp": ("rollout.engine.tensor_parallel_size",),
    "gradient_clipping": ("learner.optimizer.max_grad_norm",),
    "max_grad_norm": ("learner.optimizer.max_grad_norm", "learner.sft.optimizer.max_grad_norm"),
}
"""Names that other trainers use for these settings."""


def describe_faults(error: ValidationError, model: Model, where_to_search: str = "") -> str:
    """The number of faults, and a line for each.

    Args:
        where_to_search: added where no similar key is known.
    """
    faults = error.errors()
    # A list counts as too short without its bad entries; those are named already.
    inside = {fault["loc"][:depth] for fault in faults for depth in range(len(fault["loc"]))}
    named = [fault for fault in faults if fault["loc"] not in inside]
    groups = _by_value(named, model)
    lines = list(dict.fromkeys(line for group in groups for line in _describe(group, model, where_to_search)))
    num_left = len(lines) - _MOST_LINES + 1
    shown = lines if num_left <= 1 else [*lines[: _MOST_LINES - 1], f"… and {num_left} more"]
    return "\n  ".join([f"{len(lines)} fault{'s' if len(lines) > 1 else ''}", *shown])


def keys_named(words: str, model: Model) -> list[str]:
    """Keys that end with `words`, the longest match first, then those that other trainers call by this name."""
    keys = _keys(model)
    name = words.rpartition(".")[2]
    found = [
        *(key for key in keys if key.endswith(f".{words}")),
        *(key for key in keys if key.rpartition(".")[2] == name),
        *(key for key in KNOWN_ELSEWHERE_AS.get(name, ()) if key in keys),
    ]
    return list(dict.fromkeys(found))[:_MOST_SUGGESTIONS]


def keys_spelt_like(words: str, model: Model) -> list[str]:
    """Keys whose last part is similar to that of `words`."""
    keys = _keys(model)
    names = {key.rpartition(".")[2] for key in keys}
    near = difflib.get_close_matches(words.rpartition(".")[2], names, n=2, cutoff=0.75)
    return [key for name in near for key in keys if key.rpartition(".")[2] == name][:_MOST_SUGGESTIONS]


def _keys(model: Model) -> list[str]:
    """All keys that can be given on the command line."""
    return list(dict.fromkeys(setting.key for setting in settings_of(model) if ".N." not in setting.key))


def _by_value(faults: Sequence[Fault], model: Model) -> list[list[Fault]]:
    """The faults, those of one value together: where a value may be of several kinds, there is a fault for each."""
    groups = dict[tuple[str, bool], list[Fault]]()
    for fault in faults:
        path, _ = _written(fault["loc"], model)
        groups.setdefault((".".join(path), fault["loc"][-1:] == ("[key]",)), []).append(fault)
    return list(groups.values())


def _describe(group: Sequence[Fault], model: Model, where_to_search: str) -> Iterator[str]:
    fault = group[0]
    path, models = _written(fault["loc"], model)
    key = ".".join(path)
    field = field_at([model], path)
    match fault["type"]:
        case "extra_forbidden":
            for unknown, value in _leaves(path, fault["input"]):
                named, hint = _meant(unknown, value, len(path), models, model, where_to_search)
                yield f"{named}: {hint}" if "goes with" in hint else f"{named}: unknown key; {hint}"
        case "missing" if path[-1].isdigit():
            yield _value_wanted(".".join(path[:-1]), [fault], field_at([model], path[:-1]))
        case "missing":
            doc = docs_of(models[0]).get(path[-1], "") if models else ""
            yield f"{key}: missing{f' ({doc})' if doc else ''}"
        case "union_tag_not_found":
            yield f"{key}.type: missing; one of {', '.join(_types(field))}"
        case "union_tag_invalid":
            given = fault["input"].get("type") if isinstance(fault["input"], Mapping) else fault["input"]
            known = [tag.strip(" '") for tag in str(fault["ctx"]["expected_tags"]).split(",")]
            yield f"{key}.type: there is no type {given!r}; {_nearest(given, known)}"
        case "model_type" | "model_attributes_type" | "dict_type":
            yield f"{key}: {_section_wanted(key, fault['input'], field)}"
        case "tuple_type" | "list_type":
            entry = fault["input"] if isinstance(fault["input"], str | int | float) else "…"
            yield f"{key}: this takes a list, such as {key}=[{entry}] (given: {_given(fault['input'])})"
        case "string_type":
            yield f"{key}: this takes text (given: {_given(fault['input'])}); in a YAML file, put it in quotes"
        case "value_error":
            # A check that finds several faults writes a line for each.
            for line in fault["msg"].removeprefix("Value error, ").splitlines():
                yield f"{key or 'config'}: {line}"
        case _:
            yield _value_wanted(key or "config", group, field)


def _value_wanted(key: str, group: Sequence[Fault], field: FieldInfo | None) -> str:
    """What to write instead of a value of the wrong kind or size."""
    given = group[0]["input"]
    words = [word for fault in group if fault["type"] in _WORDS_WANTED for word in _words_expected(fault)]
    if words:
        words += ["true", "false"] if any(fault["type"] == "bool_type" for fault in group) else []
        return f"{key}: there is no {_given(given)} here; {_nearest(given, words)}"
    if field is None or not all(fault["type"] in _KIND_WANTED for fault in group):
        # An entry of a list, or a rule that the kind does not show.
        return f"{key}: {group[0]['msg'].replace('Input should', 'this should')} (given: {_given(given)})"
    kind = kind_of(field)
    article = "a " if kind.startswith(("number", "whole number")) else ""
    fitting = _fitting(group[0], field)
    example = "" if fitting is None else f", such as {fitting}"
    return f"{key}: this takes {article}{kind}{example} (given: {_given(given)})"


_WORDS_WANTED = ("literal_error", "enum")
_BOUNDS = {"greater_than": "gt", "greater_than_equal": "ge", "less_than": "lt", "less_than_equal": "le"}
_KIND_WANTED = (
    *("int_type", "int_from_float", "float_type", "bool_type", "missing", "too_long", "too_short"),
    *("string_too_short", "multiple_of", *_BOUNDS),
)


def _words_expected(fault: Fault) -> list[str]:
    return re.findall(r"'([^']*)'", str(fault["ctx"]["expected"]))


def _fitting(fault: Fault, field: FieldInfo) -> str | None:
    """A value to take instead: the nearest, else the default; None where neither is known."""
    given, kind = fault["input"], fault["type"]
    if kind == "bool_type":
        return None  # the kind says both
    if kind.startswith("int_") and isinstance(given, float):
        return f"{round(given)}"
    if kind == "multiple_of":
        unit = fault["ctx"]["multiple_of"]
        return f"{max(unit, round(given / unit) * unit)}"
    if kind in _BOUNDS:
        bound = fault["ctx"][_BOUNDS[kind]]
        if bound == 1 < given <= 100 and kind.startswith("less"):
            return f"{given / 100:g}"  # a percentage
        if kind.endswith("equal"):
            return f"{bound}"
        if kind == "greater_than" and -given > bound:
            return f"{-given:g}"
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    return json.dumps(to_jsonable_python(default)) if isinstance(default, str | int | float | tuple) else None


def _written(location: Sequence[Any], model: Model) -> tuple[list[str], list[Model]]:
    """A fault's place as a person writes it, without what pydantic inserts (the `type` of a section, which of several
    kinds a value was read as, a mark of keys); and the models in which its last part is looked up."""
    path: list[str] = []
    models, inside, entries = [model], [model], list[Model]()
    is_value = False
    for part in map(str, location):
        if len(inside) > 1 and (chosen := models_of_type(inside, part)):
            inside = models = chosen
            continue
        if part == "[key]" or is_value:
            continue
        models = inside
        path.append(part)
        if part.isdigit():
            inside = entries
            continue
        field = field_at(models, [part])
        is_value = field is not None and is_one_of_several(field.annotation)
        inside = [] if field is None else models_of(field.annotation)
        entries = [] if field is None else models_in_list(field.annotation)
    return path, models


def _leaves(path: list[str], value: Any) -> Iterator[tuple[str, Any]]:
    """The keys that a person wrote, of a section that does not exist."""
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _leaves([*path, str(name)], inner)
    else:
        yield ".".join(path), value


def _meant(
    unknown: str, value: Any, depth: int, models: Sequence[Model], root: Model, where_to_search: str
) -> tuple[str, str]:
    """The part of an unknown key to name, and what may be meant: a similar key beside it, or one elsewhere.

    Args:
        depth: how many parts of the key lead to the one that is unknown.
        models: what may stand there.
    """
    parts = unknown.split(".")
    if choices := [setting.only_if for setting in settings_of(root) if setting.key == unknown and setting.only_if]:
        return unknown, f"it goes with {' or '.join(choices)}, which is not selected"
    known = list(dict.fromkeys(name for model in models for name in model.model_fields))
    nearest = difflib.get_close_matches(parts[depth - 1], known, n=1)
    likeness = _likeness(parts[depth - 1], nearest)
    elsewhere = _sections_of_type(value, root) if unknown == "type" else keys_named(unknown, root)
    wanted = 0.8  # of a key beside it, where another is called just so elsewhere
    if not elsewhere:
        elsewhere = keys_spelt_like(unknown, root)
        wanted = _likeness(parts[-1], [key.rpartition(".")[2] for key in elsewhere])
    if nearest and likeness >= wanted:
        return ".".join(parts[:depth]), f"did you mean '{nearest[0]}'?"
    if not elsewhere:
        where = f"known here: {', '.join(known)}" if known else f"{'.'.join(parts[: depth - 1])} is no section"
        return unknown, f"{where}{where_to_search}"
    text = "" if isinstance(value, Mapping | list) else f"={_given(value, quoted=False)}"
    return unknown, f"did you mean {' or '.join(f'{key}{text}' for key in elsewhere)}?"


def _sections_of_type(value: Any, model: Model) -> list[str]:
    """The `type` keys that may have this value."""
    return [f"{key}.type" for key in _keys(model) if value in _types(field_at([model], key.split(".")))]


def _likeness(word: str, others: Sequence[str]) -> float:
    return max((difflib.SequenceMatcher(None, word, other).ratio() for other in others), default=0.0)


def _types(field: Any) -> list[str]:
    return [] if field is None else types_of(models_of(field.annotation))


def _nearest(given: object, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(str(given), known, n=1)
    near = near or [word for word in known if given and word.startswith(str(given))]
    return f"did you mean {' or '.join(map(repr, near))}?" if near else f"there are {', '.join(known)}"


def _section_wanted(key: str, given: Any, field: Any) -> str:
    """What to write instead of one value for a whole section."""
    models = [] if field is None else models_of(field.annotation)
    names = list(dict.fromkeys(name for model in models for name in model.model_fields if name != "type"))
    types = types_of(models)
    if isinstance(given, str) and difflib.get_close_matches(given, types, n=1):
        return f"there is no type {given!r}; {_nearest(given, types)}"
    ways = [
        *([f"{key}.type=… (one of {', '.join(types)})"] if len(types) > 1 else []),
        *([f"a key in it, such as {key}.{names[-1] if types else names[0]}=…"] if names else []),
    ]
    return f"this takes several keys with a value each (given: {_given(given)}); write " + (
        " or ".join(ways) or "them as {lor: 1, dtr: 1}"
    )


def _given(value: Any, quoted: bool = True) -> str:
    shown = repr(value) if quoted else str(value)
    return shown if len(shown) <= _MOST_GIVEN_LETTERS else f"{shown[:_MOST_GIVEN_LETTERS]}…"
