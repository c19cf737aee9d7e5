"""The state that training continues from: weights, optimiser, schedule and counters, as DeepSpeed writes them.

layout.json   what the state is laid out by (`layout_settings`), and the shapes of the weights
deepspeed/    one file for each rank, or more
"""

import json
from pathlib import Path
from typing import Any

from torch import nn

from learner.config import LearnerConfig
from learner.optimizers.config import OptimizerConfig
from learner.whole_weights import full_shape, named_weights
from vlm.errors import CheckpointError

_TAG = "deepspeed"
_LAYOUT = "layout.json"


def layout_settings(config: LearnerConfig) -> dict[str, Any]:
    """The settings that a state is laid out by, and that must be the same when it is loaded."""
    return {
        "num_ranks": config.num_ranks,
        "zero_stage": config.deepspeed.zero_stage,
        "optimizer_offload": config.deepspeed.optimizer_offload,
        "optimizer": config.optimizer.type,
        "freeze": sorted(config.freeze),
        "last_language_layers": config.last_language_layers,
    }


# How they are called in the config, where the name differs.
_KEYS = {
    "zero_stage": "deepspeed.zero_stage",
    "optimizer_offload": "deepspeed.optimizer_offload",
    "optimizer": "optimizer.type",
}


def _layout(vlm: nn.Module, config: LearnerConfig) -> dict[str, Any]:
    shapes = {name: list(full_shape(parameter)) for name, parameter in named_weights(vlm)}
    return {**layout_settings(config), "weights": shapes}


def save_state(engine: Any, vlm: nn.Module, folder: Path, counters: dict[str, int], config: LearnerConfig) -> None:
    """Write weights, optimiser, schedule and counters; a collective, in which each rank writes its own files.

    Args:
        engine: the DeepSpeed engine.
        vlm: the model in it.
        folder: exists, and is the same for all ranks.
        counters: returned by `load_state`.
        config: that the engine was made with.
    """
    engine.save_checkpoint(str(folder), tag=_TAG, client_state={"counters": counters}, save_latest=False)
    if engine.global_rank == 0:
        (folder / _LAYOUT).write_text(json.dumps(_layout(vlm, config), indent=1))


def read_layout(folder: Path) -> dict[str, Any]:
    """The layout of a checkpoint: its settings, and the shapes of its weights.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    file = folder / _LAYOUT
    if not file.is_file():
        raise CheckpointError(f"checkpoint {folder}: the file {_LAYOUT} is missing")
    try:
        return dict(json.loads(file.read_text()))
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"checkpoint {folder}: the file {_LAYOUT} cannot be read ({error})") from None


def check_layout(folder: Path, config: LearnerConfig) -> dict[str, Any]:
    """Check a checkpoint's layout, and return it. Reads one small file, so it can run before anything is loaded.

    Raises:
        CheckpointError: the file is missing or damaged, or a setting of the layout has changed; names it and both
            values.
    """
    saved = read_layout(folder)
    for key, now in layout_settings(config).items():
        if key in saved and saved[key] != now:  # checkpoints of earlier versions hold fewer settings
            setting, was = f"learner.{_KEYS.get(key, key)}", json.dumps(saved[key])
            raise CheckpointError(
                f"checkpoint {folder / _LAYOUT}: {key} is {was}, but {setting} is {json.dumps(now)}; continue with "
                f"{setting}={was}, or start from an exported model"
            )
    return saved


def load_state(engine: Any, vlm: nn.Module, folder: Path, config: LearnerConfig) -> dict[str, int]:
    """Read what `save_state` wrote, and return the counters; a collective. Rates, decays and the schedule are taken
    from `config`, not from the checkpoint.

    Raises:
        CheckpointError: a weight is missing, unknown or has another shape, or a setting of the layout differs.
    """
    file = folder / _LAYOUT
    saved, wanted = check_layout(folder, config), _layout(vlm, config)
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
        # If a key of a state dict is missing or has another shape, torch's message names it.
        raise CheckpointError(f"checkpoint {folder / _TAG} cannot be read: {error}") from error
    _take_settings(engine, config.optimizer)
    return client_state["counters"]


def _take_settings(engine: Any, config: OptimizerConfig) -> None:
    """Replace the numbers from the checkpoint by those of the config; the schedule keeps its position."""
    schedule = engine.lr_scheduler
    schedule.base_lrs = [config.learning_rate] * len(schedule.base_lrs)
    factor = schedule.lr_lambdas[0](schedule.last_epoch)
    for group in engine.optimizer.param_groups:
        group["initial_lr"] = config.learning_rate
        group["lr"] = config.learning_rate * factor
        group["weight_decay"] = config.weight_decay
        if "betas" in group:
            group["betas"], group["eps"] = config.betas, config.epsilon
    if hasattr(engine.optimizer, "clip_grad"):  # ZeRO's own; without ZeRO the engine clips by its settings
        engine.optimizer.clip_grad = config.max_grad_norm
