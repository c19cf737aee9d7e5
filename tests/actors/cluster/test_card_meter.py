"""What a thread sees of cards, over a driver written here."""

import time

import pytest

from actors.cluster import card_meter
from actors.cluster.card_meter import CardMeter, CardSample, Nvml, merged, start_meter


class FakeDriver:
    """Two cards of 80 bytes that work more at each look."""

    cards = (("GPU-a", "NVIDIA H100 80GB HBM3", 80), ("GPU-b", "NVIDIA H100 80GB HBM3", 80))

    def __init__(self) -> None:
        self.num_reads = 0
        self.is_gone = False

    def read(self, index: int) -> tuple[float | None, int]:
        if self.is_gone:
            raise RuntimeError("the card has fallen off the bus")
        self.num_reads += 1
        return self.num_reads / 10, 40 + index


def test_each_look_is_given_once_and_says_whose_card_it_was() -> None:
    meter = CardMeter("rollout-2", FakeDriver(), own_bytes=lambda: 7)
    meter.sample(100.0)
    meter.sample(100.1)
    first, second = meter.take(peak_allocated_bytes=5)
    assert (first.owner, first.card, second.owner, second.card) == ("rollout-2.0", "GPU-a", "rollout-2.1", "GPU-b")
    assert first.samples == (CardSample(100.0, 0.1, 40, 7), CardSample(100.1, 0.3, 40, 7))
    assert (first.total_bytes, first.peak_allocated_bytes) == (80, 5)
    assert [track.samples for track in meter.take()] == [(), ()]


def test_a_long_step_is_seen_at_half_the_rate_and_no_peak_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(card_meter, "_MAX_SAMPLES", 4)
    assert merged([CardSample(1.0, 0.2, 9, 1), CardSample(2.0, 0.4, 5, 0)]) == [
        CardSample(1.0, pytest.approx(0.3), 9, 1)
    ]
    assert merged([CardSample(1.0, None, 1, 0), CardSample(2.0, 0.4, 5, 3)]) == [CardSample(1.0, None, 5, 3)]
    meter = CardMeter("learner-0", FakeDriver())
    for at_s in range(9):
        meter.sample(float(at_s))
    samples = meter.take()[0].samples
    assert len(samples) <= 4
    # Every second look is at this card: 0.1, 0.3, … 1.7, whose mean is 0.9.
    assert samples[-1].busy == 1.7


def test_the_thread_looks_by_itself_and_a_driver_that_fails_ends_no_run(caplog: pytest.LogCaptureFixture) -> None:
    driver = FakeDriver()
    meter = CardMeter("learner-0", driver)
    meter.start()
    until_s = time.monotonic() + 5
    while driver.num_reads < 4 and time.monotonic() < until_s:
        time.sleep(0.01)
    assert len(meter.take()[0].samples) >= 1
    driver.is_gone = True
    while "fallen off the bus" not in caplog.text and time.monotonic() < until_s:
        time.sleep(0.01)
    assert "the cards of learner-0 are not looked at any more: the card has fallen off the bus" in caplog.text
    meter.take()
    assert meter.take()[0].samples == ()


def test_where_there_is_no_driver_the_reason_is_said() -> None:
    with pytest.raises(OSError, match=r"NVML about cards 0, 1: .*NVML"):
        Nvml(["0", "1"])


def test_without_a_driver_the_cards_are_still_known_and_who_shares_one(caplog: pytest.LogCaptureFixture) -> None:
    (learner,) = start_meter("learner-0", ["1"], kind=lambda: "NVIDIA H100 80GB HBM3").take(peak_allocated_bytes=5)
    first, second = start_meter("rollout-0", ["1", "2"]).take()
    assert learner.card == first.card != second.card
    assert (learner.kind, learner.samples, learner.peak_allocated_bytes) == ("NVIDIA H100 80GB HBM3", (), 5)
    assert "the metrics will not tell how busy the cards of learner-0 are: NVML about cards 1" in caplog.text
