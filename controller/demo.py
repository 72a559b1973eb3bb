"""The demonstration: a whole link on one machine. Bench and two nodes are processes; the keys end at two consumers.

    workspace, keys, certificates -> plan -> bench -> nodes -> (live progress) -> consumers -> truth -> stop -> report

The demo plays the operators and the consumers. It knows both nodes' files, so nothing here says anything about trust.
"""

from __future__ import annotations

import math
import re
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from controller.bench_client import READY_NAME, BenchClient
from controller.bundle import make_delivery_certificates, make_kek, make_psk, open_consumer
from controller.config import NodeConfig
from controller.config_loading import load_config
from controller.control_socket import SOCKET_NAME, ControlClient
from controller.errors import Aborted, ConfigurationError, PeerFailure, SecurityFailure, StoppedByHand
from controller.keys.consumer import decrypt, encrypt
from controller.monitoring.status import NodeStatus
from controller.stopping import StopRequest
from controller.supervisor import Child, Supervisor

POLL_S = 0.25
BENCH_START_S = 60.0
WATCH_ATTACK_S = 6.0  # after it was noticed: no key may follow
KEYS_COMPARED = 16
TARGET_MARGIN = 1.1  # the nodes count amplified bits; some of them refill the authentication pools
FILES = ("alice.toml", "bob.toml", "bench.toml")
MESSAGE = b"One million secret bits, and this line is the first to use some."


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the user asked for. `attack`: name of an attack of the bench, "" for none."""

    workspace: Path
    configs: Path
    secret_bits: int = 1_000_000
    seed: int | None = None
    attack: str = ""
    port_offset: int = 0
    deadline_s: float = 900.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the two consumers found."""

    keys_compared: int
    is_match: bool
    ciphertext_bytes: int
    is_message_read: bool


@dataclass(frozen=True, slots=True)
class DemoResult:
    """Everything that the summary is made of."""

    run_files: dict[str, Path]
    statuses: dict[str, NodeStatus]
    delivery: Delivery | None
    truth: dict[str, Any]
    attack: str
    wall_s: float
    stage_wall_s: dict[str, float]
    peak_memory_bytes: int


Observer = Callable[[str, list[NodeStatus]], None]


