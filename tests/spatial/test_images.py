"""The image store: files as they are, by hash; decoded ones kept up to a bound."""

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageFile, ImageOps

from spatial.images import ImageStore
from spatial.sample import BadImageError, ImageRef


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


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "empty"),
        (b"GIF89a", "GIF"),
        (encoded("BMP"), "BMP"),
        (encoded("TIFF"), "TIFF"),
        (b" <html>", "HTML"),
        (b"abc", "another format"),
    ],
)
def test_a_file_of_another_kind_is_refused_by_name(tmp_path: Path, data: bytes, kind: str) -> None:
    with pytest.raises(BadImageError, match=kind) as raised:
        ImageStore(tmp_path).put_encoded(data)
    assert "BytesIO" not in str(raised.value)


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


GRADIENT = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)


def turned(format_: str, orientation: int, pixels: np.ndarray = GRADIENT) -> bytes:
    """The file of an image that its EXIF block says to turn."""
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(pixels).save(buffer, format=format_, exif=exif)
    return buffer.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP"])
def test_an_image_is_stored_as_viewers_show_it(tmp_path: Path, format_: str, orientation: int) -> None:
    data = turned(format_, orientation)
    shown = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    store = ImageStore(tmp_path)
    ref = store.put_encoded(data)
    assert (ref.height_px, ref.width_px) == shown.shape[:2] == ((8, 6) if orientation >= 5 else (6, 8))
    np.testing.assert_array_equal(np.asarray(store.open(ref)), shown)
    # Whoever reads the file itself need not turn it either, and turning what was read changes nothing.
    with Image.open(store.path(ref)) as file:
        assert file.getexif().get(ExifTags.Base.Orientation, 1) == 1
    np.testing.assert_array_equal(np.asarray(ImageOps.exif_transpose(store.open(ref))), shown)
    assert store.put_encoded(data) == ref
    assert len(list(tmp_path.rglob("*.*"))) == 1


def test_an_orientation_that_only_xmp_tells_or_that_stands_behind_the_pixels_counts(tmp_path: Path) -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    buffer = io.BytesIO()
    Image.fromarray(GRADIENT).save(buffer, format="JPEG", xmp=xmp)
    assert ImageStore(tmp_path).put_encoded(buffer.getvalue()).width_px == 6
    png = turned("PNG", 6)
    start = png.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(png[start : start + 4], "big")
    last = png.index(b"IEND") - 4
    moved = png[:start] + png[end:last] + png[start:end] + png[last:]
    assert ImageStore(tmp_path).put_encoded(moved) == ImageStore(tmp_path).put_encoded(png)


@pytest.mark.parametrize("orientation", [0, 9, 700])
def test_an_orientation_that_does_not_exist_and_a_broken_block_are_passed_over(
    tmp_path: Path, orientation: int
) -> None:
    data = turned("JPEG", orientation)
    assert ImageStore(tmp_path).put_encoded(data).width_px == 8
    # The block's byte order is a word that no reader knows.
    assert ImageStore(tmp_path).put_encoded(data.replace(b"Exif\0\0II", b"Exif\0\0XX")).width_px == 8


def test_a_phones_jpeg_of_two_pictures_is_its_first(tmp_path: Path) -> None:
    first, second = (Image.fromarray(np.full((6, 8, 3), level, np.uint8)) for level in (40, 200))
    buffer = io.BytesIO()
    first.save(buffer, format="MPO", save_all=True, append_images=[second])
    store = ImageStore(tmp_path)
    ref = store.put_encoded(buffer.getvalue())
    assert store.path(ref).suffix == ".jpg"
    assert store.path(ref).read_bytes() == buffer.getvalue()
    assert np.asarray(store.open(ref)).mean() == pytest.approx(40, abs=2)


@pytest.mark.parametrize("brand", [b"heic", b"mif1", b"avif"])
def test_a_heic_photo_is_refused_with_what_to_do(tmp_path: Path, brand: bytes) -> None:
    with pytest.raises(BadImageError, match=r"HEIC or AVIF; convert it first.*magick photo\.heic photo\.jpg"):
        ImageStore(tmp_path).put_encoded(b"\0\0\0\x18ftyp" + brand + bytes(40))


def test_transparent_parts_are_white_as_a_server_shows_them(tmp_path: Path) -> None:
    pixels = np.zeros((6, 8, 4), np.uint8)
    pixels[:, 4:] = 255, 0, 0, 255
    grey, buffer, grey_buffer = Image.new("LA", (8, 6), (0, 0)), io.BytesIO(), io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    grey.save(grey_buffer, format="PNG")
    store = ImageStore(tmp_path)
    shown = np.asarray(store.open(store.put_encoded(buffer.getvalue())))
    assert (shown[:, :4] == 255).all()
    assert (shown[:, 4:] == (255, 0, 0)).all()
    assert (np.asarray(store.open(store.put_encoded(grey_buffer.getvalue()))) == 255).all()


def test_a_depth_map_is_no_picture_and_a_picture_no_depth_map(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    buffer = io.BytesIO()
    Image.fromarray(np.full((6, 8), 1500, np.uint16)).save(buffer, format="PNG")
    with pytest.raises(BadImageError, match="more than 8 bits: a depth map"):
        store.put_encoded(buffer.getvalue())
    depth = store.put_depth_file(buffer.getvalue())
    assert (store.open_depth(depth) == 1.5).all()
    with pytest.raises(BadImageError, match="a PNG of one 16-bit channel, not JPEG RGB"):
        store.put_depth_file(encoded("JPEG"))


@pytest.mark.parametrize(
    ("width", "height", "fits"), [(200, 1, True), (201, 1, False), (3, 600, True), (3, 601, False)]
)
def test_an_image_that_no_processor_takes_is_refused(tmp_path: Path, width: int, height: int, fits: bool) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height)).save(buffer, format="PNG")
    if fits:
        assert ImageStore(tmp_path).put_encoded(buffer.getvalue()).width_px == width
    else:
        with pytest.raises(BadImageError, match=f"{width}x{height} px: one side is more than 200 times"):
            ImageStore(tmp_path).put_encoded(buffer.getvalue())


def test_a_stored_file_that_changed_is_named_when_it_is_opened(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    ref = store.put_encoded(encoded("JPEG"))
    other = ImageRef(sha256=ref.sha256, width_px=6, height_px=8)
    with pytest.raises(BadImageError, match=rf"{ref.sha256}\.jpg has 8x6 px, but its sample says 6x8; correct"):
        store.open(other)
    store.path(ref).write_bytes(encoded("JPEG")[:-40])
    with pytest.raises(BadImageError, match=rf"{ref.sha256}\.jpg: no readable PNG, JPEG or WebP image: .*[Tt]runcated"):
        store.open(ref)
    store.path(ref).write_bytes(turned("JPEG", 6))
    with pytest.raises(BadImageError, match=rf"{ref.sha256}\.jpg: it is not upright \(EXIF orientation 6\); import"):
        store.open(ref)
    store.path(ref).unlink()
    with pytest.raises(FileNotFoundError, match=rf"put .*{ref.sha256}\.png in place"):
        store.open(ref)
