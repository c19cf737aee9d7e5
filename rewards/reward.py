"""The reward of one response: a pure function of its text, the path it was asked through, and the sample.

`score_response` is the reward of training; `is_correct` and `center_errors_m` are measures for evaluation. All read
the text with `spatial.grammar`, and none raises an error, whatever the text.
"""

from flow.score import Score
from rewards.accuracy import accuracy_score, is_right
from rewards.center import center_score, matched_errors_m
from rewards.config import AnswerWeights, RewardConfig
from rewards.released import released_accuracy_score, released_center_score, released_format_score
from spatial.grammar import ParsedResponse, parse_response, read_vector
from spatial.places import read_box_3d
from spatial.sample import Box3DAnswer, PointAnswer, ReasoningPath, SpatialSample, Vector3


def score_response(text: str, path: ReasoningPath, sample: SpatialSample, config: RewardConfig) -> Score:
    """The built-in reward: weighted accuracy, format and, for DTR with 3D truth, detected centres."""
    parsed = parse_response(path, text)
    score_accuracy = released_accuracy_score if config.released_code else accuracy_score
    parts = {
        "accuracy": score_accuracy(parsed.answer, sample.answer),
        "format": released_format_score(parsed) if config.released_code else float(parsed.well_formed),
    }
    center = _score_centers(parsed, sample, config) if path is ReasoningPath.DTR else None
    if center is not None:
        parts["center"] = center
    total = 0.0
    for name, weight in _weights(path, center is not None, config):
        total += weight * parts[name]
    return Score(
        total=total,
        accuracy=parts["accuracy"],
        format=parts["format"],
        center=center,
        center_share=0.0 if center is None else config.dtr.center * center,
    )


def _weights(path: ReasoningPath, has_centers: bool, config: RewardConfig) -> AnswerWeights:
    """The weight of each part, by its name."""
    if path is not ReasoningPath.DTR:
        return config.lor
    return config.dtr if has_centers else config.dtr_without_truth


def is_correct(text: str, path: ReasoningPath, sample: SpatialSample) -> bool:
    """Whether the response's answer counts as right (see `rewards.accuracy.is_right`); its format does not matter."""
    return is_right(parse_response(path, text).answer, sample.answer)


def center_errors_m(text: str, path: ReasoningPath, sample: SpatialSample) -> tuple[float, ...] | None:
    """Distances between predicted and true centres of the regions, matched one to one with the smallest sum; metres.

    None if nothing can be measured: there is no readable centre, no 3D truth, or nothing asks for one.
    """
    true_m, predicted_m = sample.true_centers_m, predicted_centers_m(text, path, sample)
    return matched_errors_m(predicted_m, true_m) if true_m and predicted_m else None


def predicted_centers_m(text: str, path: ReasoningPath, sample: SpatialSample) -> tuple[Vector3, ...]:
    """The 3D centres of regions that a response gives, as detected boxes or as its answer."""
    parsed = parse_response(path, text)
    if path is not ReasoningPath.DIRECT:
        return tuple(box.center_m for box in parsed.boxes)
    if parsed.answer is None or not sample.regions:
        return ()
    match sample.answer:
        case PointAnswer():
            center_m = read_vector(parsed.answer)
        case Box3DAnswer():
            box = read_box_3d(parsed.answer)
            center_m = None if box is None else box.center_m
        case _:
            center_m = None
    return () if center_m is None else (center_m,)


def _score_centers(parsed: ParsedResponse, sample: SpatialSample, config: RewardConfig) -> float | None:
    """The centre part of a DTR response, or None if the sample has no 3D truth."""
    true_m = sample.true_centers_m
    if true_m is None:
        return None
    if config.released_code:
        return released_center_score(parsed.detect, sample, config.center_steps)
    return center_score([box.center_m for box in parsed.boxes], true_m, config.center_steps)
