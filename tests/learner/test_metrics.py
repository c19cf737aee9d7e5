import pytest
import torch

from learner.metrics import TokenMeans, names_by_staleness
from spatial.sample import ReasoningPath


def test_means_are_over_tokens_of_all_and_of_each_path() -> None:
    means = TokenMeans()
    mask = torch.tensor([[True, True, False], [True, False, False]])
    means.add([ReasoningPath.LOR, ReasoningPath.DTR], mask, {"x": torch.tensor([[1.0, 3.0, 99.0], [8.0, 99.0, 99.0]])})
    means.add([ReasoningPath.DTR], torch.tensor([[True]]), {"x": torch.tensor([[4.0]])})
    assert means.means() == {"x": 4.0, "lor/x": 2.0, "dtr/x": 6.0}
    assert means.num_tokens() == 4


def test_tokens_of_one_response_are_told_apart_by_the_version_that_made_them() -> None:
    means = TokenMeans({5: "staleness_0", 3: "staleness_2", 4: "staleness_1"}, names_by_version={"x"})
    mask = torch.tensor([[True, True, False], [True, True, True]])
    values = torch.tensor([[1.0, 3.0, 99.0], [8.0, 10.0, 12.0]])
    versions = torch.tensor([[3, 5, 5], [5, 3, 3]])
    means.add([ReasoningPath.LOR, ReasoningPath.DTR], mask, {"x": values, "y": -values}, versions)
    means.add(
        [ReasoningPath.DTR], torch.tensor([[True]]), dict.fromkeys("xy", torch.tensor([[1.0]])), torch.tensor([[5]])
    )
    found = means.means()
    assert found["staleness_0/x"] == (3 + 8 + 1) / 3
    assert found["staleness_2/x"] == pytest.approx((1 + 10 + 12) / 3)
    assert found.keys() == {"x", "y", "lor/x", "lor/y", "dtr/x", "dtr/y", "staleness_0/x", "staleness_2/x"}
    assert found["x"] == pytest.approx(35 / 6)
    assert means.num_tokens() == 6


def test_a_masked_token_does_not_spread_nan() -> None:
    means = TokenMeans()
    means.add([ReasoningPath.LOR], torch.tensor([[True, False]]), {"x": torch.tensor([[2.0, float("nan")]])})
    assert means.means() == {"x": 2.0, "lor/x": 2.0}


def test_sums_of_other_ranks_are_added() -> None:
    means = TokenMeans()
    means.add([ReasoningPath.LOR], torch.tensor([[True]]), {"x": torch.tensor([[2.0]])})

    def add_a_rank_that_counted_three(sums: torch.Tensor) -> None:
        sums += torch.tensor([[3.0, 0.0, 0.0], [1.0, 0.0, 0.0]])

    means.reduce(add_a_rank_that_counted_three)
    assert means.means() == {"x": 2.5, "lor/x": 2.5}


def test_staleness_is_counted_from_the_version_in_training_and_not_told_where_nothing_is_stale() -> None:
    assert names_by_staleness({3, 5, 4}, 5) == {5: "staleness_0", 4: "staleness_1", 3: "staleness_2"}
    assert names_by_staleness({4}, 5) == {4: "staleness_1"}
    assert names_by_staleness({5}, 5) == {}
    assert names_by_staleness({4, 5}, None) == {}
