"""SPAR-7M's and SR-REAL's rows, written here in their layout, and read."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from corpora.readers.spar import SparReader
from corpora.readers.sr_real import SrRealReader
from spatial.dataset import Reject
from spatial.images import ImageStore
from spatial.sample import SpatialSample
from tests.corpora.fuzz import check_items

Row = dict[str, Any]


def turns(question: str, answer: str) -> list[dict[str, str]]:
    return [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]


def a_row(**changes: Any) -> Row:
    """Two images of 200 × 100 pixels, a point on each."""
    asked = "<image>\n<image>\nHow far is the chair (red point) from the bed (blue point)?"
    return {
        "id": 7, "type": "distance_prediction_oo_mv", "format_type": "fill", "image": ["a.png", "b.jpg"],
        "conversations": turns(asked, "1.3"), "red_point": [[320, 500]], "blue_point": [[990, 450]],
        "point_img_idx": [[0, 1]], **changes,
    }  # fmt: skip


def lay_out(root: Path, rows: list[Row], name: str = "rows.jsonl") -> Path:
    (root / "images").mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(np.arange(200 * 100 * 3, dtype=np.uint32).reshape(100, 200, 3).astype(np.uint8))
    picture.save(root / "images/a.png")
    picture.save(root / "images/b.jpg")
    text = json.dumps(rows) if name.endswith(".json") else "".join(json.dumps(row) + "\n" for row in rows)
    (root / name).write_text(text, encoding="utf-8", errors="surrogatepass")
    return root / name


def read_spar(root: Path, *rows: Row, **settings: Any) -> list[SpatialSample | Reject]:
    config = SparReader(file=lay_out(root, list(rows)), images=root / "images", **settings)
    return check_items(config.read(ImageStore(root / "store")), root / "store")


def read_sr_real(root: Path, *rows: Row, name: str = "rows.jsonl", **settings: Any) -> list[SpatialSample | Reject]:
    config = SrRealReader(file=lay_out(root, list(rows), name), images=root / "images", **settings)
    return check_items(config.read(ImageStore(root / "store")), root / "store")


def sample(found: list[SpatialSample | Reject]) -> SpatialSample:
    (item,) = found
    assert isinstance(item, SpatialSample), str(item)
    return item


def reject(found: list[SpatialSample | Reject]) -> Reject:
    (item,) = found
    assert isinstance(item, Reject), item
    return item
