"""Samples that several tests of the shell use: node files, a status, a block record, a fake instrument."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec

from controller.block_record import BlockRecord
from controller.config import NodeConfig
from controller.config_loading import parse_config
from controller.monitoring.status import NodeStatus
from drivers.errors import InstrumentError
from drivers.roles import Identity, Snapshot

ROOT = Path(__file__).resolve().parents[2]
ALICE_TEXT = (ROOT / "configs/demo/alice.toml").read_text(encoding="utf-8")
BOB_TEXT = (ROOT / "configs/demo/bob.toml").read_text(encoding="utf-8")


def alice() -> NodeConfig:
    return parse_config(ALICE_TEXT, source="alice.toml")


def bob() -> NodeConfig:
    return parse_config(BOB_TEXT, source="bob.toml")


def status(**changes: object) -> NodeStatus:
    base = NodeStatus(
        node="alice", role="alice", time_utc="2026-11-22T08:00:00Z", state="Distilling", qber_z_limit=0.05,
        qber_x_limit=0.05,
    )  # fmt: skip
    return msgspec.structs.replace(base, **changes)


def block(**changes: object) -> BlockRecord:
    base = BlockRecord(
        link_id="demo-50km", node="bob", epoch=0, round=0, outcome="key", reason="", session_id="0" * 16,
        first_slot=1000,
        slots=156_000_000, time_utc="2026-11-22T08:00:00Z", detections=1_700_000, sifted_bits=1_000_000,
        n_key=(530_000, 470_000), n_test=(56_000, 50_000), m_key=(8_000, 7_000), m_test=(1_200, 1_000), qber_z=0.015,
        qber_x=2200 / 106_000, double_clicks=200, cross_basis_clicks=4000, phase_error_bound=0.06,
        single_photon_key=620_000, leakage=(("syndromes", "alice->bob", 130_000), ("error counts", "bob->alice", 38)),
        leakage_bits=130_038, efficiency_f=1.12, efficiency_f_forward=1.11, plan_secret_length_bits=186_862,
        plan_leakage_budget_bits=167_394, plan_min_single_photon_key=586_632, plan_max_phase_error=0.078,
        observed_length_bits=300_000, secret_bits=186_862, refill_bits=2_048, key_ids=("a", "b"), key_count=720,
        proof="wiesemann2026/1", mode="fixed-length", eps_sec=1e-10, eps_cor=1e-12, eps_auth=1e-30, auth="its",
        auth_bits_consumed=1024, assumptions=("phases are random",), calibration_ids=("gates-1-abc",),
        transcript_sha256="00" * 32, mean_photon_numbers=(0.4, 0.15), intensity_probabilities=(0.3, 0.7),
        key_basis_probability=0.7, verification_bits=128, stage_seconds={"decode": 0.5, "amplify": 0.1, "round": 0.7},
    )  # fmt: skip
    return msgspec.structs.replace(base, **changes)


@dataclasses.dataclass
class FakeLaser:
    """Fulfils `drivers.roles.Laser`; `fault` names the call that fails, `calls` the order of calls."""

    name: str
    calls: list[str]
    fault: str = ""
    serial: str = "S1"

    def _do(self, what: str) -> None:
        self.calls.append(f"{self.name}.{what}")
        if what == self.fault:
            raise InstrumentError(f"{what} failed", instrument=self.name)

    @property
    def identity(self) -> Identity:
        return Identity("Maker", "Model", self.serial, "1.0")

    def snapshot(self) -> Snapshot:
        self._do("snapshot")
        return Snapshot(self.identity, {"current_a": 0.1}, {"current_a": "100.0"})

    def make_safe(self) -> None:
        self._do("make_safe")

    def close(self) -> None:
        self._do("close")

    def set_current_a(self, current_a: float) -> None:
        self._do("set_current_a")

    def current_a(self) -> float:
        return 0.0

    def set_emission(self, is_on: bool) -> None:
        self._do("set_emission")

    def is_emitting(self) -> bool:
        return False

    def is_interlock_closed(self) -> bool:
        return True

    def clear_errors(self) -> None:
        self._do("clear_errors")


@dataclasses.dataclass
class FakeMeter:
    """Fulfils `drivers.roles.PowerMeter` only."""

    name: str
    calls: list[str]

    @property
    def identity(self) -> Identity:
        return Identity("Maker", "Meter", "S2", "1.0")

    def snapshot(self) -> Snapshot:
        return Snapshot(self.identity, {}, {})

    def make_safe(self) -> None:
        self.calls.append(f"{self.name}.make_safe")

    def close(self) -> None:
        self.calls.append(f"{self.name}.close")

    def set_wavelength_nm(self, wavelength_nm: float) -> None:
        self.calls.append(f"{self.name}.set_wavelength_nm")

    def power_w(self) -> float:
        return 1e-6
