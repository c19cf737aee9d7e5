"""Disk space that a run's checkpoints and models will take, computed before anything starts."""

import json
import math
import struct
from collections.abc import Collection
from pathlib import Path

from actors.run.run_folder import RunFolder
from launch.settings.config import ConfigError, RunConfig
from launch.settings.targets import check_space
from learner.config import LearnerConfig
from vlm.families import family_of

_WIDTH_BYTES = {"float32": 4, "bfloat16": 2}


def count_parameters(model: Path, learner: LearnerConfig) -> tuple[int, int]:
    """(all, those that are trained) of a model folder, from the headers of its files; no weight is read. Adapters are
    counted among the trained alone.

    Raises:
        ConfigError: it has fewer layers than are to be trained.
    """
    family = family_of(json.loads((model / "config.json").read_text())["model_type"], f"model folder {model}")
    shapes: dict[str, list[int]] = {}
    for file in model.glob("*.safetensors"):
        with file.open("rb") as content:
            (length,) = struct.unpack("<Q", content.read(8))
            header = json.loads(content.read(length))
        for name, entry in header.items():
            if name != "__metadata__":
                shapes[name] = entry["shape"]
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    num_layers = 1 + max((layer for name in sizes if (layer := family.layer_of(name)) is not None), default=0)
    try:
        first = learner.first_language_layer(num_layers)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    trained = (name for name in sizes if family.is_trained(name, learner.freeze, first))
    if learner.lora is None:
        return sum(sizes.values()), sum(sizes[name] for name in trained)
    # Of each matrix in the adapted layers the adapter, and all of what is trained whole.
    parts, rank, num_adapted = learner.lora.parts, learner.lora.rank, 0
    for name in trained:
        part = family.part_of(name)
        if part == "region":
            num_adapted += sizes[name]
        elif part in parts and len(shapes[name]) == 2 and (part != "language" or family.layer_of(name) is not None):
            num_adapted += rank * sum(shapes[name])
    return sum(sizes.values()), num_adapted


def checkpoint_bytes(model: Path, learner: LearnerConfig) -> int:
    """Size of one checkpoint: the weights, the optimiser's state, and under ZeRO the masters of what is trained. With
    adapters there are no weights but theirs in it."""
    number, trained = count_parameters(model, learner)
    number = number if learner.lora is None else trained
    masters = 4 if learner.deepspeed.zero_stage > 0 else 0
    width = _WIDTH_BYTES[learner.deepspeed.dtype]
    return number * width + trained * (learner.optimizer.kind.state_bytes + masters)


def check_space_for(config: RunConfig, folder: RunFolder, model: Path, phases: Collection[str]) -> None:
    """Check that there is room for the kept checkpoints, one being written, and the final model.

    Args:
        model: the one that training starts from, or one of its size.
        phases: of cold_start and train, those that are to be run.

    Raises:
        ConfigError: they do not.
    """
    wanted, keep = 0, config.training.keep_checkpoints
    for phase in phases:
        is_train = phase == "train"
        learner = config.learner if is_train else config.learner.for_cold_start()
        there = folder.checkpoints if is_train else folder.cold_start_checkpoints
        # Those of a run that is resumed make way for new ones; one of several phases finds none.
        num_there = len(list(there.glob("step-*")))
        wanted += max(1, keep + 1 - num_there) * checkpoint_bytes(model, learner)
        wanted += count_parameters(model, learner)[0] * _WIDTH_BYTES[learner.deepspeed.dtype]
    remedy = f"; training.keep_checkpoints={keep} could be lower" if keep > 1 else ""
    check_space(folder.root, wanted, f"{keep} checkpoints, one that is being written, and the trained model", remedy)
