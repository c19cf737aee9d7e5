"""Questions about a scene, and their true answers.

What the words mean, for objects with centres in the camera frame:

- depth, nearest, closer: along z, the camera's forward axis;
- left, right, leftmost: by x, and by the place in the picture; above, below: by y, and by the place in the picture;
- larger: by the longest side of the bounding box; height: of the bounding box;
- direction: the clock hour of B for someone who stands at A and faces along z, away from the camera: 12 is +z, 3 is +x;
- distance: between the two centres.

A question is asked only where its answer is clear to the eye: what it compares differs by a margin. Answers are
balanced by construction: subjects are named in random order, and a wanted yes, no or hour is drawn before the objects.
Options stand in the order of the words, left before right, yes before no, the object named first before the other, so
that a letter follows from a chain's own words; where a question is about all objects, in random order.
"""

import math
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from spatial.sample import Answer, ChoiceAnswer, NumberAnswer
from spatial.scenes.scene import COLOURS, SHAPES, ObjectTruth

NUM_SUBJECTS = {
    "closer_to_camera": 2,
    "left_right": 2,
    "above_below": 2,
    "larger": 2,
    "depth": 1,
    "distance": 2,
    "direction": 2,
    "height": 1,
}
"""How many objects a question of a kind refers to; the other kinds are about all objects."""

_SIDES = {"left_right": ("left", "right"), "above_below": ("above", "below")}
_SUPERLATIVES = {
    "closer_to_camera": "Which is closer to the camera?",
    "larger": "Which is larger?",
    "nearest": "Which is nearest to the camera?",
    "leftmost": "Which is leftmost?",
}
# Within this many degrees of the middle of its hour (half an hour is 15): a direction is not on the border of two.
_HOUR_MARGIN_DEG = 11.0


@dataclass(frozen=True)
class Subject:
    """An object and what the question calls it: "red cube", or "red point" by its mark."""

    name: str
    truth: ObjectTruth


@dataclass(frozen=True)
class Question:
    """A question with its answer in both forms: as data, and as the words it is given in."""

    kind: str
    subjects: tuple[Subject, ...]
    """The objects it refers to, in the order it names them; for kinds about all objects, all, from left to right."""
    text: str
    answer: Answer
    verdict: str
    """The text of the right option ("red cube", "left", "yes"), or the number with its unit ("1.43 m", "3")."""

    @property
    def answer_text(self) -> str:
        """What belongs between the answer tags, whatever the path."""
        return self.answer.letter if isinstance(self.answer, ChoiceAnswer) else self.verdict

    @property
    def said(self) -> str:
        """The verdict as a chain says it: an option with its letter, "left (A)", as the question writes it.

        The letter comes after the words on both sides, so that a small model can copy it from the one to the other.
        """
        return f"{self.verdict} ({self.answer.letter})" if isinstance(self.answer, ChoiceAnswer) else self.verdict


def pick_subjects(
    kind: str, objects: tuple[ObjectTruth, ...], rng: np.random.Generator
) -> tuple[ObjectTruth, ...] | None:
    """Objects, in random order, that a question of this kind can be asked about; None when no choice makes it clear."""
    if kind not in NUM_SUBJECTS:
        return objects if _is_clear_of_all(kind, objects) else None
    choices = [chosen for chosen in permutations(objects, NUM_SUBJECTS[kind]) if _is_clear(kind, chosen)]
    if not choices:
        return None
    if kind == "direction":
        # A wanted hour first, then the pair that comes nearest to it: else the hours of a shallow scene win.
        wanted, order = int(rng.integers(12)), rng.random(len(choices))
        ranked = sorted(range(len(choices)), key=lambda i: (_hours_apart(_true_hour(choices[i]), wanted), order[i]))
        return choices[ranked[0]]
    return choices[int(rng.integers(len(choices)))]


def write_question(kind: str, subjects: tuple[Subject, ...], rng: np.random.Generator) -> Question:
    """The question of this kind about these subjects, which `pick_subjects` found clear."""
    names = [subject.name for subject in subjects]
    truths = tuple(subject.truth for subject in subjects)
    if kind in _SIDES:
        one, other = _SIDES[kind]
        axis = 0 if kind == "left_right" else 1
        verdict = one if truths[0].center_m[axis] < truths[1].center_m[axis] else other
        where = f"{one} or {other} of" if kind == "left_right" else f"{one} or {other}"
        stem = f"Is the {names[0]} {where} the {names[1]}?"
        return _choice(kind, subjects, stem, [one, other], verdict)
    if kind in _SUPERLATIVES:
        verdict = names[winner(kind, [measure(kind, truth) for truth in truths])]
        # All objects come from left to right: in that order the leftmost would always be the first option.
        options = names if kind in NUM_SUBJECTS else [names[i] for i in rng.permutation(len(names))]
        return _choice(kind, subjects, _SUPERLATIVES[kind], options, verdict)
    if kind == "exists":
        verdict = "yes" if rng.random() < 0.5 else "no"
        asked = names[int(rng.integers(len(names)))] if verdict == "yes" else _absent_name(names, rng)
        return _choice(kind, subjects, f"Is there {_article(asked)} {asked}?", ["yes", "no"], verdict)
    if kind == "count":
        number = NumberAnswer(value=float(len(names)), unit="count")
        return Question(kind, subjects, "How many objects are there?", number, str(len(names)))
    if kind == "direction":
        hour = _true_hour(truths)
        text = f"Standing at the {names[0]} and facing away from the camera, at which clock hour is the {names[1]}?"
        return Question(kind, subjects, text, NumberAnswer(value=float(hour), unit="oclock"), f"{hour} o'clock")
    if kind == "distance":
        length = f"{math.dist(truths[0].center_m, truths[1].center_m):.1f}"
        text = f"What is the distance between the {names[0]} and the {names[1]} to 0.1 m?"
    else:
        length = f"{measure(kind, truths[0]):.2f}"
        text = f"What is the {kind} of the {names[0]} in m?"
    return Question(kind, subjects, text, NumberAnswer(value=float(length), unit="m"), f"{length} m")


