"""Hosts on this machine: network namespaces with a link between them, and a Ray node in each. Needs root."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil

RAY = str(Path(sys.executable).with_name("ray"))
# Nobody but the test reaches these nodes. (With a token, nodes that join need it too: see ray_cluster.yaml.)
NO_TOKEN = {"RAY_AUTH_MODE": "disabled"}
_PREFIX = "10.77.0"


class Host:
    """A network namespace: processes in it see its own loopback and its end of the link, and nothing else."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.address = f"{_PREFIX}.{number}"
        self._device = f"{name}-link"

    def command(self, *arguments: str) -> list[str]:
        """These arguments as a command that runs on this host."""
        return ["ip", "netns", "exec", self.name, *arguments]

    def run(self, *arguments: str) -> str:
        environment = {**os.environ, **NO_TOKEN}
        done = subprocess.run(self.command(*arguments), capture_output=True, text=True, timeout=300, env=environment)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def holds(self, process: psutil.Process) -> bool:
        """Whether a process of this machine runs on this host."""
        return os.readlink(f"/proc/{process.pid}/ns/net") == self.run("readlink", "/proc/self/ns/net").strip()

    def unplug(self) -> None:
        self.run("ip", "link", "set", self._device, "down")

    def plug_in(self) -> None:
        self.run("ip", "link", "set", self._device, "up")


@contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    """Two hosts with a link; both are gone afterwards."""
    hosts = Host("sr-one", 1), Host("sr-two", 2)
    with ExitStack() as stack:
        for host in hosts:
            _ip("netns", "add", host.name)
            stack.callback(_ip, "netns", "delete", host.name)
        first, second = (f"{host.name}-link" for host in hosts)
        _ip("link", "add", first, "type", "veth", "peer", "name", second)
        for host, device in zip(hosts, (first, second), strict=True):
            _ip("link", "set", device, "netns", host.name)
            host.run("ip", "address", "add", f"{host.address}/24", "dev", device)
            host.run("ip", "link", "set", "lo", "up")
            host.plug_in()
        yield hosts


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@contextmanager
def ray_node(*arguments: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A Ray node in the foreground; afterwards it and all its processes are gone, and no other Ray is touched.

    Args:
        arguments: a whole command that begins a node with `--block`.
    """
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", **NO_TOKEN}
    with log.open("w") as output:
        node = subprocess.Popen(arguments, stdout=output, stderr=subprocess.STDOUT, env=environment)
    try:
        yield node
    finally:
        if node.poll() is None:
            # Not asked to: it would wait for work that it cannot end.
            for process in psutil.Process(node.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            node.kill()
        node.wait(timeout=30)
