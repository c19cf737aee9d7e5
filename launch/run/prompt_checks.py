"""Whether a sample's prompts fit into the engines with room for a whole response, and can be asked at all.

Found before a run starts and by `sr-real data check --config`. Most prompts are far shorter than they may be, which an
upper bound shows without the tokenizer.
"""

from collections.abc import Sequence
from typing import NamedTuple

from launch.run.sample_faults import Cause, Check, Fault
from launch.settings.config import RunConfig
from spatial.sample import BadImageError, ReasoningPath, SpatialSample
from vlm.prompt import PromptEncoder

_ALL = tuple(ReasoningPath)
_LEAVE_OUT = ", or leave them out (data.too_long=leave_out)"

BROKEN = Cause(
    "an image that cannot be used",
    "import them again, or take them out (only data.check_images=all looks at every image)",
)
_SPECIAL = Cause(
    "a special token of the model's tokenizer in a text", "replace the token with ordinary words, or remove the samples"
)


def prompt_checks(config: RunConfig, encoder: PromptEncoder) -> list[Check]:
    """What a run's samples must pass, besides that their images can be opened."""
    return [_images_fit(config), RoomForResponse(config, encoder, may_leave_out=True), _without_special_tokens(encoder)]


def _images_fit(config: RunConfig) -> Check:
    most = config.rollout.engine.max_images_per_prompt
    cause = Cause(
        f"more images than rollout.engine.max_images_per_prompt={most}",
        "set rollout.engine.max_images_per_prompt={size}" + _LEAVE_OUT,
        is_too_long=True,
    )

    def check(sample: SpatialSample) -> Fault | None:
        num = len(sample.images)
        return Fault(cause, f"{num} images", num) if num > most else None

    return check


class _Length(NamedTuple):
    """Of a prompt, in tokens."""

    whole: int
    of_images: int
    path: ReasoningPath


class RoomForResponse:
    """Whether a whole response fits behind the prompt: a response that is cut off teaches the wrong thing."""

    def __init__(
        self,
        config: RunConfig,
        encoder: PromptEncoder,
        paths: Sequence[ReasoningPath] = _ALL,
        may_leave_out: bool = False,
    ) -> None:
        """
        Args:
            paths: through which questions are asked.
            may_leave_out: whether `data.too_long` is about these questions.
        """
        self._encoder = encoder
        self._paths = frozenset(paths)
        longest, wanted = config.rollout.engine.max_model_len, config.rollout.sampling.max_response_tokens
        self._wanted = wanted
        self._room = longest - wanted
        self._fewest_pixels: int | None = None
        words = (
            f"no room for a response of rollout.sampling.max_response_tokens={wanted} behind the prompt, in "
            f"rollout.engine.max_model_len={longest}"
        )
        leave_out = _LEAVE_OUT if may_leave_out else ""
        self._of_images = Cause(
            f"{words}, because of its image tokens",
            "set prompt.max_pixels={pixels} or less, or rollout.engine.max_model_len={size}" + leave_out,
            is_too_long=True,
        )
        self._of_text = Cause(
            f"{words}, even with the smallest images",
            "set rollout.engine.max_model_len={size}, or ask for shorter responses" + leave_out,
            is_too_long=True,
        )

    def __call__(self, sample: SpatialSample) -> Fault | None:
        try:
            lengths = [self._length(sample, path) for path in sample.paths if path in self._paths]
        except BadImageError as error:  # a depth map decides which tokens there are
            return Fault(BROKEN, str(error))
        longest = max((length for length in lengths if length), default=None)
        if longest is None or longest.whole <= self._room:
            return None
        pixels = self._pixels_that_fit(sample, longest)
        text = longest.whole - longest.of_images
        detail = f"{longest.of_images} image and {text} other tokens through {longest.path.value}"
        size = longest.whole + self._wanted
        return Fault(self._of_text, detail, size) if pixels is None else Fault(self._of_images, detail, size, pixels)

    def _length(self, sample: SpatialSample, path: ReasoningPath) -> _Length | None:
        """The prompt's length; None if it is short enough at first sight."""
        if self._encoder.max_prompt_tokens(sample, path) <= self._room:
            return None
        ids = self._encoder.prompt_token_ids(sample, path)
        return _Length(len(ids), ids.count(self._encoder.image_token_id), path)

    def _pixels_that_fit(self, sample: SpatialSample, length: _Length) -> int | None:
        """A `prompt.max_pixels` with which the sample and all before it fit; None if its images are not the reason."""
        pixels = self._encoder.most_pixels(
            sample, self._room - (length.whole - length.of_images), at_most=self._fewest_pixels
        )
        if pixels is not None:
            self._fewest_pixels = pixels
        return pixels


def _without_special_tokens(encoder: PromptEncoder) -> Check:
    """Only the tokenizer knows which words are special to it."""
    special = encoder.special_tokens

    def check(sample: SpatialSample) -> Fault | None:
        texts = {"question": sample.question} | {f"chains.{path.value}": text for path, text in sample.chains.items()}
        for field, text in texts.items():
            if token := next((token for token in special if token in text), None):
                return Fault(_SPECIAL, f"{field} holds {token}")
        return None

    return check
