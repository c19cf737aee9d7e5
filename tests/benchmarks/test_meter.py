import threading
import time

from benchmarks.coordinator_parts import Meter


def burn(cpu_s: float) -> None:
    until_s = time.thread_time() + cpu_s
    while time.thread_time() < until_s:
        pass


def test_a_stage_within_another_and_one_in_another_thread_count_for_themselves() -> None:
    meter = Meter()
    meter.enter("outer")
    burn(0.02)
    meter.enter("inner")
    burn(0.04)

    def record() -> None:
        meter.enter("record")
        burn(0.06)
        meter.leave()

    thread = threading.Thread(target=record)
    thread.start()
    thread.join()
    meter.leave()
    meter.leave()
    assert set(meter.spent_s) == {"outer", "inner", "record"}
    assert 0.02 <= meter.spent_s["outer"] < 0.04
    assert 0.04 <= meter.spent_s["inner"] < 0.06
    assert 0.06 <= meter.spent_s["record"] < 0.09
