"""The project's own JSONL: read, imported, refused by name."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageOps

from corpora.importing.import_data import ImportConfig, import_data
from corpora.importing.splits import split_of
from corpora.readers.native import NativeReader
from spatial.dataset import BadDataError, Reject
from spatial.images import ImageStore
from spatial.sample import SpatialSample
from tests.corpora.fuzz import FEW, check_items, spoil
from tests.samples import load_samples

Row = dict[str, Any]


def lay_out(root: Path, num: int = 1, num_images: int = 1) -> tuple[Path, list[Row]]:
    """A file's place, and rows about images of a store beside it."""
    store = ImageStore(root / "images")
    refs = [store.put(np.full((8, 8, 3), level, np.uint8)).model_dump() for level in range(num_images)]
    depth = store.put_depth(np.full((8, 8), 1.5)).model_dump()
    rows = [
        {
            "sample_id": f"s{index}", "domain": "test", "kind": "depth", "paths": ["lor", "dtr"],
            "images": [refs[index % num_images]], "question": "How deep is the red point?", "depths": [depth],
            "answer": {"type": "number", "value": 1.5, "unit": "m"},
            "regions": [{"mark": "red", "box_xyxy_px": [1, 1, 4, 4], "center_m": [0, 0, 1.5]}],
            "chains": {"lor": "<think>z 1.50.</think><answer>1.50 m</answer>"},
        }
        for index in range(num)
    ]  # fmt: skip
    return root / "rows.jsonl", rows


def write(file: Path, rows: list[Row]) -> NativeReader:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    return NativeReader(file=file, images=file.parent / "images")


def read_all(config: NativeReader, store: Path) -> list[SpatialSample | Reject]:
    return check_items(config.read(ImageStore(store)), store)


def test_a_file_is_read_and_its_images_come_along(tmp_path: Path) -> None:
    file, rows = lay_out(tmp_path, num=3, num_images=2)
    found = read_all(write(file, rows), tmp_path / "other")
    assert found == list(load_samples(file, ImageStore(tmp_path / "images")).samples)
    stored = {path.stem for path in (tmp_path / "other").rglob("*.png")}
    assert stored == {path.stem for path in (tmp_path / "images").rglob("*.png")}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"version": 2}, "version"),
        ({"images": [{"sha256": "0" * 64, "width_px": 8, "height_px": 8}]}, "images.0.sha256"),
        ({"images": [{"sha256": "../../etc/passwd", "width_px": 8, "height_px": 8}]}, "images.0.sha256"),
        ({"regions": [{"mark": "red", "box_xyxy_px": [1, 1, 40, 4]}]}, "sample"),
        ({"regions": [{"mark": "red", "box_xyxy_px": [1, 1, 4, 4], "rle_counts": [10**9, 10**9]}]}, "sample"),
        (
            {"regions": [{"mark": "red", "box_xyxy_px": [1, 1, 4, 4], "center_m": [0, 0, float("nan")]}]},
            "regions.0.center_m.2",
        ),
        ({"answer": {"type": "number", "value": 1e400, "unit": "m"}}, ""),
        ({"qestion": "?"}, "qestion"),
    ],
)
def test_a_bad_line_is_a_named_reject(tmp_path: Path, changes: Row, field: str) -> None:
    file, (row,) = lay_out(tmp_path)
    (found,) = read_all(write(file, [row | changes]), tmp_path / "other")
    assert isinstance(found, Reject)
    assert found.line == 1
    assert found.field.startswith(field)


def test_an_image_that_was_altered_does_not_come_along(tmp_path: Path) -> None:
    file, (row,) = lay_out(tmp_path)
    ImageStore(tmp_path / "images").put(np.full((8, 8, 3), 99, np.uint8))
    sample = SpatialSample.model_validate_json(json.dumps(row))
    other = ImageStore(tmp_path / "images").put(np.full((8, 8, 3), 77, np.uint8))
    target = ImageStore(tmp_path / "images").path(sample.images[0])
    target.write_bytes(ImageStore(tmp_path / "images").path(other).read_bytes())
    (found,) = write(file, [row]).read(ImageStore(tmp_path / "other"))
    assert isinstance(found, Reject)
    assert "altered" in found.advice


def test_an_image_that_is_cut_short_is_a_reject_where_it_lies(tmp_path: Path) -> None:
    file, (row,) = lay_out(tmp_path)
    store = ImageStore(tmp_path / "images")
    image = store.path(SpatialSample.model_validate_json(json.dumps(row)).images[0])
    image.write_bytes(image.read_bytes()[:-1])
    (found,) = read_all(write(file, [row]), store.root)
    assert isinstance(found, Reject)
    assert found.field == "images.0.sha256"
    assert "cut short" in found.advice


