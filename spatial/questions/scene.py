"""What a question may ask about: a scene whose objects have names, places and sizes. Camera frame, metres."""

from collections.abc import Sequence
from typing import Protocol

from spatial.sample import Vector3

EVERY_NAME = frozenset({"*"})
"""As `KnownScene.uncountable`: the category of some object in view is not known."""


class KnownObject(Protocol):
    """An upright object in front of the camera."""

    @property
    def name(self) -> str:
        """What a question can call it ("red cube"). Objects of annotated images may share a name."""

    @property
    def category(self) -> str:
        """What it is ("cube"), as the detect block says it."""

    @property
    def box_xyxy_px(self) -> tuple[float, float, float, float]:
        """2D box (left, top, right, bottom)."""

    @property
    def center_m(self) -> Vector3:
        """Middle of its 3D box."""

    @property
    def size_m(self) -> Vector3:
        """Width, height, length of its 3D box."""

    @property
    def yaw_deg(self) -> float:
        """Turn about the vertical: 0: its width lies along the camera's x axis; 90: it points away from the camera."""


class KnownScene(Protocol):
    """An image and the objects that questions can be about."""

    @property
    def objects(self) -> Sequence[KnownObject]:
        """In the order in which questions about all of them list them."""

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height of the image."""

    @property
    def uncountable(self) -> frozenset[str]:
        """Names that more objects in view bear than `objects` holds; "*" (`EVERY_NAME`): any name."""

    @property
    def vocabulary(self) -> tuple[Sequence[str], ...]:
        """The words that names are made of, by their place in the name (colours, shapes); empty: not known."""
