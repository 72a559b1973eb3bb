"""Ordered checks of this machine and, with a node file, of a node: each says what was found and what to do about it."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from controller.config import NodeConfig
from controller.control_socket import SOCKET_NAME, ControlClient
from controller.errors import EXIT_CONFIGURATION, EXIT_INSECURE, EXIT_INSTRUMENT, EXIT_OK, PeerFailure, QkdError
from controller.station import BROKEN_FILE, Station

if TYPE_CHECKING:
    from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("drivers", "postproc", "controller", "sim_instruments")


_MAKERS = {"kme": "qkd trust ca, or your own authority", "store": "qkd trust kek", "peer": "qkd trust psk"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One check. `exit_code` is 0 when all is well; `is_warning` marks what a run survives."""

    name: str
    detail: str
    exit_code: int = EXIT_OK
    is_warning: bool = False
    remedy: str = ""

    @property
    def verdict(self) -> str:
        """ok, warning or FAILED."""
        if self.exit_code != EXIT_OK:
            return "FAILED"
        return "warning" if self.is_warning else "ok"


def examine_machine() -> Iterator[Finding]:
    """Checks that need no node file."""
    yield _python()
    yield from _shadowing()
    yield _dependencies()
    yield _randomness()
    yield _kernels()


def examine_node(config: NodeConfig, workspace: Path) -> Iterator[Finding]:
    """Checks of one node that switch nothing on."""
    yield _disk(config, workspace)
    yield from _trust_files(config, workspace)
    if is_running(config, workspace):
        yield Finding("node", f"{config.node.name} is running here: qkd status shows its state")
    else:
        yield from _listeners(config)
    yield _broken_latch(config, workspace)


def examine_instruments(config: NodeConfig, workspace: Path) -> Iterator[Finding]:
    """Opens, identifies and reads all instruments, and leaves them safe; not while a node uses them."""
    if is_running(config, workspace):
        yield Finding(
            "instruments", f"not opened: {config.node.name} is using them", is_warning=True,
            remedy="qkd status shows what it sees; to examine them, qkd stop first",
        )  # fmt: skip
        return
    try:
        with Station.open(config, workspace) as station:
            for name, snapshot in station.snapshot().items():
                who = snapshot.identity
                text = " ".join(part for part in (who.vendor, who.model, who.serial, who.substitute) if part)
                yield Finding(f"instrument {name}", f"{text}; {len(snapshot.values)} settings read")
    except QkdError as error:
        yield Finding("instruments", error.message, error.exit_code, remedy=error.remedy)
        return
    yield Finding("instruments", "all confirmed safe")


def is_running(config: NodeConfig, workspace: Path) -> bool:
    """Whether a node answers on this state directory."""
    try:
        ControlClient(config.state_dir(workspace) / SOCKET_NAME).status()
    except PeerFailure:
        return False
    return True


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("python", f"{version} at {sys.executable}")


def _shadowing() -> Iterator[Finding]:
    """Whether each of our packages is the one in this checkout."""
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        found = Path(spec.origin).resolve() if spec and spec.origin else None
        if found is None or not found.is_relative_to(ROOT):
            yield Finding(
                f"package {package}", f"import finds {found}, not the one of this checkout", EXIT_CONFIGURATION,
                remedy="remove the other distribution or file from this environment, or use ./run qkd",
            )  # fmt: skip
            return
    yield Finding("packages", f"{', '.join(PACKAGES)} come from this checkout")


def _dependencies() -> Finding:
    """Installed versions against the pinned ones."""
    from packaging.requirements import Requirement

    lines = re.findall(r"^([A-Za-z0-9._-]+==[^\\\n]+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    pinned = [r for r in map(Requirement, lines) if r.marker is None or r.marker.evaluate()]
    wrong = [f"{r.name} {_installed(r.name)} instead of {r.specifier}" for r in pinned if not _fits(r)]
    if wrong:
        few = "; ".join(wrong[:3]) + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "")
        return Finding("dependencies", few, EXIT_CONFIGURATION, remedy="./run setup")
    return Finding("dependencies", f"{len(pinned)} packages at their pinned versions")


