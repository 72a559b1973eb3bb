"""Frozen results of the stages: raw clicks -> detections -> sifted -> reconciled -> verified -> secret key.

K is the key basis (Z), T the test basis (X). Bits are uint8 arrays of 0 and 1 unless a name ends in `_packed`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

BitArray = NDArray[np.uint8]


class Basis(IntEnum):
    """Z is the key basis, X the test basis."""

    Z = 0
    X = 1


@dataclass(frozen=True, slots=True)
class Gate:
    """An acceptance window: a click of `channel` whose phase in the slot lies in [start_ps, start_ps + width_ps), taken
    modulo the slot period, is the outcome `bit` in `basis`."""

    channel: int
    start_ps: float
    width_ps: float
    basis: Basis
    bit: int


@dataclass(frozen=True, slots=True)
class LinkParameters:
    """All that the two nodes must agree on before the first slot; its canonical form is in every transcript.

    Intensities are mean photon numbers of (signal, decoy), signal > decoy > 0; probabilities are the transmitter's.
    """

    link_id: str
    protocol: str
    slot_rate_hz: float
    mean_photon_numbers: tuple[float, float]
    intensity_probabilities: tuple[float, float]
    key_basis_probability: float  # Alice's probability of Z
    block_slots: int
    sync_string_slots: int
    eps_sec: float
    eps_cor: float
    proof: str  # id and version, e.g. "wiesemann2026/1"
    qber_z_limit: float
    qber_x_limit: float
    common_dead_time_ps: int
    software_version: str = ""


@dataclass(frozen=True, slots=True)
class Detections:
    """Bob's frozen slot assignment of one block: one detection per slot at most, after gating, the common dead time and
    the random assignment of double and cross-basis clicks.

    slot: int64 [n], strictly ascending; basis: uint8 [n]; bit: uint8 [n] (secret).
    """

    first_slot: int
    slots: int
    slot: NDArray[np.int64]
    basis: NDArray[np.uint8]
    bit: BitArray = field(repr=False)
    double_clicks: int = 0
    cross_basis_clicks: int = 0
    outside_gates: int = 0
    dead_time_removed: int = 0


@dataclass(frozen=True, slots=True)
class Sifted:
    """One side's bits where both used the same basis. `*_intensity`: uint8 index of the intensity class per bit."""

    key_bits: BitArray = field(repr=False)
    key_intensity: NDArray[np.uint8]
    test_bits: BitArray
    test_intensity: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class BlockCounts:
    """The integers that the proof sees, per intensity class (signal, decoy): detections n, errors m, in both bases."""

    n_key: tuple[int, ...]
    n_test: tuple[int, ...]
    m_key: tuple[int, ...]
    m_test: tuple[int, ...]

    @property
    def qber_z(self) -> float:
        """Error ratio of the key basis; 0.5 when empty."""
        return sum(self.m_key) / sum(self.n_key) if sum(self.n_key) else 0.5

    @property
    def qber_x(self) -> float:
        """Error ratio of the test basis; 0.5 when empty."""
        return sum(self.m_test) / sum(self.n_test) if sum(self.n_test) else 0.5


@dataclass(frozen=True, slots=True)
class BlockPlan:
    """Fixed-length mode: what was fixed before the block. The observation only accepts or aborts (protocol §3.8)."""

    secret_length_bits: int
    leakage_budget_bits: int
    # Accept only if the proof's bounds reach these: single-photon key detections at least, phase error at most.
    min_single_photon_key: int
    max_phase_error: float
    expected_qber_z: float  # prior of the reconciliation


@dataclass(frozen=True, slots=True)
class FiniteKeyResult:
    """A proof applied to a block: its bounds, and the length that these counts would have given."""

    proof: str
    single_photon_key: int
    single_photon_test: int
    phase_error_bound: float
    observed_length_bits: int  # floor, >= 0, with the leakage that was observed
    assumptions: tuple[str, ...]
    details: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LeakageEntry:
    """Bits of information about the key disclosed in one message."""

    what: str
    direction: str  # "alice->bob" or "bob->alice"
    bits: int
