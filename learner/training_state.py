"""The state that training continues from: weights, optimiser, schedule and counters, as DeepSpeed writes them.

layout.json   what the state is laid out by (`layout_settings`), and the shapes of the weights
deepspeed/    one file for each rank, or more

With LoRA the frozen weights are not in it: layout.json says which model the adapters belong to.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from torch import nn

from learner.config import LearnerConfig
from learner.optimizers.config import OptimizerConfig
from learner.whole_weights import full_shape, named_weights
from vlm.errors import CheckpointError
from vlm.files import weights_fingerprint

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
        "lora": None if config.lora is None else config.lora.model_dump(mode="json"),
    }


# How they are called in the config, where the name differs.
_KEYS = {
    "zero_stage": "deepspeed.zero_stage",
    "optimizer_offload": "deepspeed.optimizer_offload",
    "optimizer": "optimizer.type",
}


# Of settings that checkpoints of earlier versions do not hold: what they were then.
_THEN = {"lora": None}


@dataclass(frozen=True)
class Base:
    """The model that adapters are trained on."""

    folder: Path
    fingerprint: str
    """See `vlm.files.weights_fingerprint`."""

    @classmethod
    def of(cls, folder: Path) -> Self:
        """Of a model folder."""
        return cls(folder.resolve(), weights_fingerprint(folder))


def _layout(vlm: nn.Module, config: LearnerConfig) -> dict[str, Any]:
    shapes = {name: list(full_shape(parameter)) for name, parameter in named_weights(vlm)}
    return {**layout_settings(config), "weights": shapes}


def save_state(
    engine: Any, vlm: nn.Module, folder: Path, counters: dict[str, int], config: LearnerConfig, base: Base | None
) -> None:
    """Write weights, optimiser, schedule and counters; a collective, in which each rank writes its own files.

    Args:
        engine: the DeepSpeed engine.
        vlm: the model in it.
        folder: exists, and is the same for all ranks.
        counters: returned by `load_state`.
        config: that the engine was made with.
        base: the model that adapters are trained on; None without adapters. Its weights are not written.
    """
    engine.save_checkpoint(
        str(folder),
        tag=_TAG,
        client_state={"counters": counters},
        save_latest=False,
        exclude_frozen_parameters=base is not None,
    )
    if engine.global_rank == 0:
        of_base = {} if base is None else {"base": {"folder": str(base.folder), "fingerprint": base.fingerprint}}
        (folder / _LAYOUT).write_text(json.dumps(_layout(vlm, config) | of_base, indent=1))


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
        then = saved.get(key, _THEN.get(key, now))  # checkpoints of earlier versions hold fewer settings
        if then != now:
            setting, was = f"learner.{_KEYS.get(key, key)}", json.dumps(then)
            raise CheckpointError(
                f"checkpoint {folder / _LAYOUT}: {key} is {was}, but {setting} is {json.dumps(now)}; continue with "
                f"{setting}={was}, or start from an exported model"
            )
    return saved


def base_folder(checkpoint: Path) -> Path | None:
    """The folder of the model that a checkpoint's adapters were trained on, as it was called then; None: it has none.

    Raises:
        CheckpointError: the file that says so is missing or damaged.
    """
    base = read_layout(checkpoint).get("base")
    return None if base is None else Path(base["folder"])


def _check_base(file: Path, saved: dict[str, Any], base: Base) -> None:
    was = saved.get("base", {})
    if was.get("fingerprint") != base.fingerprint:
        raise CheckpointError(
            f"checkpoint {file}: its adapters belong to the model in {was.get('folder')}, and the weights in "
            f"{base.folder} are others; continue from that model (--from {was.get('folder')})"
        )


def load_state(engine: Any, vlm: nn.Module, folder: Path, config: LearnerConfig, base: Base | None) -> dict[str, int]:
    """Read what `save_state` wrote, and return the counters; a collective. Rates, decays and the schedule are taken
    from `config`, not from the checkpoint.

    Raises:
        CheckpointError: a weight is missing, unknown or has another shape, or a setting of the layout differs, or
            adapters belong to another model than `base`.
    """
    file = folder / _LAYOUT
    saved, wanted = check_layout(folder, config), _layout(vlm, config)
    if base is not None:
        _check_base(file, saved, base)
    for name in sorted(saved["weights"].keys() | wanted["weights"].keys()):
        have, want = saved["weights"].get(name), wanted["weights"].get(name)
        if have is None:
            raise CheckpointError(f"checkpoint {file}: the key {name} is missing")
        if want is None:
            raise CheckpointError(f"checkpoint {file}: the model has no key {name}")
        if have != want:
            raise CheckpointError(f"checkpoint {file}: the key {name} has shape {have}, the model's is {want}")
    try:
        # A checkpoint of adapters lacks the weights of the base, which are loaded already.
        _, client_state = engine.load_checkpoint(str(folder), tag=_TAG, load_module_strict=base is None)
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