@pytest.mark.parametrize("store", ["images", "other"])
def test_an_image_of_another_size_than_its_sample_says_is_a_reject(tmp_path: Path, store: str) -> None:
    file, (row,) = lay_out(tmp_path)
    row["images"] = [row["images"][0] | {"width_px": 640}]
    row["depths"] = []
    (found,) = read_all(write(file, [row]), tmp_path / store)
    assert isinstance(found, Reject)
    assert (found.field, found.value) == ("images.0.width_px", "'640x8 px'")
    assert "has 8x8 px" in found.advice


def by_file(root: Path, num: int = 1) -> tuple[Path, list[Row]]:
    """As `lay_out`, with images named by their files beside the rows; the first lies on its side."""
    file, rows = lay_out(root, num)
    for index, row in enumerate(rows):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = 6 if index == 0 else 1
        picture = Image.fromarray(np.random.default_rng(index).integers(0, 255, (8, 16, 3), dtype=np.uint8))
        picture.save(root / f"img{index:02}.jpg", exif=exif)
        row["images"] = [{"file": f"img{index:02}.jpg"}]
        row["depths"] = []
    return file, rows


def test_images_are_named_by_their_files_and_hashed_by_the_import(tmp_path: Path) -> None:
    file, rows = by_file(tmp_path, num=2)
    Image.fromarray(np.full((8, 16), 1500, np.uint16)).save(tmp_path / "depth.png")
    rows[1]["depths"] = [{"file": "depth.png", "metres_per_level": 0.002}]
    write(file, rows)
    store = ImageStore(tmp_path / "other")
    first, second = read_all(NativeReader(file=file), store.root)
    assert isinstance(first, SpatialSample)
    assert isinstance(second, SpatialSample)
    # Upright, as a viewer shows it: boxes count these pixels.
    assert (first.images[0].width_px, first.images[0].height_px) == (8, 16)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "img00.jpg")))
    np.testing.assert_array_equal(np.asarray(store.open(first.images[0])), upright)
    assert store.path(second.images[0]).read_bytes() == (tmp_path / "img01.jpg").read_bytes()
    assert second.depths[0] is not None
    assert (store.open_depth(second.depths[0]) == 3.0).all()


@pytest.mark.parametrize(
    ("images", "field", "advice"),
    [
        ([{"file": "lost.png"}], "images.0.file", "there is no file"),
        ([{"file": "../rows.jsonl"}], "images.0.file", "leads out of"),
        ([{"file": "rows.jsonl"}], "images.0.file", "no readable PNG, JPEG or WebP image"),
        ([{"file": "img00.jpg"}, {"file": "long.png"}], "images.1.file", "more than 200 times the other"),
        (
            [{"file": "img00.jpg", "width_px": 16, "height_px": 8}],
            "images.0.width_px",
            "has 8x16 px; say so, and correct its boxes. Boxes and points count the pixels of the upright image",
        ),
        ([{"file": "img00.jpg", "height_px": 9}], "images.0.height_px", "has 8x16 px"),
        ([{"file": "img00.jpg", "width": 8}], "images.0.width", "unknown beside a file; known: width_px, height_px"),
        ([{"fil": "img00.jpg"}], "images.0", 'give {"file": "img00.png"}'),
        (["img00.jpg"], "images.0", 'give {"file": "img00.png"}'),
        ({"file": "img00.jpg"}, "images", "give a list"),
        ([], "images", "at least 1 item"),
    ],
)
def test_an_image_file_that_cannot_be_used_is_a_named_reject(
    tmp_path: Path, images: Any, field: str, advice: str
) -> None:
    file, rows = by_file(tmp_path)
    Image.new("RGB", (402, 2)).save(tmp_path / "long.png")
    write(file, [rows[0] | {"images": images}])
    (found,) = read_all(NativeReader(file=file), tmp_path / "other")
    assert isinstance(found, Reject)
    assert found.field == field
    assert advice in found.advice


