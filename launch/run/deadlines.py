"""Deadlines that follow from a run's size, where the config leaves them open."""

from rich.console import Console

from actors.config import LEAST_UPDATE_S
from launch.machine.fit import gpu_kind_for, nodes_of_ray
from launch.machine.timing import update_deadline_s
from launch.settings.config import ConfigError, RunConfig


def with_update_deadline(config: RunConfig, console: Console) -> RunConfig:
    """The config with the deadline of an update, for a real model on GPUs; Ray must have been joined. Everything else
    keeps half an hour, which `DeadlineConfig` has by itself."""
    deadlines = config.cluster.deadlines
    if deadlines.update_s is not None or config.model.type != "checkpoint" or not config.cluster.learner_on_gpu:
        return config
    try:
        update_s = update_deadline_s(config, config.model.path, gpu_kind_for(nodes_of_ray(), config.rooms[0].bundle))
    except (ConfigError, OSError, ValueError):
        return config  # a command that starts from another model needs none here
    if update_s <= LEAST_UPDATE_S:
        return config
    console.print(f"an update may take {update_s:,.0f} s (cluster.deadlines.update_s is not set)", highlight=False)
    cluster = config.cluster.replace(deadlines=deadlines.replace(update_s=update_s))
    return config.replace(cluster=cluster)