class Demo:
    """One demonstration. `observe(stage, statuses)` is called a few times a second."""

    def __init__(self, options: DemoOptions, observe: Observer) -> None:
        self._options = options
        self._observe = observe
        self._start_s = time.monotonic()
        self._stage = ""
        self._stage_start_s = self._start_s
        self._stage_wall_s: dict[str, float] = {}
        self._nodes: dict[str, NodeConfig] = {}
        self._has_gates = False
        self._is_workspace_mine = False

    def prepare(self) -> dict[str, NodeConfig]:
        """Make the workspace: configurations, keys, certificates. Returns both nodes' configurations.

        Raises ConfigurationError if there is something in the workspace already: it may be somebody's keys.
        """
        self._enter("preparing keys and certificates")
        options = self._options
        _claim(options.workspace)
        self._is_workspace_mine = True
        folder = options.workspace / "configs"
        folder.mkdir(parents=True)
        for name in FILES:
            _copy(options.configs / name, folder / name)
        if options.seed is not None:
            _set_seed(folder / "bench.toml", options.seed)
        for name in ("alice", "bob"):
            self._nodes[name] = load_config(folder / f"{name}.toml", port_offset=options.port_offset)
        alice, bob = self._nodes["alice"], self._nodes["bob"]
        make_psk(alice, bob, options.workspace)
        for node in (alice, bob):
            make_kek(node, options.workspace)
        make_delivery_certificates((alice, bob), options.workspace)
        return self._nodes

    def run(self) -> DemoResult:
        """Start, watch, deliver, stop. Raises QkdError; whatever happens, all processes are stopped before."""
        with StopRequest() as stop, Supervisor() as family:
            self._stop = stop
            self._start_bench(family)
            children = [self._start_node(family, name) for name in ("alice", "bob")]
            self._enter("link")
            statuses = self._until_target(family)
            delivery = None if self._options.attack else self._deliver()
            truth = self._truth()
            self._enter("stopping")
            family.stop_together(children)
            family.stop_all()
            memory_bytes = family.peak_memory_bytes
        self._enter("")
        return DemoResult(
            run_files={name: self._run_file(name) for name in self._nodes},
            statuses=statuses,
            delivery=delivery,
            truth=truth,
            attack=self._options.attack,
            wall_s=time.monotonic() - self._start_s,
            stage_wall_s=self._stage_wall_s,
            peak_memory_bytes=memory_bytes,
        )

    def forget_secrets(self) -> None:
        """Delete keys, stores and certificates; configurations, run files, logs and the report stay.

        Nothing happens in a workspace that `prepare` refused.
        """
        if not self._is_workspace_mine:
            return
        workspace = self._options.workspace
        shutil.rmtree(workspace / "trust", ignore_errors=True)
        for node in self._nodes.values():
            store = workspace / node.store.path
            for path in store.parent.glob(f"{store.name}*"):
                path.unlink()

    # ---- processes

    def _start_bench(self, family: Supervisor) -> None:
        self._enter("starting the bench")
        workspace = self._options.workspace
        words = [sys.executable, "-P", "-m", "sim_instruments", "configs/bench.toml", "--workspace", "."]
        if self._options.port_offset:
            words += ["--port-offset", str(self._options.port_offset)]
        family.start("bench", words, log=workspace / "logs/bench.log", cwd=workspace)
        self._wait(family, (workspace / READY_NAME).exists, BENCH_START_S, "the bench did not become ready")

    def _start_node(self, family: Supervisor, name: str) -> Child:
        workspace = self._options.workspace
        target_bits = math.ceil(self._options.secret_bits * TARGET_MARGIN)
        words = [sys.executable, "-P", "-m", "controller.cli", "run", "--config", f"configs/{name}.toml"]
        words += ["--workspace", ".", "--port-offset", str(self._options.port_offset), "--stop-with-parent", "--quiet"]
        words += ["--target-secret-bits", str(target_bits)]
        return family.start(f"node {name}", words, log=workspace / f"logs/{name}.log", cwd=workspace)

    def _until_target(self, family: Supervisor) -> dict[str, NodeStatus]:
        """Watch until both stores hold the target, or until the attack has been noticed."""
        statuses: dict[str, NodeStatus] = {}
        attack = _AttackWatch(self._options.attack)

        def is_over() -> bool:
            statuses.update(self._statuses())
            if not self._has_gates:
                self._register_gates()
            if attack.is_due(statuses):
                self._bench({"do": "attack", "name": self._options.attack, "fraction": 1.0})
            self._observe(self._stage, list(statuses.values()))
            if self._options.attack:
                return attack.is_over(statuses)
            return len(statuses) == 2 and all(
                s.key_bits_in_store >= self._options.secret_bits for s in statuses.values()
            )

        self._wait(family, is_over, self._options.deadline_s, "the link did not reach its target")
        return statuses

    def _wait(self, family: Supervisor, is_over: Callable[[], bool], limit_s: float, failure: str) -> None:
        """Poll until `is_over`, a child's end, Ctrl-C, or the limit."""
        give_up_s = time.monotonic() + limit_s
        while not is_over():
            family.check()
            if self._stop.is_requested:
                self._enter("stopping; Ctrl-C again: at once")
                raise StoppedByHand("stopped by hand")  # the supervisor adds what could not be made safe
            if time.monotonic() > give_up_s:
                raise Aborted(f"{failure} within {limit_s:g} s", remedy=f"read {self._options.workspace / 'logs'}")
            time.sleep(POLL_S)

    def _statuses(self) -> dict[str, NodeStatus]:
        found = {}
        for name, node in self._nodes.items():
            with suppress(PeerFailure):  # it is still starting
                found[name] = ControlClient(node.state_dir(self._options.workspace) / SOCKET_NAME).status()
        return found

    def _run_file(self, name: str) -> Path:
        files = sorted((self._nodes[name].state_dir(self._options.workspace) / "runs").glob("*.h5"))
        if not files:
            raise Aborted(f"node {name} wrote no run file", remedy=f"read {self._options.workspace}/logs/{name}.log")
        return files[-1]

    # ---- the bench, which alone knows the truth

    def _bench(self, request: dict[str, Any]) -> dict[str, Any]:
        return BenchClient(self._options.workspace).ask(request)

    def _register_gates(self) -> None:
        """Tell the bench which gates Bob found, so that it can average the truth for them over the run."""
        from controller.calibration.receiver import GATES, receiver_calibration
        from controller.calibration.result import CalibrationStore

        bob = self._nodes["bob"]
        result = CalibrationStore(bob.state_dir(self._options.workspace) / "calibrations").latest(GATES)
        if result is None:
            return
        gates = [[g.channel, g.start_ps, g.width_ps, int(g.basis), g.bit] for g in receiver_calibration(result).gates]
        self._bench({"do": "register_gates", "gates": gates, "common_dead_time_ps": bob.link.common_dead_time_ps})
        self._has_gates = True

    def _truth(self) -> dict[str, Any]:
        if not self._has_gates:
            return {}
        truth: dict[str, Any] = self._bench({"do": "expectation_average"})["expectation"]
        return truth

    # ---- consumers

    def _deliver(self) -> Delivery:
        """Two consumers fetch the same keys at their own nodes; one encrypts a message that the other one reads."""
        self._enter("consumers fetch keys")
        alice, bob = self._nodes["alice"], self._nodes["bob"]
        sae_a, sae_b = alice.kme.saes[0], bob.kme.saes[0]
        with open_consumer(alice, sae_a, self._options.workspace) as consumer_a:
            keys_a = consumer_a.enc_keys(sae_b, KEYS_COMPARED, alice.kme.key_size_bits)
        with open_consumer(bob, sae_b, self._options.workspace) as consumer_b:
            keys_b = consumer_b.dec_keys(sae_a, [key.key_id for key in keys_a])
        is_match = len(keys_a) == len(keys_b) and all(a.matches(b) for a, b in zip(keys_a, keys_b, strict=True))
        ciphertext = encrypt(keys_a[0], sae_a, sae_b, MESSAGE)
        try:
            is_read = decrypt(keys_b[0], sae_a, sae_b, ciphertext) == MESSAGE
        except SecurityFailure:
            is_read = False
        return Delivery(len(keys_a), is_match, len(ciphertext), is_read)

    def _enter(self, stage: str) -> None:
        """Note how long the last stage took, and show the next."""
        now = time.monotonic()
        if self._stage:
            self._stage_wall_s[self._stage] = now - self._stage_start_s
        self._stage, self._stage_start_s = stage, now
        if stage:
            self._observe(stage, [])