def _fits(requirement: Requirement) -> bool:
    return requirement.specifier.contains(_installed(requirement.name), prereleases=True)


def _installed(name: str) -> str:
    """Version of an installed distribution, "0" if there is none."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "0"


def _randomness() -> Finding:
    """The operating system's generator answers without blocking."""
    try:
        os.getrandom(32, os.GRND_NONBLOCK)
    except BlockingIOError:
        return Finding(
            "randomness",
            "the system's generator is not seeded yet",
            EXIT_INSECURE,
            remedy="wait for the boot to finish",
        )
    return Finding("randomness", "the system's generator is seeded")


def _kernels() -> Finding:
    """Privacy amplification reproduces its known answer."""
    from postproc.amplification import self_test
    from postproc.errors import SelfTestFailed

    try:
        self_test()
    except SelfTestFailed as error:
        return Finding("self-test", str(error), EXIT_INSECURE, remedy="delete __pycache__ folders, then ./run setup")
    return Finding("self-test", "the kernels reproduce their known answers")


def _disk(config: NodeConfig, workspace: Path) -> Finding:
    free = shutil.disk_usage(_existing(config.state_dir(workspace))).free
    limit = config.limits.min_disk_free_bytes
    detail = f"{free / 1e9:.2f} GB free, limit {limit / 1e9:.2f} GB"
    if free < limit:
        return Finding("disk", detail, EXIT_INSECURE, remedy="free space, or lower limits.min_disk_free_bytes")
    return Finding("disk", detail)


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.parent)


def _trust_files(config: NodeConfig, workspace: Path) -> Iterator[Finding]:
    """Certificates and keys are there, and keys are readable by nobody else."""
    secret = {"kme.private_key": config.kme.private_key, "store.kek": config.store.kek}
    public = {"kme.certificate": config.kme.certificate, "kme.client_ca": config.kme.client_ca}
    if (workspace / config.store.path).exists():  # these come out of the pre-shared key, together with the store
        secret["peer.private_key"] = config.peer.private_key
        public["peer.certificate"] = config.peer.certificate
        public["peer.peer_certificate"] = config.peer.peer_certificate
    for key, text in (secret | public).items():
        path = workspace / text
        if not path.is_file():
            yield Finding(key, f"{path} is missing", EXIT_CONFIGURATION, remedy=_MAKERS[key.partition(".")[0]])
        elif key in secret and path.stat().st_mode & 0o077:
            mode = f"{path.stat().st_mode & 0o777:o}"
            yield Finding(key, f"{path} has mode {mode}", EXIT_INSECURE, remedy=f"chmod 600 {path}")
    store, psk = workspace / config.store.path, workspace / config.trust.psk
    if not psk.is_file() and not store.exists():
        yield Finding(
            "trust.psk", f"{psk} is missing and there is no store yet", EXIT_CONFIGURATION, remedy="qkd trust psk"
        )
    else:
        yield Finding("trust", "files are in place")


def _listeners(config: NodeConfig) -> Iterator[Finding]:
    """The addresses that the node will listen on are free."""
    for key, address in (("peer.listen", config.peer.listen), ("kme.listen", config.kme.listen)):
        if address is None:
            continue
        host, _, port = address.rpartition(":")
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host.strip("[]"), int(port)))
            except OSError as error:
                yield Finding(
                    key, f"{address}: {error.strerror}", EXIT_CONFIGURATION,
                    remedy="stop what uses the port (a node that runs already?), or choose another, or --port-offset",
                )  # fmt: skip
            else:
                yield Finding(key, f"{address} is free")


def _broken_latch(config: NodeConfig, workspace: Path) -> Finding:
    path = config.state_dir(workspace) / BROKEN_FILE
    if path.exists():
        return Finding(
            "station", f"latched broken: {path.read_text(encoding='utf-8')}", EXIT_INSTRUMENT,
            remedy="look at the instrument, then qkd doctor --acknowledge",
        )  # fmt: skip
    return Finding("station", "not latched broken")


def worst(findings: list[Finding]) -> int:
    """Exit code of the first failed check, in the order in which they were made."""
    return next((finding.exit_code for finding in findings if finding.exit_code != EXIT_OK), EXIT_OK)
