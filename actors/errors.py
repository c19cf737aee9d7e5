"""How a run's surroundings fail. Importing this needs no Ray."""


class ClusterError(ConnectionError):
    """Ray cannot be joined or started; the message says why, and what to do."""