def test_a_stored_image_on_its_side_is_turned_by_an_import_and_named_by_a_check(tmp_path: Path) -> None:
    file, rows = by_file(tmp_path)
    data = (tmp_path / "img00.jpg").read_bytes()
    name = hashlib.sha256(data).hexdigest()
    (tmp_path / "images" / name[:2]).mkdir()
    (tmp_path / "images" / name[:2] / f"{name}.jpg").write_bytes(data)
    said = {"sha256": name, "width_px": 8, "height_px": 16}
    config = write(file, [rows[0] | {"images": [said]}])
    other = ImageStore(tmp_path / "other")
    (sample,) = read_all(config, other.root)
    assert isinstance(sample, SpatialSample)
    assert sample.images[0].sha256 != name
    assert other.open(sample.images[0]).size == (8, 16)
    (found,) = config.read(other, as_stored=True)
    assert isinstance(found, Reject)
    assert "lies on its side" in found.advice
    # Boxes on the pixels as they lie in the file would be elsewhere in the upright image.
    (found,) = read_all(write(file, [rows[0] | {"images": [said | {"width_px": 16, "height_px": 8}]}]), other.root)
    assert isinstance(found, Reject)
    assert "has 8x16 px" in found.advice


def test_a_repeat_is_named_by_its_line_however_many_are_empty(tmp_path: Path) -> None:
    file, (row,) = lay_out(tmp_path)
    config = write(file, [row])
    file.write_text(f"\n\n{json.dumps(row)}\n\n{json.dumps(row)}\n")
    first, second = read_all(config, tmp_path / "images")
    assert isinstance(first, SpatialSample)
    assert isinstance(second, Reject)
    assert (second.line, second.field) == (5, "sample_id")


