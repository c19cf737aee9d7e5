"""A few frames of a video, evenly spaced: from a folder of images, or decoded."""

import io
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image

from corpora.formats.image_files import put_image
from corpora.rows import RowError
from spatial.image_files import SUFFIXES
from spatial.images import ImageStore
from spatial.sample import ImageRef

_SUFFIXES = (*SUFFIXES.values(), ".jpeg")
_JPEG_QUALITY = 95


def scene_frames(images: ImageStore, folder: Path, num_frames: int, dataset: str, scene: str) -> tuple[ImageRef, ...]:
    """Frames from `frames/DATASET/SCENE/` if it exists, sorted by the numbers in their names; otherwise from
    `DATASET/SCENE.mp4`.

    Raises:
        RowError: there are neither frames nor a video, or they cannot be read.
    """
    found = [file for file in (folder / "frames" / dataset / scene).glob("*") if file.suffix.lower() in _SUFFIXES]
    if found:
        files = sorted(found, key=_numbers_in_name)
        chosen = (files[place] for place in evenly_spaced(len(files), num_frames))
        return tuple(put_image(images, file.read_bytes(), "scene_name", file.name) for file in chosen)
    video = folder / dataset / f"{scene}.mp4"
    if not video.is_file():
        frames = folder / "frames" / dataset / scene
        raise RowError("scene_name", scene, f"there is no video {video}, and there are no images in {frames}")
    return tuple(put_image(images, data, "scene_name", video.name) for data in decode(video, num_frames))


def evenly_spaced(num_there: int, num_wanted: int) -> list[int]:
    """Indices of at most `num_wanted` of `num_there`, including the first and the last: (10, 4) gives 0, 3, 6, 9.

    Source: VSI-Bench's script chooses frames this way (numpy's linspace, rounded down).
    """
    number = min(num_there, num_wanted)
    return [place * (num_there - 1) // max(1, number - 1) for place in range(number)]


def decode(video: Path, num_frames: int) -> list[bytes]:
    """Evenly spaced frames of a video as JPEG files.

    Raises:
        RowError: it cannot be opened, or one of the frames cannot be decoded.
    """
    import cv2

    capture = cv2.VideoCapture(str(video))
    try:
        declared = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        taken = _take(capture, evenly_spaced(max(0, declared), num_frames))
        if taken is None:  # the declared number can be a guess
            taken = _take(capture, evenly_spaced(_count(capture), num_frames))
    finally:
        capture.release()
    if not taken:
        raise RowError("scene_name", video.name, f"cannot be decoded ({declared} frames declared)")
    return taken


def _take(capture: Any, places: Iterable[int]) -> list[bytes] | None:
    """The frames at these indices; None: one of them cannot be read."""
    import cv2

    taken = []
    for place in places:
        capture.set(cv2.CAP_PROP_POS_FRAMES, place)
        is_read, pixels_bgr = capture.read()
        if not is_read:
            return None
        buffer = io.BytesIO()
        Image.fromarray(cv2.cvtColor(pixels_bgr, cv2.COLOR_BGR2RGB)).save(buffer, "JPEG", quality=_JPEG_QUALITY)
        taken.append(buffer.getvalue())
    return taken


def _count(capture: Any) -> int:
    import cv2

    capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
    number = 0
    while capture.grab():
        number += 1
    return number


def _numbers_in_name(file: Path) -> tuple[list[int], str]:
    """A sort key that puts "frame_10.jpg" after "frame_9.jpg"."""
    return [int(number) for number in re.findall(r"[0-9]+", file.stem)], file.name
