"""Clean up one of vLLM's models after a weight update that failed."""

from typing import Any

from torch import nn
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload
from vllm.model_executor.model_loader.reload.layerwise import get_layerwise_info


def abandon_reload(model: nn.Module, model_config: Any) -> None:
    """Restore layers that are not complete; the next update would otherwise add to half-loaded ones.

    Does nothing if no update is open.
    """
    for layer in model.modules():
        info = get_layerwise_info(layer)
        info.loaded_weights.clear()
        info.load_numel = 0
    finalize_layerwise_reload(model, model_config)
