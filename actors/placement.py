"""What an actor sees of the machine that it is placed on: the config decides, not the cards that are there."""

from typing import Any


def runtime_env(num_gpus: float, **variables: str) -> dict[str, Any]:
    """Ray's `runtime_env` of an actor that asks for `num_gpus`, with more environment variables.

    Ray sets CUDA_VISIBLE_DEVICES for actors that ask for GPUs, and leaves it alone for all others, which then see every
    card of the machine; here they see none.
    """
    hidden = {} if num_gpus else {"CUDA_VISIBLE_DEVICES": ""}
    return {"env_vars": hidden | variables}
