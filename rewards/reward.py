"""The reward of one response: a pure function of its text, the path it was asked through, and the sample.

`score_response` is the reward of training, `is_correct` and `center_errors_m` are measures for evaluation. All read
the text with `spatial.grammar`; none raises, whatever the text.
"""

from rewards.accuracy import accuracy_score, is_right
from rewards.center import center_score, matched_errors_m
from rewards.config import RewardConfig
from rewards.released import released_accuracy_score, released_center_score
from rewards.score import Score
from spatial.grammar import ParsedResponse, parse_response
from spatial.sample import Path, SpatialSample


def score_response(text: str, path: Path, sample: SpatialSample, config: RewardConfig) -> Score:
    """The built-in reward: weighted accuracy, format and, for DTR with 3D truth, detected centres."""
    parsed = parse_response(path, text)
    score_accuracy = released_accuracy_score if config.released_code else accuracy_score
    accuracy = score_accuracy(parsed.answer, sample.answer)
    well_formed = float(parsed.well_formed)
    center = _score_centers(parsed, sample, config) if path is Path.DTR else None

    share = 0.0
    if center is None:
        weights = config.lor if path is Path.LOR else config.dtr_without_truth
        total = weights.accuracy * accuracy + weights.format * well_formed
    else:
        share = config.dtr.center * center
        total = config.dtr.accuracy * accuracy + config.dtr.format * well_formed + share
    return Score(total=total, accuracy=accuracy, format=well_formed, center=center, center_share=share)


def is_correct(text: str, path: Path, sample: SpatialSample) -> bool:
    """Whether the response's answer counts as right (see `rewards.accuracy.is_right`); its format is not looked at."""
    return is_right(parse_response(path, text).answer, sample.answer)


def center_errors_m(text: str, path: Path, sample: SpatialSample) -> tuple[float, ...] | None:
    """Distances between predicted and true centres, matched one to one with the least sum; metres.

    None when nothing can be measured: no readable box, no 3D truth, or the language-only path.
    """
    true_m = sample.true_centers_m
    boxes = parse_response(path, text).boxes
    if true_m is None or not boxes:
        return None
    return matched_errors_m([box.center_m for box in boxes], true_m)


def _score_centers(parsed: ParsedResponse, sample: SpatialSample, config: RewardConfig) -> float | None:
    """The centre part of a DTR response, or None when the sample has no 3D truth."""
    true_m = sample.true_centers_m
    if true_m is None:
        return None
    if config.released_code:
        return released_center_score(parsed.detect, sample, true_m, config.center_steps)
    return center_score([box.center_m for box in parsed.boxes], true_m, config.center_steps)