def new_workspace(parent: Path) -> Path:
    """runs/demo-<UTC>, not yet made."""
    return parent / f"demo-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"


class _AttackWatch:
    """When to mount an attack (as soon as both nodes have calibrated and begin a session), and when it was seen."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._is_mounted = False
        self._noticed_s: float | None = None

    def is_due(self, statuses: Mapping[str, NodeStatus]) -> bool:
        """True once, when a session begins."""
        begins = any(status.state in ("Synchronising", "Distilling") for status in statuses.values())
        is_due = bool(self._name) and not self._is_mounted and begins
        self._is_mounted = self._is_mounted or is_due
        return is_due

    def is_over(self, statuses: Mapping[str, NodeStatus]) -> bool:
        """Whether a node noticed, and time enough has passed in which a block might still have become a key."""
        if self._noticed_s is None and any(_has_noticed(status) for status in statuses.values()):
            self._noticed_s = time.monotonic()
        return self._noticed_s is not None and time.monotonic() - self._noticed_s > WATCH_ATTACK_S


def _has_noticed(status: NodeStatus) -> bool:
    """A block was given up, or errors were above their limit before there was one (in the disclosed sync string)."""
    return bool(status.blocks_aborted) or any(alarm.id in ("qber-z", "qber-x") for alarm in status.alarms)


def _claim(workspace: Path) -> None:
    """Make the directory, or take an empty one."""
    try:
        workspace.mkdir(parents=True, exist_ok=True)
        is_empty = not any(workspace.iterdir())
    except OSError as error:
        raise ConfigurationError(f"{workspace}: {error.strerror}", remedy="name a new directory") from error
    if not is_empty:
        raise ConfigurationError(f"{workspace}: the workspace is not empty", remedy="name a new directory")


def _copy(source: Path, target: Path) -> None:
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise ConfigurationError(
            f"{source}: {error.strerror}", remedy="--configs names a folder like configs/demo"
        ) from error


def _set_seed(bench: Path, seed: int) -> None:
    """Replace the seed of the bench file in the workspace."""
    text, count = re.subn(r"(?m)^seed = .*$", f"seed = {seed}", bench.read_text(encoding="utf-8"), count=1)
    if count != 1:
        raise ConfigurationError(f"{bench}: no line 'seed = ...' in [world]")
    bench.write_text(text, encoding="utf-8")
