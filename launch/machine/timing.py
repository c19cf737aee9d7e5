"""Findings about time: the estimate of a step beside the last run that was measured, and the deadlines that follow."""

from dataclasses import dataclass
from pathlib import Path

from actors.config import LEAST_UPDATE_S
from launch.machine.estimate import Estimator, Workload, describe_step
from launch.machine.findings import Finding
from launch.machine.measured import benchmarked, compare, last_measured
from launch.machine.shapes import ModelShape, empty_model
from launch.machine.told import known_cards
from launch.settings.config import RunConfig
from launch.settings.model_paths import find_shape
from learner.cards import CardKind, card_kind
from learner.flops import ModelFlops
from vlm.pixel_limits import PixelLimits

DEADLINE_FACTOR = 3.0
"""An update may take this many times what is estimated for responses of the greatest length."""
_TEXT_TOKENS = 250
"""Of a prompt with the full instructions, counted with Qwen's tokenizer; short ones have half."""
_PIXELS = 1_000_000
"""Of an image where no budget bounds it."""
_RESPONSE_SHARE = 0.5
"""Mean length of responses over the greatest, where nobody says."""
_UNKNOWN_CARD = CardKind((), 100, 50, 600, 24, 32)
"""What a card counts as whose kind is not known, when a deadline is chosen."""


@dataclass(frozen=True)
class ModelFacts:
    """What the arithmetic of time and memory asks of a model."""

    shape: ModelShape
    flops: ModelFlops
    pixels_per_token: int
    """Of an image token."""
    max_pixels: int | None = None
    """To which the model's processor and the prompts' budget shrink an image; None: nobody knows."""

    @classmethod
    def of_config(cls, config: RunConfig, model: Path | str) -> "ModelFacts":
        """
        Raises:
            ConfigError: there is no such model.
        """
        found = empty_model(model, config.learner)
        vision = found.config.vision_config
        side_px = vision.patch_size * vision.spatial_merge_size
        max_pixels = _most_pixels(config, find_shape(str(model)))
        return cls(ModelShape.of_empty(found), ModelFlops.of_model(found), side_px**2, max_pixels)


def _most_pixels(config: RunConfig, model: Path) -> int | None:
    try:
        limits = PixelLimits.of_folder(model)
        return None if limits is None else limits.within(config.prompt).max_pixels
    except ValueError:
        return None  # `check_images` has said why


def assumed_workload(
    config: RunConfig, pixels_per_token: int, response_tokens: int | None = None, max_pixels: int | None = None
) -> Workload:
    """Lengths from the config: images fill their budget, and responses have half their greatest length.

    Args:
        response_tokens: of a response, where a person says.
        max_pixels: of an image as the model sees it, where that is known.
    """
    longest = config.rollout.sampling.max_response_tokens
    room = config.rollout.engine.max_model_len - longest
    text_tokens = min(room, _TEXT_TOKENS if config.prompt.instructions == "full" else _TEXT_TOKENS // 2)
    pixels = min(config.prompt.max_pixels or _PIXELS, max_pixels or _PIXELS, _PIXELS)
    image_tokens = min(room - text_tokens, pixels // pixels_per_token)
    return Workload(text_tokens, image_tokens, response_tokens or max(1, int(longest * _RESPONSE_SHARE)))


def check_time(
    config: RunConfig,
    facts: ModelFacts,
    learner_card: str | None,
    engine_card: str | None,
    response_tokens: int | None = None,
) -> list[Finding]:
    """How long a step and the run take, and the update's deadline.

    Args:
        learner_card, engine_card: names of the cards, as their driver or Ray or a person gives them; None: not known.
    """
    kind, of_engines = card_kind(learner_card or ""), card_kind(engine_card or learner_card or "")
    if kind is None or of_engines is None:
        card, flag = (learner_card, "--gpu") if kind is None else (engine_card, "--rollout-gpu")
        named = f"{card} is of a kind without known peaks" if card else "the kind of GPU is not known"
        advice = f"give one that is known: {flag} H100 ({', '.join(known_cards())})"
        return [Finding("time of a step", "warn", named, advice)]
    work = assumed_workload(config, facts.pixels_per_token, response_tokens, facts.max_pixels)
    estimator = Estimator(config, facts.shape, facts.flops, kind, of_engines, work)
    estimate = estimator.step()
    detail = f"{describe_step(estimate, config.training.num_steps)}. Assumed: {work.describe()}"
    findings = [Finding("time of a step", "ok", detail)]
    if (measured := last_measured(Path(config.run).resolve().parent, kind) or benchmarked(kind)) is not None:
        findings.append(Finding("last measured run", "ok", compare(measured, estimate)))
    return [*findings, check_update_deadline(config, longest_update_s(estimator))]


def longest_update_s(estimator: Estimator) -> float:
    """The estimate of an update whose responses all have the greatest length."""
    return estimator.update(response_tokens=estimator.config.rollout.sampling.max_response_tokens).seconds


def derived_deadline_s(needed_s: float) -> float:
    """The deadline of an update that is not set: `DEADLINE_FACTOR` times the longest, and never less than half an
    hour."""
    return max(LEAST_UPDATE_S, DEADLINE_FACTOR * needed_s)


def check_update_deadline(config: RunConfig, needed_s: float) -> Finding:
    """Whether an update can be done within its deadline.

    Args:
        needed_s: for one with responses of the greatest length.
    """
    name, set_s, derived_s = "deadline of an update", config.cluster.deadlines.update_s, derived_deadline_s(needed_s)
    if set_s is None:
        return Finding(name, "ok", f"{derived_s:,.0f} s")
    detail = f"cluster.deadlines.update_s={set_s:g}"
    if set_s < needed_s:
        advice = f"leave it out: {derived_s:,.0f} s then follow from the estimate"
        longest = config.rollout.sampling.max_response_tokens
        return Finding(name, "fail", f"{detail}, but one with responses of {longest:,} takes {needed_s:,.0f} s", advice)
    return Finding(name, "ok", detail)


def estimated_update_s(config: RunConfig, model: Path | str, card: str | None) -> float:
    """See `longest_update_s`.

    Args:
        model: the folder of the model that is trained.
        card: the kind of the learner's cards; one that is not known counts as slow.
    """
    facts = ModelFacts.of_config(config, model)
    kind = card_kind(card or "") or _UNKNOWN_CARD
    work = assumed_workload(config, facts.pixels_per_token, max_pixels=facts.max_pixels)
    return longest_update_s(Estimator(config, facts.shape, facts.flops, kind, kind, work))
