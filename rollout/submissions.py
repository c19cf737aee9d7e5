"""What an engine's generation and its weight updates share."""

import asyncio


class Submissions:
    """When a request may be submitted, and which caches it may use."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        """Held for each submission, and from pause to resume. A request that was prepared before vLLM's image caches
        are reset must not arrive after: it would refer to pixels which the engine no longer has."""
        self._num_updates = 0

    @property
    def salt(self) -> str:
        """Prompts of an equal salt share cached keys and values."""
        return f"update {self._num_updates}"

    def weights_changed(self) -> None:
        """From now on prompts share nothing with earlier ones.

        The weights' version would not do as a salt: after a return to older weights the same number stands for others.
        """
        self._num_updates += 1
