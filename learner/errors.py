"""How the learner fails to start. Importing this needs no torch."""


class PortTakenError(RuntimeError):
    """Another process took the port that the ranks were to meet at, between its choice and its use."""
