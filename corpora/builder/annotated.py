"""What a build starts from: an image, its camera, and its objects in 2D and 3D.

A source knows how many images it has and loads one by its index, so that a build can resume where it stopped. A bad
annotation becomes a reject and costs only this object; a bad image costs the image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol

import numpy as np
from pydantic import Field

from corpora.builder.config import SceneSource
from corpora.builder.report import RejectCounts
from spatial.dataset import Reject
from spatial.images import ImageStore
from spatial.sample import Camera, ImageRef, Length
from spatial.scenes.layout import draw_scene, scene_truth
from spatial.strict import StrictModel

ObjectName = Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[^<>\s]([^<>\n\r\t]*[^<>\s])?$")]
"""As a box of a detect block can hold it (`spatial.grammar`)."""


class AnnotatedObject(StrictModel):
    """An upright object in front of the camera."""

    name: ObjectName
    """Its category ("chair"); others of the image may have the same."""
    box_xyxy_px: tuple[float, float, float, float]
    """2D box (left, top, right, bottom) within the image."""
    center_m: tuple[float, float, Length]
    """Middle of its 3D box, camera frame."""
    size_m: tuple[Length, Length, Length]
    """Width, height, length of its 3D box."""
    yaw_deg: float
    """Turn about the vertical: at 0 its width lies along the camera's x axis; at 90 it points away from the camera."""

    @property
    def category(self) -> str:
        return self.name


class AnnotatedImage(StrictModel):
    """An image with the objects that can be asked about."""

    key: Annotated[str, Field(min_length=1)]
    """Unique among the images of the source."""
    domain: Annotated[str, Field(min_length=1)]
    image: ImageRef
    camera: Camera
    objects: tuple[AnnotatedObject, ...]
    uncountable: frozenset[str] = frozenset()
    """Names of which more objects are in the image than `objects` holds; "*": of any."""

    @property
    def size_px(self) -> tuple[int, int]:
        return self.image.width_px, self.image.height_px

    @property
    def vocabulary(self) -> tuple[Sequence[str], ...]:
        """Empty, since annotations do not say what is absent from the image."""
        return ()


@dataclass(frozen=True)
class LoadedImage:
    """One image of a source, or None if it cannot be used, and the rejects among its annotations."""

    image: AnnotatedImage | None
    rejects: tuple[Reject, ...] = ()


class Source(Protocol):
    """Annotated images by index. `load` is a pure function of the index."""

    fingerprint: str
    """Differs from source to source."""
    rejects: RejectCounts
    """Rejected rows that belong to no image."""

    def __len__(self) -> int: ...

    def load(self, index: int) -> LoadedImage: ...

    def close(self) -> None: ...


class SceneImages:
    """The project's own scenes. Objects are named by shape alone, since colours name the marks."""

    def __init__(self, config: SceneSource, images: ImageStore, seed: int) -> None:
        self._config, self._images, self._seed = config, images, seed
        self.fingerprint = "scenes"
        self.rejects = RejectCounts()

    def __len__(self) -> int:
        return self._config.num_images

    def load(self, index: int) -> LoadedImage:
        """Draw scene `index`.

        Raises:
            NoSceneError: the ranges of the config leave no room for a scene.
        """
        scenes = self._config.scenes
        family = scenes.families[index % len(scenes.families)]
        scene, picture = draw_scene(scenes, family, np.random.default_rng([self._seed, index]))
        objects = tuple(
            AnnotatedObject(
                name=truth.shape,
                box_xyxy_px=truth.box_xyxy_px,
                center_m=truth.center_m,
                size_m=truth.size_m,
                yaw_deg=truth.yaw_deg,
            )
            for truth in scene_truth(scene, picture).objects
        )
        image = self._images.put(picture.image_hw3)
        return LoadedImage(
            AnnotatedImage(key=f"{index}", domain=family, image=image, camera=scene.view.camera, objects=objects)
        )

    def close(self) -> None:
        """Nothing to close."""
