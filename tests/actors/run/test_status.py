from actors.run.status import Progress, RunStatus, Warnings


def status(warnings: Warnings) -> RunStatus:
    return RunStatus(
        progress=Progress(),
        version=None,
        workers=[],
        num_responses_reissued=0,
        correction="none",
        waits=[],
        num_warnings=warnings.count,
        warnings=list(warnings.latest),
    )


def test_every_warning_is_seen_once_and_old_ones_are_forgotten() -> None:
    warnings, seen = Warnings(), []
    num_seen = 0
    for number in range(1000):
        warnings.add(f"number {number}")
        if number % 7 == 6:
            now = status(warnings)
            seen += now.warnings_after(num_seen)
            num_seen = now.num_warnings
    assert seen == [f"number {number}" for number in range(1000 - 1000 % 7)]
    assert len(warnings.latest) == 200


def test_whoever_looks_late_sees_what_is_kept() -> None:
    warnings = Warnings()
    for number in range(500):
        warnings.add(f"number {number}")
    assert status(warnings).warnings_after(100) == [f"number {number}" for number in range(300, 500)]
    assert status(warnings).warnings_after(500) == []
