"""Which objects a question is asked about. Answers are balanced here and in `Kind.ask`: subjects come in random order,
and a wanted number or hour is drawn before the objects."""

from collections import Counter
from itertools import permutations
from typing import TYPE_CHECKING

from spatial.questions.kind import Kind, Named, RingKind, Together
from spatial.questions.scene import EVERY_NAME, KnownObject, KnownScene
from spatial.questions.voices import Style

if TYPE_CHECKING:
    from numpy.random import Generator


def choose_subjects(kind: Kind, scene: KnownScene, style: Style, rng: "Generator") -> tuple[KnownObject, ...] | None:
    """Objects, in random order, that the question can be asked about; None when no choice makes it clear.

    It looks at every choice of named subjects, which suits scenes of a few objects.
    """
    subjects = kind.phrasing(style.voice.name).subjects
    if not isinstance(subjects, Named):
        things = choose_all(subjects, scene, len(scene.objects), rng)
        return things if things is not None and kind.is_clear(things, scene, style) else None
    choices = [
        chosen
        for number in range(subjects.least, subjects.most + 1)
        for chosen in permutations(scene.objects, number)
        if kind.is_clear(chosen, scene, style)
    ]
    if not choices:
        return None
    if isinstance(kind, RingKind):
        wanted, order = int(rng.integers(kind.num_on_ring)), rng.random(len(choices))
        ranked = sorted(range(len(choices)), key=lambda i: (kind.ring_distance(choices[i], wanted, style), order[i]))
        return choices[ranked[0]]
    return choices[int(rng.integers(len(choices)))]


def choose_all(
    subjects: Together, scene: KnownScene, max_count: int, rng: "Generator"
) -> tuple[KnownObject, ...] | None:
    """All objects in view, or all of a category that has at most `max_count`; None when not all of them are known."""
    match subjects:
        case Together.ALL_IN_VIEW:
            return None if scene.uncountable else tuple(scene.objects)
        case Together.ONE_CATEGORY:
            return _choose_category(scene, max_count, rng)


def _choose_category(scene: KnownScene, max_count: int, rng: "Generator") -> tuple[KnownObject, ...] | None:
    """All objects of a category that can be counted, from left to right; None when there is no such category."""
    counts = Counter(thing.name for thing in scene.objects if not scene.uncountable & {thing.name, *EVERY_NAME})
    names = sorted(name for name, number in counts.items() if number <= max_count)
    if not names:
        return None
    # A wanted number first: else most answers would be 1.
    wanted, order = int(rng.integers(1, max_count + 1)), rng.random(len(names))
    name = names[min(range(len(names)), key=lambda i: (abs(counts[names[i]] - wanted), order[i]))]
    found = (thing for thing in scene.objects if thing.name == name)
    return tuple(sorted(found, key=lambda thing: thing.center_m[0] / thing.center_m[2]))
