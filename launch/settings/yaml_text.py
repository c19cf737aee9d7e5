"""YAML as people write it: only `true` and `false` are truth values, `1e-5` is a number, and no key stands twice.

YAML 1.1 reads `off`, `no`, `on` and `yes` as truth values, so that a setting that is called "off" cannot be named.
"""

import re
from typing import Any, ClassVar

import yaml


class _Loader(yaml.SafeLoader):
    """A loader with resolvers of its own, so that those of `yaml.SafeLoader` stay as they are."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        doubled = next((key for number, key in enumerate(keys) if key in keys[:number]), None)
        if doubled is not None:
            raise yaml.constructor.ConstructorError(None, None, f"the key '{doubled}' stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


# Without this, PyYAML reads 010 as eight, and 09 not at all.
_Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(loader.construct_scalar(node)))
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+0123456789.",
    ),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))


def read_yaml(text: str) -> Any:
    """
    Raises:
        yaml.YAMLError: it is no YAML; the message has the line.
    """
    return yaml.load(text, Loader=_Loader)
