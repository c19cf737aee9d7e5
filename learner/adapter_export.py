"""Trained adapters in peft's own format: a few megabytes, loaded beside the model that they were trained on.

adapter_config.json          peft's settings, and the folder of the base
adapter_model.safetensors    adapters, and what was trained whole beside them
"""

from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from learner.config import LearnerConfig
from learner.lora import MergedLinear, peft_config, whole_modules
from learner.whole_weights import OutgoingWeight, whole_weights
from vlm.families import family_of
from vlm.files import follow_umask

_GATHER_BYTES = 256 * 2**20
_PREFIX = "base_model.model."


def export_adapter(vlm: Any, config: LearnerConfig, base: Path, folder: Path, is_writer: bool) -> None:
    """Write the trained adapters for `peft.PeftModel.from_pretrained`; a collective under ZeRO-3.

    Args:
        vlm: the model in training, with adapters.
        config: that it is trained with.
        base: the model folder that training started from.
        folder: made if missing.
        is_writer: true on exactly one rank.
    """
    # Everything trained is an adapter, or part of a module that is trained whole.
    trained = [(name, parameter) for name, parameter in vlm.named_parameters() if parameter.requires_grad]
    weights = [OutgoingWeight(_name_in_file(name), parameter, None) for name, parameter in trained]
    state = {
        name: tensor.cpu().contiguous() for name, tensor in whole_weights(weights, None, _GATHER_BYTES) if is_writer
    }
    if not is_writer:
        return
    adapted = [name for name, module in vlm.named_modules() if isinstance(module, MergedLinear)]
    settings = peft_config(config, adapted)
    settings.modules_to_save = whole_modules(vlm, family_of(vlm.config.model_type), config) or None
    settings.base_model_name_or_path = str(base.resolve())
    settings.inference_mode = True
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    settings.save_pretrained(folder)
    follow_umask(folder)


def _name_in_file(name: str) -> str:
    """
    >>> _name_in_file("model.layers.0.q_proj.lora_A.default.weight")
    'base_model.model.model.layers.0.q_proj.lora_A.weight'
    """
    return _PREFIX + name.replace(".default.", ".").replace(".trained_copy.", ".")
