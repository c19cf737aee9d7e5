"""Image files that rows name, put into the store; names that lead out of the data set's folder are refused."""

import os
from functools import lru_cache
from pathlib import Path

from corpora.rows import RowError
from spatial.images import ImageStore
from spatial.sample import ImageRef


def inside(root: Path, name: str, field: str, allow_outside: bool = False) -> Path:
    """The file `name` within `root`.

    Raises:
        RowError: it leads out of `root` (absolute, `..`, or a link) and that is not allowed, or it is not a file.
    """
    if "\0" in name:
        raise RowError(field, name, "a file name cannot contain NUL")
    try:
        os.fsencode(name)
    except UnicodeEncodeError:  # half of a pair of surrogates
        raise RowError(field, name, "contains a character that no file name can contain") from None
    file = root / name
    try:
        if not allow_outside and not file.resolve().is_relative_to(root.resolve()):
            raise RowError(field, name, f"leads out of '{root}'; set allow_outside=true if it is meant")
        if not file.is_file():
            raise RowError(field, name, f"there is no file '{file}'")
    except OSError as error:  # a name too long, a loop of links
        raise RowError(field, name, f"cannot be looked up: {error}") from error
    return file


class ImageImporter:
    """Puts a data set's image files into the store, and reads each file once."""

    def __init__(self, images: ImageStore, root: Path, allow_outside: bool = False) -> None:
        self._images, self._root, self._allow_outside = images, root, allow_outside
        self._stored = lru_cache(maxsize=10_000)(self._store)

    def put(self, name: str, field: str = "image") -> ImageRef:
        """The image in the file `name`.

        Raises:
            RowError: there is no such file in the data set's folder, or it is not an image.
        """
        return self._stored(inside(self._root, name, field, self._allow_outside), name, field)

    def _store(self, file: Path, name: str, field: str) -> ImageRef:
        return put_image(self._images, file.read_bytes(), field, name)


def put_image(images: ImageStore, data: bytes, field: str, name: str) -> ImageRef:
    """Store the bytes of an image file.

    Raises:
        RowError: they cannot be read as an image.
    """
    try:
        return images.put_encoded(data)
    except ValueError as error:
        raise RowError(field, name, str(error)) from error
