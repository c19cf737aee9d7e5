"""The image store: files as they are, by hash; decoded ones kept up to a bound."""

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from spatial.images import ImageStore


def encoded(format_: str, level: int = 9) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((6, 8, 3), level, np.uint8)).save(buffer, format=format_)
    return buffer.getvalue()


@pytest.mark.parametrize(("format_", "suffix"), [("PNG", ".png"), ("JPEG", ".jpg"), ("WEBP", ".webp")])
def test_a_file_is_stored_as_it_is_and_found_by_its_hash(tmp_path: Path, format_: str, suffix: str) -> None:
    store = ImageStore(tmp_path)
    ref = store.put_encoded(encoded(format_))
    assert (ref.width_px, ref.height_px) == (8, 6)
    assert store.path(ref).suffix == suffix
    assert store.path(ref).read_bytes() == encoded(format_)
    assert store.open(ref).size == (8, 6)


@pytest.mark.parametrize("data", [b"", b"GIF89a", encoded("PNG")[:-32], encoded("JPEG")[:40], encoded("BMP")])
def test_what_is_no_whole_image_of_these_formats_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ValueError, match="no readable"):
        ImageStore(tmp_path).put_encoded(data)
    assert list(tmp_path.rglob("*.*")) == []


def test_a_file_that_is_there_is_not_decoded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ImageStore(tmp_path).put_encoded(encoded("JPEG"))
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: pytest.fail("decoded again"))
    assert ImageStore(tmp_path).put_encoded(encoded("JPEG")) == first


def test_decoded_images_are_kept_up_to_a_bound(tmp_path: Path) -> None:
    store = ImageStore(tmp_path, cache_mib=1)
    large = [store.put(np.full((400, 400, 3), level, np.uint8)) for level in range(3)]  # 0.46 MiB each
    first = store.open(large[0])
    assert store.open(large[0]) is first
    store.open(large[1])
    store.open(large[2])  # the first has to go
    assert store.open(large[0]) is not first
    assert ImageStore(tmp_path).open(large[0]) is not ImageStore(tmp_path).open(large[0])
    assert pickle.loads(pickle.dumps(store)).open(large[0]).size == (400, 400)
