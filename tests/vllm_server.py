"""vLLM's own OpenAI-compatible server, as anyone would start it."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

_START_S = 180


@contextmanager
def vllm_server(model: Path, log: Path, *options: str) -> Iterator[str]:
    """The address of a server of `model`, which it calls "tiny"; it writes to `log` and ends with the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", f"--model={model}", f"--port={port}"]
    common = ["--served-model-name=tiny", "--host=127.0.0.1", "--dtype=float32", "--enforce-eager", "--max-num-seqs=4"]
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    with (
        log.open("w") as output,
        subprocess.Popen([*command, *common, *options], stdout=output, stderr=output, env=environment) as server,
    ):
        try:
            if not _is_healthy_in_time(f"http://127.0.0.1:{port}/health", server):
                pytest.fail(f"the server did not start within {_START_S} s:\n{log.read_text()[-4000:]}")
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()


def _is_healthy_in_time(url: str, server: "subprocess.Popen[bytes]") -> bool:
    deadline_s = time.monotonic() + _START_S
    while time.monotonic() < deadline_s and server.poll() is None:
        try:
            if httpx.get(url).status_code == 200:
                return True
        except httpx.TransportError:
            pass  # it does not listen yet
        time.sleep(0.5)
    return False
