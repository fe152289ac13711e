"""A process of the bench that others talk to, and the environments of the peers.

Law: nothing outlives its `with`. A peer that is not installed, or is not the one of its lock, is CannotRun.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.figures import CannotRun, require
from benchmarks.load import HERE, SCRATCH

LOCKS = Path(__file__).resolve().parent / "locks"


def place_of(peer: str) -> Path:
    """The folder with the programs of an installed peer."""
    place, lock = SCRATCH / "peers" / peer, LOCKS / f"{peer}.lock"
    installed = place / "installed.lock"
    if not installed.exists() or installed.read_bytes() != lock.read_bytes():
        raise CannotRun(f"{peer} is not installed as locked: benchmarks/peers/install.sh {peer}")
    return place / "bin"


def version_of(peer: str, package: str) -> str:
    """What its lock pins."""
    for line in (LOCKS / f"{peer}.lock").read_text().splitlines():
        name, _, version = line.partition("==")
        if name == package:
            return version
    raise AssertionError(f"{package} is not in the lock of {peer}")


@contextmanager
def listening(
    order: Sequence[str | Path], port: int, log: Path, env: Mapping[str, str] | None = None, *, patience: float = 90
) -> Iterator[None]:
    """A server for as long as the block runs, from the moment that its port is open."""
    with log.open("wb") as said:
        process = subprocess.Popen(
            [str(each) for each in order], cwd=HERE, env={**os.environ, **(env or {})}, stdout=said,
            stderr=subprocess.STDOUT, start_new_session=True,
        )
        try:
            until = time.monotonic() + patience
            while not _open(port):
                ended = process.poll() is not None or time.monotonic() > until
                require(not ended, f"{order[0]} does not serve: {log.read_text(errors='replace')[-2000:]}")
                time.sleep(0.05)
            yield
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def free_port() -> int:
    """One that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def _open(port: int) -> bool:
    with socket.socket() as tried:
        tried.settimeout(1)
        return tried.connect_ex(("127.0.0.1", port)) == 0
