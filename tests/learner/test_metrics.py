import torch

from learner.metrics import TokenMeans
from spatial.sample import Path


def test_means_are_over_tokens_of_all_and_of_each_path() -> None:
    means = TokenMeans()
    mask = torch.tensor([[True, True, False], [True, False, False]])
    means.add([Path.LOR, Path.DTR], mask, {"x": torch.tensor([[1.0, 3.0, 99.0], [8.0, 99.0, 99.0]])})
    means.add([Path.DTR], torch.tensor([[True]]), {"x": torch.tensor([[4.0]])})
    assert means.means() == {"x": 4.0, "lor/x": 2.0, "dtr/x": 6.0}
    assert means.num_tokens() == 4


def test_a_masked_token_does_not_spread_nan() -> None:
    means = TokenMeans()
    means.add([Path.LOR], torch.tensor([[True, False]]), {"x": torch.tensor([[2.0, float("nan")]])})
    assert means.means() == {"x": 2.0, "lor/x": 2.0}


def test_sums_of_other_ranks_are_added() -> None:
    means = TokenMeans()
    means.add([Path.LOR], torch.tensor([[True]]), {"x": torch.tensor([[2.0]])})

    def add_a_rank_that_counted_three(sums: torch.Tensor) -> None:
        sums += torch.tensor([[3.0, 0.0, 0.0], [1.0, 0.0, 0.0]])

    means.reduce(add_a_rank_that_counted_three)
    assert means.means() == {"x": 2.5, "lor/x": 2.5}
