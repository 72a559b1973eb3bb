"""What a key block knows about itself (protocol §4): enough to recompute its length, and nothing secret."""

from __future__ import annotations

import msgspec


class BlockRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Public record of one round. Per-intensity tuples are ordered (signal, decoy). Times are wall seconds."""

    link_id: str
    node: str
    epoch: int
    round: int
    outcome: str  # "key" or "aborted"
    reason: str  # why it was aborted, in words; "" for a key
    session_id: str
    first_slot: int
    slots: int
    time_utc: str
    detections: int
    sifted_bits: int
    n_key: tuple[int, ...]
    n_test: tuple[int, ...]
    m_key: tuple[int, ...]
    m_test: tuple[int, ...]
    qber_z: float
    qber_x: float
    double_clicks: int
    cross_basis_clicks: int
    phase_error_bound: float
    single_photon_key: int
    leakage: tuple[tuple[str, str, int], ...]  # (what, direction, bits)
    leakage_bits: int
    efficiency_f: float  # all disclosed bits / (n h(Q))
    efficiency_f_forward: float  # syndromes and disclosures only, for comparison with papers
    plan_secret_length_bits: int
    plan_leakage_budget_bits: int
    plan_min_single_photon_key: int
    plan_max_phase_error: float
    observed_length_bits: int  # what these counts would have given
    secret_bits: int  # length of the amplified key, authentication refill included
    refill_bits: int
    key_ids: tuple[str, ...]  # first and last key_ID of the block
    key_count: int
    proof: str
    mode: str  # "fixed-length"
    eps_sec: float
    eps_cor: float
    eps_auth: float
    auth: str  # "its" or "computational"
    auth_bits_consumed: int
    assumptions: tuple[str, ...]
    calibration_ids: tuple[str, ...]
    transcript_sha256: str
    mean_photon_numbers: tuple[float, float]
    intensity_probabilities: tuple[float, float]
    key_basis_probability: float
    verification_bits: int
    stage_seconds: dict[str, float]
