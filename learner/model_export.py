"""The trained model as a plain Hugging Face folder, for others to load."""

from pathlib import Path
from typing import Any

from learner.whole_weights import outgoing_weights, whole_weights
from vlm.files import follow_umask
from vlm.model_folders import load_processor

_GATHER_BYTES = 256 * 2**20


def export_model(vlm: Any, source: Path, folder: Path, is_writer: bool) -> None:
    """Write model, tokenizer and processor as a Hugging Face folder, adapters merged; a collective under ZeRO-3.

    Args:
        vlm: the model in training.
        source: the model folder that training started from; its tokenizer and processor are written again.
        folder: made if missing.
        is_writer: true on exactly one rank.
    """
    # Without tied duplicates: save_pretrained ties by name, and a second copy would be a second weight.
    weights = whole_weights(outgoing_weights(vlm, with_tied=False), None, _GATHER_BYTES)
    state = {name: tensor.cpu() for name, tensor in weights if is_writer}
    if is_writer:
        vlm.save_pretrained(folder, state_dict=state)
        load_processor(source).save_pretrained(folder)
        follow_umask(folder)
