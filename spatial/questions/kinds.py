"""The kinds of question. A new one is an entry here: the configs take their lists of kinds from this table.

With a brief phrasing the procedural scenes ask it, with a full one the builder asks it about annotated images. A kind
that fits none of the classes (`Side`, `Superlative`, `Length`, …) gets one of its own: a `ReasonedKind` with `ask` and
`think`, or a `Kind` with `ask` alone, which is answered at once.
"""

from spatial.questions.amounts import Direction, Distance, Length
from spatial.questions.comparisons import Side, Superlative, is_closer, is_larger, is_left
from spatial.questions.counting import Count, Exists
from spatial.questions.kind import ONE, THREE_OR_FOUR, TWO, Kind, Named, Phrasing, Together
from spatial.questions.measures import DEPTH, HEIGHT, LONGEST_SIDE, WIDTH, X, Y
from spatial.questions.perception import AllPlaces, FlatBox, Name, NameAtPlace, Place, SolidBox
from spatial.questions.voices import VoiceName

_ALL, _CATEGORY = Together.ALL_IN_VIEW, Together.ONE_CATEGORY
_CLOCK = "Standing at the {0} and facing away from the camera, at which clock hour is the {1}?"

_TABLE: tuple[Kind, ...] = (
    Count(
        "count",
        brief=Phrasing("How many objects are there?", _ALL),
        full=Phrasing('How many objects of the category "{0}" are in the picture?', _CATEGORY),
    ),
    Exists("exists", brief=Phrasing("Is there {0}?", _ALL)),
    Superlative(
        "nearest",
        DEPTH,
        "nearest",
        is_closer,
        brief=Phrasing("Which is nearest to the camera?", _ALL),
        full=Phrasing("Which is nearest to the camera?", THREE_OR_FOUR),
    ),
    Superlative(
        "leftmost",
        X,
        "leftmost",
        is_left,
        brief=Phrasing("Which is leftmost?", _ALL),
    ),
    Superlative(
        "closer_to_camera",
        DEPTH,
        "closer",
        is_closer,
        brief=Phrasing("Which is closer to the camera?", TWO),
        full=Phrasing("Which is closer to the camera?", TWO),
    ),
    Side(
        "left_right",
        X,
        ("left", "right"),
        brief=Phrasing("Is the {0} left or right of the {1}?", TWO),
        full=Phrasing("Is the {0} left or right of the {1}?", TWO),
    ),
    Side(
        "above_below",
        Y,
        ("above", "below"),
        brief=Phrasing("Is the {0} above or below the {1}?", TWO),
        full=Phrasing("Is the {0} above or below the {1}?", TWO),
    ),
    Superlative(
        "larger",
        LONGEST_SIDE,
        "larger",
        is_larger,
        is_most=True,
        brief=Phrasing("Which is larger?", TWO),
        full=Phrasing("Which object is larger?", TWO),
    ),
    Length(
        "depth",
        DEPTH,
        brief=Phrasing("What is the depth of the {0} in m?", ONE),
        full=Phrasing("What is the depth of the {0}, along the camera's viewing direction, in m?", ONE),
    ),
    Distance(
        "distance",
        brief=Phrasing("What is the distance between the {0} and the {1} to 0.1 m?", TWO),
        full=Phrasing("What is the distance between the centres of the {0} and the {1} in m?", TWO),
    ),
    Direction("direction", brief=Phrasing(_CLOCK, TWO), full=Phrasing(_CLOCK, TWO)),
    Length(
        "height",
        HEIGHT,
        brief=Phrasing("What is the height of the {0} in m?", ONE),
        full=Phrasing("What is the height of the object at the {0} in m?", ONE),
    ),
    Length(
        "width",
        WIDTH,
        full=Phrasing("How wide is the object at the {0}, from left to right as the camera sees it, in m?", ONE),
    ),
    AllPlaces("scene", brief=Phrasing("What is where?", _ALL)),
    Place("place", brief=Phrasing("Where is the {0}?", ONE)),
    NameAtPlace("name_at", brief=Phrasing("What is at [{0},{1}]?", ONE)),
    FlatBox("box_2d", brief=Phrasing("Which box holds the {0}?", ONE)),
    Name("region_name", brief=Phrasing("What is the {0}?", ONE, is_marked=True)),
    Place("region_center", brief=Phrasing("Where is the {0}?", ONE, is_marked=True)),
    SolidBox("region_box", brief=Phrasing("Which 3D box holds the {0}?", ONE, is_marked=True)),
)

KINDS: dict[str, Kind] = {kind.name: kind for kind in _TABLE}
"""By name, in the order in which a scene's draws take them: to reorder it would change the questions of every seed."""


def most_subjects(voice: VoiceName) -> int:
    """The largest number of objects that a question in this voice names, and so the number of marks it needs."""
    phrasings = (kind.brief if voice == "brief" else kind.full for kind in KINDS.values())
    return max(p.subjects.most for p in phrasings if p is not None and isinstance(p.subjects, Named))
