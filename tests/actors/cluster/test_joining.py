"""Why Ray cannot be joined or started, in words. Each in a process of its own: Ray reads its environment once."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

JOIN = "import sys; from actors.cluster.joining import join; join(sys.argv[1])"
START = "from actors.cluster.joining import start_local; start_local(num_cpus=1)"


def said(code: str, *arguments: str, **environment: str) -> str:
    told = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert told.returncode == 1
    return told.stderr.strip().splitlines()[-1]


def test_a_cluster_that_does_not_answer_is_reported_in_seconds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    started_s = time.monotonic()
    told = said(JOIN, address)
    assert f"ClusterError: no Ray cluster answers at {address}" in told
    assert "6379" in told
    assert time.monotonic() - started_s < 30


def test_a_missing_token_is_named_as_such_with_what_to_set(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        told = said(JOIN, address, RAY_AUTH_MODE="token", HOME=str(tmp_path))
    assert f"the Ray cluster at {address} wants another token" in told
    assert "RAY_AUTH_TOKEN_PATH" in told


def test_a_home_that_cannot_be_written_to_is_named_as_such() -> None:
    told = said(START, RAY_AUTH_MODE="token", HOME="/dev/null/home")
    assert "ClusterError" in told
    assert "HOME" in told
