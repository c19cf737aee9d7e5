from actors.loop.failures import Counts, FailureTally
from flow.score import Failure


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


def test_each_failure_is_told_as_new_once_and_those_by_deadline_apart() -> None:
    tally = FailureTally()
    tally.add(5, [failure("a"), Failure("rollout", "waited 300 s", 3, by_deadline=True)])
    assert tally.take_new() == Counts(num_responses=5, num_failures=2, num_failures_by_deadline=1)
    assert tally.take_new() == Counts(0, 0, 0)
    tally.add(4, [failure("a")])
    assert tally.take_new() == Counts(4, 1, 0)


def test_a_reason_is_counted_once_for_all_samples_that_it_names() -> None:
    tally = FailureTally()
    for sample_id in ("s1", "s2", "s3"):
        tally.add(1, [failure(f"sample {sample_id}: the reward's total is nan")], sample_id)
    assert tally.describe(5) == "  3 × score: the reward's total is nan"
