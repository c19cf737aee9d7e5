"""Means over tokens, kept apart by path, over micro-batches and ranks."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from spatial.sample import Path

_PATHS = tuple(Path)


class TokenMeans:
    """Adds up per-token quantities; `means` divides by the number of tokens.

    Every rank must add the same names in the same order, as the sums travel as one tensor.
    """

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._sums_NP = torch.zeros(0)  # names × paths; the last row counts tokens

    @torch.no_grad()
    def add(
        self,
        paths: Sequence[Path],
        mask: Bool[Tensor, "batch tokens"],
        values: dict[str, Float[Tensor, "batch tokens"]],
    ) -> None:
        """Count the tokens of `mask`, and add up each of `values` over them."""
        stacked = torch.stack([*values.values(), torch.ones_like(mask, dtype=torch.float32)])
        by_row = stacked.masked_fill(~mask, 0.0).double().sum(-1).cpu()
        path_of_row = torch.tensor([_PATHS.index(path) for path in paths])
        if not self._names:
            self._names = tuple(values)
            self._sums_NP = torch.zeros(len(values) + 1, len(_PATHS), dtype=torch.float64)
        self._sums_NP.index_add_(1, path_of_row, by_row)

    def reduce(self, all_reduce: Callable[[Tensor], None]) -> None:
        """Add the other ranks' sums; `all_reduce` sums a tensor over ranks in place."""
        all_reduce(self._sums_NP)

    def means(self) -> dict[str, float]:
        """`name` over all tokens, `lor/name` and so on over those of a path; a path without tokens is left out."""
        columns = {"": self._sums_NP.sum(1)} | {f"{path}/": self._sums_NP[:, i] for i, path in enumerate(_PATHS)}
        return {
            prefix + name: float(column[row] / column[-1])
            for prefix, column in columns.items()
            if column[-1] > 0
            for row, name in enumerate((*self._names, "tokens"))
            if name != "tokens"
        }

    def num_tokens(self) -> int:
        """All tokens counted."""
        return int(self._sums_NP[-1].sum())
