"""Which software this is: stands in the parameters that both nodes must share, and in every run file."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

VERSION = "0.1.0"
_LIBRARIES = ("numpy", "numba", "scipy", "cryptography", "pyvisa", "pyserial", "pyzmq", "h5py")


def software_version() -> str:
    """Version of the protocol-relevant code; nodes with different ones refuse each other."""
    return VERSION


@cache
def _revision() -> str:
    """The git revision with a mark for local changes, or "unknown" outside a checkout."""
    root = Path(__file__).resolve().parent.parent
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip() or "unknown"


def versions() -> dict[str, str]:
    """Of the code, of Python, and of the libraries that results depend on."""
    libraries = {name: metadata.version(name) for name in _LIBRARIES}
    return {"qkd": VERSION, "revision": _revision(), "python": platform.python_version(), **libraries}
