"""What a person says about the machine that a config is for, where it is not the one that doctor runs on."""

import difflib
from dataclasses import dataclass

from launch.settings.config import ConfigError, RunConfig
from learner.cards import CARDS, card_kind


@dataclass(frozen=True)
class Told:
    """The options of `sr-real doctor` besides the config."""

    gpu_gib: float | None = None
    """Memory of a learner's GPU."""
    rollout_gpu_gib: float | None = None
    """Memory of an engine's GPU."""
    gpu: str | None = None
    """The kind of a learner's GPU, such as "H100"."""
    rollout_gpu: str | None = None
    """The kind of an engine's GPU."""
    response_tokens: int | None = None
    """Mean length of responses."""

    @property
    def is_elsewhere(self) -> bool:
        """Whether the config is for other cards than this machine's."""
        return any((self.gpu_gib, self.rollout_gpu_gib, self.gpu, self.rollout_gpu))

    @property
    def learner_gib(self) -> float | None:
        """Memory of a learner's GPU, as it was given or as its kind has it."""
        return self.gpu_gib or _gib_of(self.gpu)

    @property
    def engine_gib(self) -> float | None:
        """Memory of an engine's GPU; None: as the learner's."""
        return self.rollout_gpu_gib or _gib_of(self.rollout_gpu)

    def check(self, config: RunConfig) -> None:
        """
        Raises:
            ConfigError: a kind of GPU is not known, or something cannot be with this config.
        """
        for flag, name in (("--gpu", self.gpu), ("--rollout-gpu", self.rollout_gpu)):
            if name is not None and card_kind(name) is None:
                raise ConfigError(f"{flag} {name}: no such kind of GPU is known; {_nearest(name)}")
        of_engine = {"--rollout-gpu": self.rollout_gpu, "--rollout-gpu-gib": self.rollout_gpu_gib}
        given = next((flag for flag, value in of_engine.items() if value is not None), None)
        if given is not None and config.cluster.layout.type == "shared":
            raise ConfigError(
                f"{given}: with cluster.layout=shared engines are on the learner's cards; give "
                f"{given.replace('--rollout-gpu', '--gpu')} alone"
            )
        longest = config.rollout.sampling.max_response_tokens
        if self.response_tokens is not None and self.response_tokens > longest:
            raise ConfigError(
                f"--response-tokens {self.response_tokens}: no response is longer than "
                f"rollout.sampling.max_response_tokens={longest}; give that or less, or raise it"
            )


NOTHING_TOLD = Told()


def known_cards() -> list[str]:
    """The kinds of GPUs by names that `card_kind` knows, such as "A100 80G"."""
    return sorted(" ".join(kind.words) for kind in CARDS)


def _nearest(name: str) -> str:
    known = known_cards()
    # A part of a name stands for all that have it: RTX.
    near = [card for card in known if name.upper() in card] or difflib.get_close_matches(name.upper(), known, n=2)
    return f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(known)}; or give its --gpu-gib"


def _gib_of(kind: str | None) -> float | None:
    known = card_kind(kind or "")
    return None if known is None else known.gib
