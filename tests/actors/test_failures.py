from actors.failures import FailureTally
from rewards.score import Failure


def failure(reason: str) -> Failure:
    return Failure("score", reason, 3)


def test_counts_are_exact_however_many_reasons_there_are_and_common_ones_are_kept() -> None:
    tally = FailureTally(max_reasons=10)
    for number in range(1000):
        tally.add(4, [failure(f"sample {number} is odd")])
        if number % 5 == 0:
            tally.add(1, [failure("out of memory")])
        assert len(tally.commonest(100)) <= 10
    assert (tally.num_responses, tally.num_failures) == (4200, 1200)
    assert tally.share == 1200 / 4200
    assert tally.commonest(1) == [("score: out of memory", 200)]


def test_each_failure_is_told_as_new_once() -> None:
    tally = FailureTally()
    tally.add(5, [failure("a"), failure("b")])
    assert [tally.take_num_new(), tally.take_num_new()] == [2, 0]
    tally.add(5, [failure("a")])
    assert tally.take_num_new() == 1
