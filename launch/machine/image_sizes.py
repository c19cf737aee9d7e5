"""Whether the images of a config's prompts leave room for text and responses."""

from launch.machine.findings import Finding
from launch.machine.timing import assumed_workload
from launch.settings.config import RunConfig
from launch.settings.model_paths import find_shape
from vlm.config import TinyModelConfig
from vlm.pixel_limits import PixelLimits


def check_images(config: RunConfig) -> list[Finding]:
    """The image tokens of the largest image that may be shown, against the length of a sequence.

    Returns:
        Nothing where the model, or what its processor does, is not known here.
    """
    try:
        limits = _limits_of(config)
    except (OSError, ValueError):
        return []  # other checks say why
    if limits is None:
        return []
    try:
        limits = limits.within(config.prompt)
    except ValueError as error:
        fault, _, remedy = str(error).partition(": set ")
        return [Finding("images", "fail", fault, f"set {remedy}")]
    engine, wanted = config.rollout.engine, config.rollout.sampling.max_response_tokens
    text = assumed_workload(config, limits.token_side_px**2).text_tokens
    room = max(0, engine.max_model_len - wanted - text) // engine.max_images_per_prompt
    detail = f"at most {limits.max_pixels:,} pixels, {limits.max_tokens:,} tokens each"
    if limits.max_tokens <= room:
        return [Finding("images", "ok", detail)]
    return [
        Finding(
            "images",
            "warn",
            f"{detail}; {engine.max_images_per_prompt} a prompt leave no room for some {text} tokens of text and a "
            f"response of {wanted:,} in max_model_len={engine.max_model_len}",
            f"set prompt.max_pixels={room * limits.token_side_px**2} or less, or see what the data need: "
            "sr-real data check FILE --config …",
        )
    ]


def _limits_of(config: RunConfig) -> PixelLimits | None:
    if isinstance(config.model, TinyModelConfig):
        return PixelLimits.of_tiny(config.model)
    return PixelLimits.of_folder(find_shape(config.model.path))
