"""Means over tokens, over all and by path and weight version, across micro-batches and ranks."""

from collections.abc import Callable, Collection, Mapping, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from spatial.sample import ReasoningPath

_PATHS = tuple(ReasoningPath)


class TokenMeans:
    """Adds up per-token quantities; `means` divides by the number of tokens.

    Every rank must name the same versions and add the same names in the same order: the sums are reduced as one tensor.
    """

    def __init__(self, versions: Mapping[int, str] | None = None, names_by_version: Collection[str] = ()) -> None:
        """
        Args:
            versions: weight versions whose tokens have means of their own, and the prefix of these means.
            names_by_version: the quantities that have such means.
        """
        self._versions = dict(versions or {})
        self._names_by_version = names_by_version
        self._names: tuple[str, ...] = ()
        self._sums_NG = torch.zeros(0)  # names × groups (paths, then versions); the last row counts tokens

    @torch.no_grad()
    def add(
        self,
        paths: Sequence[ReasoningPath],
        mask: Bool[Tensor, "batch tokens"],
        values: dict[str, Float[Tensor, "batch tokens"]],
        weight_versions: Int[Tensor, "batch tokens"] | None = None,
    ) -> None:
        """Count the tokens of `mask`, and add up each of `values` over them.

        Args:
            paths: the path of each row.
            mask: the tokens that count.
            values: the quantities by name.
            weight_versions: of the weights that made each token; needed if there are means by version.
        """
        path_of_row = torch.tensor([_PATHS.index(path) for path in paths], device=mask.device)
        groups = [(path_of_row == index)[:, None].expand_as(mask) for index in range(len(_PATHS))]
        if weight_versions is not None:
            groups += [weight_versions == version for version in self._versions]
        stacked = torch.stack([*values.values(), torch.ones_like(mask, dtype=torch.float32)])
        counted = stacked.masked_fill(~mask, 0.0).double()
        sums = torch.einsum("nbt,gbt->ng", counted, torch.stack(groups).double()).cpu()
        self._names = tuple(values)
        self._sums_NG = self._sums_NG + sums if self._sums_NG.numel() else sums

    def snapshot(self) -> Tensor:
        """The sums so far, for `restore`."""
        return self._sums_NG

    def restore(self, snapshot: Tensor) -> None:
        """Forget what was added since `snapshot`, because the step was skipped."""
        self._sums_NG = snapshot

    def reduce(self, all_reduce: Callable[[Tensor], None]) -> None:
        """Add the other ranks' sums; `all_reduce` sums a tensor over ranks in place."""
        if self._sums_NG.numel():
            all_reduce(self._sums_NG)

    def means(self) -> dict[str, float]:
        """`name` over all tokens, `lor/name` and so on over those of a path, and likewise by version. A group without
        tokens is left out."""
        if not self._sums_NG.numel():
            return {}
        by_path, by_version = self._sums_NG.split([len(_PATHS), len(self._versions)], dim=1)
        columns: list[tuple[str, Tensor, Collection[str]]] = [("", by_path.sum(1), self._names)]
        columns += [(f"{path}/", column, self._names) for path, column in zip(_PATHS, by_path.T, strict=True)]
        columns += [
            (f"{prefix}/", column, self._names_by_version)
            for prefix, column in zip(self._versions.values(), by_version.T, strict=True)
        ]
        return {
            prefix + name: float(total / column[-1])
            for prefix, column, wanted in columns
            if column[-1] > 0
            for name, total in zip(self._names, column[:-1], strict=True)
            if name in wanted
        }

    def num_tokens(self) -> int:
        """All tokens counted."""
        if not self._sums_NG.numel():
            return 0
        return int(self._sums_NG[-1, : len(_PATHS)].sum())


def names_by_staleness(versions: Collection[int], weight_version: int | None) -> dict[int, str]:
    """The prefix of the metrics of each version's tokens; none if all tokens are of the present version, because their
    metrics would be those over all.

    Args:
        versions: of the weights that made tokens of the batch.
        weight_version: of the policy before the update; None: not known.
    """
    if weight_version is None or set(versions) == {weight_version}:
        return {}
    return {version: f"staleness_{weight_version - version}" for version in sorted(versions, reverse=True)}
