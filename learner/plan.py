"""Which rows come together, and in what order: mini-batches for optimiser steps, and the passes of every rank.

A group is all rows that answer one prompt. Its rows show the same images, so they stay together: in one mini-batch, and
in one pass where that fits. Then each of its images is prepared and encoded once, not once for every response.

    batch ─ shuffled by groups ─→ mini-batches ─ cut within bounds ─→ passes ─ dealt evenly ─→ ranks
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vlm.policy import head_calls

# Largest share of padding among rows that are kept together. Lower means more, smaller passes. Encoding an image once
# for a whole group saves about as much: some 13 % of a row's operations at a megapixel.
_MAX_PADDING_SHARE = 0.15

# Rows of one group that go into the same pass, longest first.
_Kin = tuple[int, ...]
# Rows of one pass, by group.
_Pass = list[_Kin]


@dataclass(frozen=True)
class PassBounds:
    """How large one pass of one rank may be, and how many tokens it computes."""

    max_rows: int | None = None
    """Most rows; None: no bound."""
    max_tokens: int | None = None
    """Most tokens, padding included; a longer row gets a pass of its own. None: no bound."""
    is_packed: bool = False
    """Rows lie one behind the other, without padding."""

    def num_tokens(self, lengths: Sequence[int]) -> int:
        """Tokens that a pass computes of rows with these lengths, padding included."""
        return sum(lengths) if self.is_packed else len(lengths) * max(lengths)

    def has_room(self, lengths: Sequence[int]) -> bool:
        """Whether these rows are within the bounds of one pass."""
        return (self.max_rows is None or len(lengths) <= self.max_rows) and (
            self.max_tokens is None or self.num_tokens(lengths) <= self.max_tokens
        )

    def are_alike(self, lengths: Sequence[int]) -> bool:
        """Whether rows of these lengths need little padding beside each other."""
        return self.num_tokens(lengths) <= sum(lengths) / (1 - _MAX_PADDING_SHARE)

    def fits(self, lengths: Sequence[int]) -> bool:
        """Whether these rows may form one pass; where tokens are bounded, little of it must be padding."""
        return self.has_room(lengths) and (self.max_tokens is None or self.are_alike(lengths))


@dataclass(frozen=True)
class MicroPlan:
    """The rows of one forward pass of one rank; those from `num_real` on only keep ranks in step."""

    rows: tuple[int, ...]
    num_real: int
    num_head_calls: int = 1
    """Calls of the head: as many as the longest of the passes needs that the ranks make at the same time."""


def shuffle_into_mini_batches(
    groups: Sequence[Sequence[int]], num_mini_batches: int, seed: Sequence[int]
) -> list[list[Sequence[int]]]:
    """The groups in a seeded random order, dealt into mini-batches of nearly equal numbers of rows.

    No group is divided: if there are fewer groups than `num_mini_batches`, each is a mini-batch. Larger groups are
    dealt first, each to the mini-batch with the fewest rows.
    """
    order = np.random.default_rng(list(seed)).permutation(len(groups)).tolist()
    parts: list[list[Sequence[int]]] = [[] for _ in range(min(num_mini_batches, len(groups)))]
    sizes = [0] * len(parts)
    for index in sorted(order, key=lambda index: -len(groups[index])):  # stable: equal sizes stay in random order
        smallest = sizes.index(min(sizes))
        parts[smallest].append(groups[index])
        sizes[smallest] += len(groups[index])
    return parts


def plan_micro_batches(
    lengths: Sequence[int], groups: Sequence[Sequence[int]], num_ranks: int, bounds: PassBounds
) -> list[list[MicroPlan]]:
    """Divide a mini-batch: for each rank its passes, the same number on each, large ones first.

    Groups are put together into passes as long as the bounds allow. A group that is larger than a pass is cut into
    pieces of nearly equal size, which are passes of the same rank, one after the other, if it has room for them all.
    Where rows are padded, a group whose rows differ much in length is cut by length, and its parts go with rows like
    them: with a bound on tokens, padding is at most `_MAX_PADDING_SHARE` of the whole.

    Then the largest passes are halved, between groups if possible, until every rank has the same number: under ZeRO
    every pass is a collective, and the others would wait forever for a rank with fewer. If all passes have a single
    row, some ranks get copies of a row that do not count. Passes are dealt in order of size, each to the rank with the
    fewest tokens: those that run at the same time have nearly the same number, and so have the ranks.

    Args:
        lengths: tokens (prompt and response) of every row of the batch.
        groups: the rows of this mini-batch, as places in `lengths`, by group.
        num_ranks: ranks of the learner.
        bounds: of a pass.
    """

    def num_tokens(one_pass: _Pass) -> int:
        return bounds.num_tokens(_lengths(lengths, *one_pass))

    runs = _divisible(_runs(lengths, groups, bounds), num_ranks, num_tokens)
    num_passes = -(-sum(map(len, runs)) // num_ranks)
    shares = _dealt(runs, num_ranks, num_passes, num_tokens)
    plans = [
        [MicroPlan(rows, num_real=len(rows)) for rows in (sum(one_pass, ()) for one_pass in share)] for share in shares
    ]
    shortest = min((row for group in groups for row in group), key=lambda row: (lengths[row], row))
    return [own + [MicroPlan((shortest,), num_real=0)] * (num_passes - len(own)) for own in plans]


def _lengths(lengths: Sequence[int], *kin: _Kin) -> list[int]:
    return [lengths[row] for rows in kin for row in rows]


def _runs(lengths: Sequence[int], groups: Sequence[Sequence[int]], bounds: PassBounds) -> list[list[_Pass]]:
    """Passes within the bounds; those of one run are of one group."""
    longest_first = (sorted(group, key=lambda row: (-lengths[row], row)) for group in groups)
    kin = [part for group in longest_first for part in _cut(group, lengths, bounds.are_alike)]
    # With padding, rows of like length belong together; without, the largest are placed first.
    kin.sort(key=lambda rows: (-(sum if bounds.is_packed else max)(_lengths(lengths, rows)), rows[0]))
    least = min(sum(_lengths(lengths, rows)) for rows in kin)
    runs: list[list[_Pass]] = []
    open_passes: list[_Pass] = []
    for rows in kin:
        if len(pieces := _pieces(rows, lengths, bounds)) > 1:
            runs.append([[piece] for piece in pieces])
            continue
        place = next((one for one in open_passes if bounds.fits(_lengths(lengths, *one, rows))), None)
        if place is None:
            place = []
            runs.append([place])
            open_passes = [*open_passes, place] if bounds.is_packed else [place]
        place.append(rows)
        if bounds.is_packed and not bounds.has_room([*_lengths(lengths, *place), least]):
            open_passes = [one for one in open_passes if one is not place]
    return runs


def _pieces(rows: _Kin, lengths: Sequence[int], bounds: PassBounds) -> list[_Kin]:
    """As few pieces as the bounds of a pass allow, of equal numbers of rows if these fit as well."""
    pieces = _cut(rows, lengths, bounds.fits)
    even = [tuple(piece.tolist()) for piece in np.array_split(rows, len(pieces))]
    do_fit = all(len(piece) == 1 or bounds.fits(_lengths(lengths, piece)) for piece in even)
    return even if do_fit else pieces


def _cut(rows: Sequence[int], lengths: Sequence[int], fits: Callable[[Sequence[int]], bool]) -> list[_Kin]:
    """The rows, cut wherever one more would not fit."""
    parts: list[list[int]] = []
    for row in rows:
        if parts and fits(_lengths(lengths, (*parts[-1], row))):
            parts[-1].append(row)
        else:
            parts.append([row])
    return [tuple(part) for part in parts]


def _divisible(runs: list[list[_Pass]], num_ranks: int, num_tokens: Callable[[_Pass], int]) -> list[list[_Pass]]:
    """The same with the largest passes halved until their number is a multiple of `num_ranks`, or no pass has two rows.

    Passes of several groups are halved first, between groups.
    """
    runs = list(runs)
    while sum(map(len, runs)) % num_ranks:
        several = [(i, k) for i, run in enumerate(runs) for k, one in enumerate(run) if len(one) > 1 or len(one[0]) > 1]
        if not several:
            break
        i, k = max(several, key=lambda at: (len(runs[at[0]][at[1]]) > 1, num_tokens(runs[at[0]][at[1]])))
        largest = runs[i][k]
        if len(largest) > 1:  # then it is the only pass of its run
            half = len(largest) // 2
            runs[i : i + 1] = [[largest[:half]], [largest[half:]]]
        else:
            half = len(largest[0]) // 2
            runs[i] = [*runs[i][:k], [largest[0][:half]], [largest[0][half:]], *runs[i][k + 1 :]]
    return runs


def _dealt(
    runs: Sequence[list[_Pass]], num_ranks: int, num_passes: int, num_tokens: Callable[[_Pass], int]
) -> list[list[_Pass]]:
    """The passes of every rank, at most `num_passes` each. A run that fits nowhere as a whole is dealt pass by pass."""
    shares: list[list[_Pass]] = [[] for _ in range(num_ranks)]
    loads = [0] * num_ranks
    for run in sorted(runs, key=lambda run: (len(run), max(map(num_tokens, run))), reverse=True):
        is_whole = any(len(run) <= num_passes - len(share) for share in shares)
        for part in [run] if is_whole else [[one_pass] for one_pass in run]:
            able = [rank for rank, share in enumerate(shares) if len(part) <= num_passes - len(share)]
            rank = min(able, key=lambda rank: (len(shares[rank]), loads[rank]))
            shares[rank] += part
            loads[rank] += sum(map(num_tokens, part))
    return shares


def with_equal_head_calls(
    plans: Sequence[Sequence[MicroPlan]], num_response_tokens: Sequence[int]
) -> list[list[MicroPlan]]:
    """The same micro-batches; those that run at the same time make the same number of calls of the head.

    Under ZeRO-3 every call of a module is a collective. A pass with many response tokens calls the head more often than
    one with few, and a rank that made fewer calls would wait forever in another collective than the rest.

    Args:
        plans: the micro-batches of every rank, equally many.
        num_response_tokens: of every row of the batch.
    """
    rounds = [
        max(head_calls(sum(num_response_tokens[row] for row in plan.rows)) for plan in at_once)
        for at_once in zip(*plans, strict=True)
    ]
    return [[replace(plan, num_head_calls=number) for plan, number in zip(own, rounds, strict=True)] for own in plans]


def padding_share(lengths: Sequence[int], plans: Iterable[MicroPlan], bounds: PassBounds) -> float:
    """The share of the tokens of some micro-batches that does not count: padding, and copies of rows.

    Args:
        lengths: tokens of every row of the batch.
        plans: the micro-batches, of all ranks.
        bounds: by which they were planned.
    """
    plans = list(plans)
    real = sum(lengths[row] for plan in plans for row in plan.rows[: plan.num_real])
    return 1 - real / sum(bounds.num_tokens(_lengths(lengths, plan.rows)) for plan in plans)
