"""Deadlines that follow from a run's size, where the config leaves them open."""

from rich.console import Console

from actors.config import LEAST_UPDATE_S
from launch.machine.fit import gpu_kind_for, nodes_of_ray
from launch.machine.timing import check_update_deadline, derived_deadline_s, estimated_update_s
from launch.settings.config import ConfigError, RunConfig
from learner.cards import card_kind


def with_update_deadline(config: RunConfig, console: Console) -> RunConfig:
    """The config with the deadline of an update, for a real model on GPUs; Ray must have been joined. Everything else
    keeps half an hour, which `DeadlineConfig` has by itself.

    Raises:
        ConfigError: the deadline that is set is below the estimate for these cards.
    """
    deadlines = config.cluster.deadlines
    if config.model.type != "checkpoint" or not config.cluster.learner_on_gpu:
        return config
    card = gpu_kind_for(nodes_of_ray(), config.rooms[0].bundle)
    try:
        needed_s = estimated_update_s(config, config.model.path, card)
    except (ConfigError, OSError, ValueError):
        return config  # a command that starts from another model needs none here
    if deadlines.update_s is not None:
        found = check_update_deadline(config, needed_s)
        # A guess about a card that nobody knows refuses nothing.
        if found.status == "fail" and card is not None and card_kind(card) is not None:
            raise ConfigError(f"{found.detail}: {found.advice}")
        return config
    update_s = derived_deadline_s(needed_s)
    if update_s <= LEAST_UPDATE_S:
        return config
    console.print(f"an update may take {update_s:,.0f} s (cluster.deadlines.update_s is not set)", highlight=False)
    cluster = config.cluster.replace(deadlines=deadlines.replace(update_s=update_s))
    return config.replace(cluster=cluster)
