"""Why an engine does not start, when another process than this one knows."""

import logging
import subprocess
import sys

from rollout.start_errors import record_errors, start_errors

# As vLLM's worker and its core do: each logs its own error, and hands on that there was one.
PROCESS = """
import logging
from rollout.start_errors import record_errors
record_errors()
log = logging.getLogger("vllm.v1.engine.core")
logging.getLogger("vllm").propagate = False
try:
    import a_package_that_is_not_there
except ImportError:
    log.exception("WorkerProc failed to start.")
try:
    raise RuntimeError("WorkerProc initialization failed due to an exception in a background process.")
except RuntimeError:
    log.exception("EngineCore failed to start.")
"""
VLLMS_OWN = RuntimeError(
    "Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}"
)


def test_the_first_error_of_any_process_is_the_reason() -> None:
    with start_errors() as errors:
        subprocess.run([sys.executable, "-c", PROCESS], check=True)
        assert errors.reason(VLLMS_OWN) == "ModuleNotFoundError: No module named 'a_package_that_is_not_there'"


def test_without_one_it_is_the_error_here_or_the_signal_that_ended_a_process() -> None:
    with start_errors() as errors:
        assert errors.reason(ValueError("max_model_len is\n too long")) == "ValueError: max_model_len is too long"
        killed = RuntimeError("Engine core initialization failed. Failed core proc(s): {'EngineCore': -9}")
        assert errors.reason(killed) == (
            "a process of it was ended by SIGKILL, mostly because the machine had no memory left"
        )


def test_an_engine_that_has_started_writes_down_nothing() -> None:
    vllm = logging.getLogger("vllm")
    before = list(vllm.handlers)
    try:
        record_errors()
        assert vllm.handlers == before
        with start_errors() as errors:
            record_errors()
        # Its folder is gone, and an error later is no error of the start.
        try:
            raise ValueError("later")
        except ValueError:
            vllm.handlers[-1].handle(logging.LogRecord("vllm", 40, "", 0, "x", None, sys.exc_info()))
        assert errors.reason(ValueError("own")) == "ValueError: own"
    finally:
        vllm.handlers[:] = before
