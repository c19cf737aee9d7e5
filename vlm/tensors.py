"""Data carriers made of tensors, moved as wholes."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

Carrier = TypeVar("Carrier")


def each_tensor(carrier: Carrier, do: Callable[[Tensor], Tensor]) -> Carrier:
    """A copy of a dataclass with `do` applied to each of its tensors, and to those of dataclasses in it."""
    changed: dict[str, Any] = {}
    for field in fields(carrier):  # type: ignore[arg-type]
        value = getattr(carrier, field.name)
        if isinstance(value, Tensor):
            changed[field.name] = do(value)
        elif is_dataclass(value):
            changed[field.name] = each_tensor(value, do)
    return replace(carrier, **changed)  # type: ignore[type-var]


def moved(carrier: Carrier, device: torch.device | str) -> Carrier:
    """A copy on a device. From pinned memory to a GPU it is only begun; what the GPU is asked next waits for it."""
    is_down = torch.device(device).type == "cpu"
    return each_tensor(carrier, lambda tensor: tensor.to(device, non_blocking=not is_down))


def pinned(carrier: Carrier) -> Carrier:
    """A copy in memory that a GPU can read by itself."""
    return each_tensor(carrier, lambda tensor: tensor.pin_memory() if tensor.numel() else tensor)
