"""Whether a weight update brings the whole model. vLLM only logs what is missing, and keeps the old values."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from rollout.errors import IncompleteUpdateError

_HEAD = "lm_head.weight"
_EMBEDDING = "embed_tokens.weight"


@dataclass(frozen=True)
class ExpectedWeights:
    """What an update must bring: every weight of the model folder, and the head even if it is tied to the embeddings.

    Model folder and learner may name a tensor differently, so elements are counted; names only help to say what is
    missing.
    """

    num_elements_by_name: dict[str, int] = field(repr=False)

    @classmethod
    def of_model(cls, folder: Path) -> Self:
        """Read the headers of a model folder's safetensors files.

        Raises:
            FileNotFoundError: there are none.
        """
        files = sorted(folder.glob("*.safetensors"))
        if not files:
            raise FileNotFoundError(f"model folder {folder} has no *.safetensors file")
        counts = {name: count for file in files for name, count in _read_header(file)}
        embedding = next((name for name in counts if name.endswith(_EMBEDDING)), None)
        if embedding is not None and _is_tied(folder) and not any(name.endswith(_HEAD) for name in counts):
            counts[_HEAD] = counts[embedding]
        return cls(counts)

    def check(self, names: Sequence[str], shapes: Sequence[Sequence[int]], unchanged: Mapping[str, int]) -> None:
        """
        Args:
            names, shapes: those of the tensors that the update brings.
            unchanged: number of elements, by name, of each weight that is not sent because it has not changed.

        Raises:
            IncompleteUpdateError: both together are not the whole model.
        """
        num_elements, wanted = sum(map(math.prod, shapes)), sum(self.num_elements_by_name.values())
        accounted = [*names, *unchanged]
        has_head = _HEAD not in self.num_elements_by_name or any(name.endswith(_HEAD) for name in accounted)
        if num_elements + sum(unchanged.values()) == wanted and has_head and len(set(accounted)) == len(accounted):
            return
        missing = sorted(set(self.num_elements_by_name) - set(accounted))
        raise IncompleteUpdateError(
            f"the update brings {num_elements} weights in {len(names)} tensors and leaves {sum(unchanged.values())} "
            f"unchanged, the model folder has {wanted} in {len(self.num_elements_by_name)}; without a counterpart of "
            f"the same name: {missing[:5] or 'none'}"
        )


def _read_header(file: Path) -> list[tuple[str, int]]:
    """Names and element counts of a safetensors file: 8 bytes of length, then JSON."""
    with file.open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    return [(name, math.prod(entry["shape"])) for name, entry in header.items() if name != "__metadata__"]


def _is_tied(folder: Path) -> bool:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return bool(config.get("tie_word_embeddings", config.get("text_config", {}).get("tie_word_embeddings", False)))