@FEW
@given(data=st.data())
def test_a_spoilt_line_is_a_sample_or_a_reject(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    file, rows = lay_out(tmp_path_factory.mktemp("spoilt"), num=2)
    config = write(file, [spoil(rows[0], data.draw), rows[1]])
    found = read_all(config, file.parent / "images")
    assert len(found) == 2


@FEW
@given(data=st.data())
def test_a_spoilt_line_with_files_is_a_sample_or_a_reject(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    file, rows = by_file(tmp_path_factory.mktemp("spoilt"), num=2)
    write(file, [spoil(rows[0], data.draw), rows[1]])
    found = read_all(NativeReader(file=file), file.parent / "other")
    assert len(found) == 2


@FEW
@given(cut=st.integers(2, 300))
def test_a_file_that_breaks_off_costs_its_last_line(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    file, rows = lay_out(tmp_path_factory.mktemp("cut"), num=2)
    config = write(file, rows)
    file.write_bytes(file.read_bytes()[:-cut])
    first, second = read_all(config, file.parent / "images")
    assert isinstance(first, SpatialSample)
    assert isinstance(second, Reject)


def importing(root: Path, num: int, bad: int = 0, **changes: Any) -> ImportConfig:
    file, rows = lay_out(root, num=num + bad, num_images=60)
    for row in rows[num:]:
        row["question"] = ""
    shares = {"validation_share": 0.2, "test_share": 0.2}
    return ImportConfig(out=root / "out", readers=(write(file, rows),), **{**shares, **changes})


def test_an_import_is_what_training_reads_and_no_image_is_in_two_splits(tmp_path: Path) -> None:
    config = importing(tmp_path, num=300, bad=3)
    report = import_data(config)
    store = ImageStore(config.out / "images")
    loaded = {split: load_samples(config.out / f"{split}.jsonl", store).samples for split in report.splits}
    assert {split: len(samples) for split, samples in loaded.items()} == report.splits
    assert sum(report.splits.values()) == 300
    ((cause, number),) = report.rejects.items()
    assert cause.startswith("question: String should have at least … character")
    assert number == 3
    assert report.examples[cause][0].startswith(f"{tmp_path / 'rows.jsonl'}:301: question")
    shown = [{sample.images[0].sha256 for sample in samples} for samples in loaded.values()]
    assert sum(map(len, shown)) == len(set.union(*shown)) == 60
    assert all(split_of(sample, 0.2, 0.2) == split for split, samples in loaded.items() for sample in samples)
    before = {path.name: path.read_bytes() for path in config.out.glob("*.json*")}
    import_data(config)
    assert {path.name: path.read_bytes() for path in config.out.glob("*.json*")} == before


@pytest.mark.parametrize("name", ["train.jsonl", "test.jsonl", "incomplete/notes.txt"])
def test_an_import_replaces_nothing_that_no_import_has_written(tmp_path: Path, name: str) -> None:
    config = importing(tmp_path, num=10)
    file = config.out / name
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    with pytest.raises(BadDataError, match=rf"out holds files that no import has written \(.*{name}\)"):
        import_data(config)
    assert file.read_text() == "mine"


def test_an_import_replaces_what_an_import_wrote_but_not_what_was_changed_since(tmp_path: Path) -> None:
    config = importing(tmp_path, num=10)
    first = import_data(config)
    assert import_data(config) == first
    file = config.out / "validation.jsonl"
    mine = file.read_text() + "my own line\n"
    file.write_text(mine)
    with pytest.raises(BadDataError, match=r"validation\.jsonl: changed since the import that wrote it.*out="):
        import_data(config)
    assert file.read_text() == mine
    file.unlink()
    assert import_data(config) == first


def test_an_id_of_an_earlier_set_is_a_reject(tmp_path: Path) -> None:
    readers = tuple(write(*lay_out(tmp_path / name, num=num)) for name, num in (("a", 20), ("b", 21)))
    config = ImportConfig(out=tmp_path / "out", readers=readers, validation_share=0, test_share=0, max_bad_share=0.5)
    report = import_data(config)
    assert (report.splits, report.rejects) == (
        {"train": 21},
        {"sample_id: a sample of an earlier set has this id; give each its own": 20},
    )
    loaded = load_samples(config.out / "train.jsonl", ImageStore(config.out / "images"), max_bad_share=0)
    assert [sample.sample_id for sample in loaded.samples] == [f"s{index}" for index in range(21)]


def test_too_many_bad_rows_stop_an_import_and_what_was_there_stays(tmp_path: Path) -> None:
    config = importing(tmp_path, num=60)
    import_data(config)
    before = (config.out / "train.jsonl").read_bytes()
    worse = importing(tmp_path, num=60, bad=10)
    with pytest.raises(BadDataError, match=r"10 of 70 rows are bad.*\n  10 × question"):
        import_data(worse)
    assert (config.out / "train.jsonl").read_bytes() == before


def import_images(root: Path, num_images: int, num: int, **shares: float) -> dict[str, list[str]]:
    """First images by split, after an import."""
    file, rows = lay_out(root, num=num, num_images=num_images)
    import_data(ImportConfig(out=root / "out", readers=(write(file, rows),), **shares))
    splits = {}
    for split in ("train", "validation", "test"):
        lines = (root / "out" / f"{split}.jsonl").read_text().splitlines()
        splits[split] = [json.loads(line)["images"][0]["sha256"] for line in lines]
    return splits


@pytest.mark.parametrize("num_images", range(3, 12))
def test_no_split_that_is_wanted_is_empty_and_no_image_is_in_two(tmp_path: Path, num_images: int) -> None:
    splits = import_images(tmp_path, num_images, num=2 * num_images, validation_share=0.01, test_share=0.01)
    assert sum(map(len, splits.values())) == 2 * num_images
    assert [len(set(splits[split])) for split in ("validation", "test")] == [1, 1]
    assert not set(splits["train"]) & set(splits["validation"])
    assert not set(splits["train"]) & set(splits["test"])
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["splits"] == {split: len(images) for split, images in splits.items()}
    assert report["notes"] == []


def test_images_that_were_turned_are_said(tmp_path: Path) -> None:
    file, rows = by_file(tmp_path, num=4)
    write(file, rows)
    report = import_data(ImportConfig(out=tmp_path / "out", readers=(NativeReader(file=file),)))
    assert sum(report.splits.values()) == 4
    assert report.notes[0].startswith("1 image files lay on their side (EXIF orientation) and were stored upright")


def test_a_share_that_takes_every_image_leaves_one_to_train_on(tmp_path: Path) -> None:
    splits = import_images(tmp_path, num_images=3, num=3, validation_share=0.0, test_share=0.999)
    assert {split: len(images) for split, images in splits.items()} == {"train": 1, "validation": 0, "test": 2}


def test_a_split_that_cannot_have_a_sample_is_said(tmp_path: Path) -> None:
    splits = import_images(tmp_path, num_images=1, num=4, validation_share=0.1, test_share=0.0)
    assert len(splits["train"]) == 4
    validation, test = json.loads((tmp_path / "out" / "report.json").read_text())["notes"]
    assert "validation.jsonl (all samples have the same first image), and a run needs one in each file" in validation
    assert "test.jsonl (test_share=0), and a run needs one in each file: set test_share above 0" in test


def test_a_file_without_a_usable_row_is_said(tmp_path: Path) -> None:
    file, (row,) = lay_out(tmp_path)
    for rows, told in (
        ([], r"rows\.jsonl: there is no row in it"),
        ([row | {"question": ""}], "none of 1 rows.*question"),
    ):
        with pytest.raises(BadDataError, match=told):
            import_data(ImportConfig(out=tmp_path / "out", readers=(write(file, rows),), max_bad_share=1))
