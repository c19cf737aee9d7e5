"""What of a learner goes to disk: its own state, to continue from, and a plain model, for others to load."""

import json
from pathlib import Path as FilePath
from typing import Any

from torch import nn

from learner.partitioned import full_shape, named_weights, whole_weights
from vlm.errors import CheckpointError
from vlm.region_models import load_processor

_TAG = "deepspeed"
_LAYOUT = "layout.json"
_GATHER_BYTES = 256 * 2**20


def _layout(engine: Any, vlm: nn.Module) -> dict[str, Any]:
    return {
        "num_ranks": engine.dp_world_size,
        "zero_stage": int(engine.zero_optimization_stage()),
        "weights": {name: list(full_shape(parameter)) for name, parameter in named_weights(vlm)},
    }


def save_state(engine: Any, vlm: nn.Module, folder: FilePath, counters: dict[str, int]) -> None:
    """Write weights, optimiser, schedule and counters; a collective, in which each rank writes its own files.

    Args:
        engine: the DeepSpeed engine.
        vlm: the model in it.
        folder: exists, and is the same for all ranks.
        counters: to get back from `load_state`.
    """
    engine.save_checkpoint(str(folder), tag=_TAG, client_state={"counters": counters}, save_latest=False)
    if engine.global_rank == 0:
        (folder / _LAYOUT).write_text(json.dumps(_layout(engine, vlm), indent=1))


def load_state(engine: Any, vlm: nn.Module, folder: FilePath) -> dict[str, int]:
    """Read what `save_state` wrote, and return the counters; a collective.

    Raises:
        CheckpointError: a weight is missing, unknown or has another shape, or ranks or ZeRO stage differ.
    """
    file = folder / _LAYOUT
    if not file.is_file():
        raise CheckpointError(f"checkpoint {folder}: the file {_LAYOUT} is missing")
    saved, wanted = json.loads(file.read_text()), _layout(engine, vlm)
    for key, setting in (("num_ranks", "learner.num_ranks"), ("zero_stage", "learner.deepspeed.zero_stage")):
        if saved[key] != wanted[key]:
            raise CheckpointError(
                f"checkpoint {file}: {key} is {saved[key]}, but {setting} is {wanted[key]}; continue with "
                f"{setting}={saved[key]}, or start from an exported model"
            )
    for name in sorted(saved["weights"].keys() | wanted["weights"].keys()):
        have, want = saved["weights"].get(name), wanted["weights"].get(name)
        if have is None:
            raise CheckpointError(f"checkpoint {file}: the key {name} is missing")
        if want is None:
            raise CheckpointError(f"checkpoint {file}: the model has no key {name}")
        if have != want:
            raise CheckpointError(f"checkpoint {file}: the key {name} has shape {have}, the model's is {want}")
    try:
        _, client_state = engine.load_checkpoint(str(folder), tag=_TAG)
    except (KeyError, RuntimeError) as error:
        # What torch says when a key of a state dict is missing or misshapen names the key.
        raise CheckpointError(f"checkpoint {folder / _TAG} cannot be read: {error}") from error
    return client_state["counters"]


def export_model(vlm: Any, source: FilePath, folder: FilePath, is_writer: bool) -> None:
    """Write model, tokenizer and processor as a Hugging Face folder; a collective under ZeRO-3.

    Args:
        vlm: the model in training.
        source: the checkpoint that training started from; its tokenizer and processor are written again.
        folder: made if missing.
        is_writer: true on exactly one rank.
    """
    # Without tied duplicates: save_pretrained ties by name, and a second copy would be a second weight.
    weights = whole_weights(list(vlm.named_parameters()), None, _GATHER_BYTES)
    state = {name: tensor.cpu() for name, tensor in weights if is_writer}
    if is_writer:
        vlm.save_pretrained(folder, state_dict=state)
        load_processor(source).save_pretrained(folder)