def measure(kind: str, truth: ObjectTruth) -> float:
    """The quantity that a kind reads off or compares, metres."""
    match kind:
        case "left_right" | "leftmost":
            return truth.center_m[0]
        case "above_below":
            return truth.center_m[1]
        case "closer_to_camera" | "nearest" | "depth":
            return truth.center_m[2]
        case "larger":
            return max(truth.size_whl_m)
        case "height":
            return truth.size_whl_m[1]
    raise ValueError(f"kind '{kind}' measures nothing")


def winner(kind: str, values: list[float]) -> int:
    """The index of the subject that a superlative names: the largest for `larger`, else the smallest."""
    return values.index(max(values) if kind == "larger" else min(values))


def clock_hour(right: float, far: float, margin_deg: float) -> int | None:
    """The hour (1 to 12) of a direction, or None when it is not within `margin_deg` of the middle of an hour."""
    degrees = math.degrees(math.atan2(right, far))
    hours = round(degrees / 30)
    return (hours - 1) % 12 + 1 if abs(degrees - 30 * hours) <= margin_deg else None


def _is_clear(kind: str, chosen: tuple[ObjectTruth, ...]) -> bool:
    """Whether the answer about these subjects can be seen; margins grow with the distance from the camera."""
    if len(chosen) == 1:
        return True
    (ax, ay, az), (bx, by, bz) = (truth.center_m for truth in chosen)
    scale_m = (az + bz) / 2
    match kind:
        case "closer_to_camera":
            return abs(az - bz) >= 0.1 * scale_m
        case "left_right":
            return _agree(bx - ax, bx / bz - ax / az, 0.08 * scale_m)
        case "above_below":
            return _agree(by - ay, by / bz - ay / az, 0.08 * scale_m)
        case "larger":
            sizes = sorted(measure(kind, truth) for truth in chosen)
            return sizes[1] >= 1.25 * sizes[0]
        case "distance":
            return math.dist(chosen[0].center_m, chosen[1].center_m) >= 0.2 * scale_m
        case "direction":
            is_far = math.hypot(bx - ax, bz - az) >= 0.2 * scale_m
            return is_far and clock_hour(bx - ax, bz - az, _HOUR_MARGIN_DEG) is not None
    raise ValueError(f"kind '{kind}' compares nothing")


def _is_clear_of_all(kind: str, objects: tuple[ObjectTruth, ...]) -> bool:
    """Whether the one that is nearest or leftmost is so by a margin; counts and existence always are clear."""
    if kind not in _SUPERLATIVES:
        return True
    first = objects[winner(kind, [measure(kind, truth) for truth in objects])]
    pair_kind = {"nearest": "closer_to_camera", "leftmost": "left_right"}[kind]
    return all(other is first or _is_clear(pair_kind, (first, other)) for other in objects)


def _agree(metres: float, tangents: float, margin_m: float) -> bool:
    """Whether space and picture order two objects the same way, by a margin in both (0.08 of the focal length)."""
    return metres * tangents > 0 and abs(metres) >= margin_m and abs(tangents) >= 0.08


def _true_hour(pair: tuple[ObjectTruth, ...]) -> int:
    (ax, _, az), (bx, _, bz) = (truth.center_m for truth in pair)
    hour = clock_hour(bx - ax, bz - az, _HOUR_MARGIN_DEG)
    if hour is None:
        raise ValueError(f"the direction from {pair[0].name} to {pair[1].name} lies between two hours")
    return hour


def _hours_apart(one: int, other: int) -> int:
    around = (one - other) % 12
    return min(around, 12 - around)


def _absent_name(names: list[str], rng: np.random.Generator) -> str:
    """A colour and shape that is not there, though something of that colour or that shape is."""
    colour, shape = names[int(rng.integers(len(names)))].split()
    near = (
        [f"{other} {shape}" for other in COLOURS] if rng.random() < 0.5 else [f"{colour} {other}" for other in SHAPES]
    )
    absent = [name for name in near if name not in names]
    return absent[int(rng.integers(len(absent)))]


def _article(name: str) -> str:
    return "an" if name[0] in "aeiou" else "a"


def _choice(kind: str, subjects: tuple[Subject, ...], stem: str, options: list[str], verdict: str) -> Question:
    """A multiple choice; each option is written before its letter: `left (A) or right (B)`."""
    letters = [chr(ord("A") + i) for i in range(len(options))]
    *first, last = (f"{option} ({letter})" for letter, option in zip(letters, options, strict=True))
    answer = ChoiceAnswer(letter=letters[options.index(verdict)], num_options=len(options))
    return Question(kind, subjects, f"{stem} {', '.join(first)} or {last}", answer, verdict)
