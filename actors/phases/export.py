"""Export: a training checkpoint as a plain Hugging Face folder, or its adapters alone."""

from dataclasses import dataclass
from pathlib import Path

from actors.phases.session import Session


@dataclass(frozen=True)
class Export:
    """Write a training checkpoint as a plain Hugging Face folder, or its adapters alone."""

    base: Path
    """The model that training started from; its configuration and processor are used."""
    checkpoint: Path
    """The training checkpoint."""
    target: Path
    """The folder to write."""
    only_adapters: bool = False
    """Write the adapters in peft's own format, instead of the model that they are merged into."""

    async def run(self, session: Session) -> None:
        session.control.begin("export")
        learner = await session.start_learner(session.config.learner, self.base, total_steps=1)
        await learner.load_checkpoint(self.checkpoint)
        await learner.export(self.target, self.only_adapters)
        learner.shutdown()
