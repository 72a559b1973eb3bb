"""The configuration of one node: frozen, typed, unknown keys refused. One TOML file per node (configs/demo/*.toml).

Relative paths are relative to the workspace, the directory in which a node keeps what it writes. Whether an instrument
is real or simulated is decided by its resource string here and nowhere else; `[node] simulation` only says whether
seeded random generators may be used, and a node for real operation refuses them.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from postproc.records import LinkParameters

Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,31}$")]

MAX_PORT = 65_535


def _has_port(address: str) -> str:
    """Refuses a port that TCP does not have; 0 lets the system choose."""
    port = int(address.rpartition(":")[2])
    if port > MAX_PORT:
        raise ValueError(f"port {port} is above {MAX_PORT}")
    return address


Address = Annotated[str, Field(pattern=r"^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9_.-]+):[0-9]{1,5}$"), AfterValidator(_has_port)]
PathText = Annotated[str, Field(min_length=1, max_length=1024)]
Probability = Annotated[float, Field(gt=0, lt=1)]
Ratio = Annotated[float, Field(ge=0, le=1)]
Pair = Annotated[tuple[float, float], Field(strict=False)]
Floats = Annotated[tuple[float, ...], Field(strict=False, max_length=64)]
Names = Annotated[tuple[Name, ...], Field(strict=False, max_length=64)]


class Section(BaseModel):
    """Base of all tables: immutable, no unknown keys, no silent conversion of types, no infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class NodeSection(Section):
    """[node]: who this is."""

    name: Name
    role: Literal["alice", "bob"]
    simulation: bool = False  # seeded generators are allowed only when true
    state: str = ""  # directory of everything durable; default: state/<name>


class LinkSection(Section):
    """[link]: what both nodes must agree on. The fields of `postproc.records.LinkParameters`, with their limits."""

    link_id: Name
    protocol: Literal["bb84-one-decoy-timebin"] = "bb84-one-decoy-timebin"
    slot_rate_hz: float = Field(ge=1e6, le=1e10)
    mean_photon_numbers: Pair  # (signal, decoy), photons per slot
    intensity_probabilities: Pair
    key_basis_probability: Probability
    block_slots: int = Field(ge=100_000, le=1 << 40)
    sync_string_slots: int = Field(ge=1024, le=1 << 28)
    eps_sec: float = Field(ge=1e-15, le=1e-6)
    eps_cor: float = Field(ge=1e-18, le=1e-6)
    proof: str = "wiesemann2026/1"
    qber_z_limit: float = Field(gt=0, le=0.11)
    qber_x_limit: float = Field(gt=0, le=0.25)
    common_dead_time_ps: int = Field(ge=0, le=1_000_000_000)

    @model_validator(mode="after")
    def _intensities_make_sense(self) -> LinkSection:
        signal, decoy = self.mean_photon_numbers
        if not 0 < decoy < signal <= 2:
            raise ValueError(f"mean_photon_numbers must satisfy 0 < decoy < signal <= 2, not ({signal}, {decoy})")
        if min(self.intensity_probabilities) <= 0 or abs(sum(self.intensity_probabilities) - 1) > 1e-9:
            raise ValueError(
                f"intensity_probabilities must be positive with the sum 1, not {self.intensity_probabilities}"
            )
        return self

    def parameters(self, software_version: str) -> LinkParameters:
        """The frozen record that enters the transcript."""
        values = {f.name: getattr(self, f.name) for f in fields(LinkParameters) if f.name != "software_version"}
        return LinkParameters(**values, software_version=software_version)


class PeerSection(Section):
    """[peer]: the classical channel, one TCP connection under mutual TLS 1.3. One side listens, the other connects."""

    name: Name
    listen: Address | None = None
    connect: Address | None = None
    certificate: PathText
    private_key: PathText
    peer_certificate: PathText  # pinned
    timeout_s: float = Field(default=20.0, gt=0, le=600)  # silence after which the peer counts as lost

    @model_validator(mode="after")
    def _one_direction(self) -> PeerSection:
        if (self.listen is None) == (self.connect is None):
            raise ValueError("exactly one of listen and connect must be given")
        return self


class TrustSection(Section):
    """[trust]: the anchor. The file of a pre-shared key is destroyed when it has been imported."""

    psk: PathText


class StoreSection(Section):
    """[store]: the key store and the key that encrypts it."""

    path: PathText
    kek: PathText


class InstrumentSection(Section):
    """[instruments.NAME]: `driver` is a key of drivers/registry.py, `options` go to its `open`."""

    driver: Name
    resource: str = Field(min_length=3, max_length=512)
    serial: str = ""  # if given, an instrument with another serial number is refused
    options: dict[str, str | int | float | bool] = Field(default_factory=dict)


class SourceBench(Section):
    """[bench.source]: what was measured or read off a data sheet at Alice, each with its standard uncertainty."""

    wavelength_nm: float = Field(ge=400, le=2000)
    laser_current_a: float = Field(gt=0, le=2)
    fixed_attenuation_db: float = Field(ge=0, le=120)  # between the monitor tap and the fibre to Bob
    fixed_attenuation_sigma_db: float = Field(gt=0, le=3)
    tap_ratio: Probability  # power at the meter / power into the fixed attenuation
    tap_ratio_sigma: float = Field(gt=0, lt=1)
    intensity_dac: Annotated[tuple[int, int], Field(strict=False)] = (65535, 20000)  # first guess (signal, decoy)
    phase_bias_v: float = Field(default=0.0, ge=-10, le=10)  # first guess of the interferometer's actuator


class ReceiverBench(Section):
    """[bench.receiver]: Bob's splitter, detectors and tagger inputs. Tuples are in the order of `channels`."""

    key_basis_probability: Probability  # of the passive splitter
    channels: Annotated[tuple[int, ...], Field(strict=False, min_length=3, max_length=4)]  # (Z, X bit 0, X bit 1)
    detector_bias_a: Floats
    detector_trigger_v: Floats
    input_threshold_v: Floats
    polarization_v: Floats = ()  # first guess of the polarization controller

    @model_validator(mode="after")
    def _same_number_of_channels(self) -> ReceiverBench:
        for name in ("detector_bias_a", "detector_trigger_v", "input_threshold_v"):
            if len(getattr(self, name)) < len(self.channels):
                raise ValueError(f"{name} has {len(getattr(self, name))} values for {len(self.channels)} channels")
        return self


class BenchSection(Section):
    """[bench]: the part that belongs to the node's role must be there."""

    source: SourceBench | None = None
    receiver: ReceiverBench | None = None


class ExpectationSection(Section):
    """[expectation]: the link as it should be; the plan of a block is fixed from it beforehand (protocol §3.8)."""

    channel_loss_db: float = Field(ge=0, le=80)
    receiver_loss_db: float = Field(default=0.0, ge=0, le=30)
    detector_efficiency: Probability
    dark_count_rate_hz: float = Field(ge=0, le=1e6)  # per detector
    detector_dead_time_ps: int = Field(default=20_000, ge=0)
    receiver_key_basis_probability: Probability
    error_ratio_z: Ratio = 0.01  # from optics alone
    error_ratio_x: Ratio = 0.015


class CalibrationSection(Section):
    """[calibration]: how long a result is valid, and what it must reach."""

    validity_s: float = Field(default=3600.0, gt=0)
    mean_photon_tolerance: Ratio = 0.05  # |measured / target - 1|
    mean_photon_sigma_limit: Ratio = 0.1  # relative standard uncertainty
    gate_width_ps: float = Field(default=400.0, gt=0)
    gate_significance: float = Field(default=6.0, gt=0)  # of each peak, in standard deviations
    scan_tags: int = Field(default=200_000, ge=1000, le=100_000_000)


class KmeSection(Section):
    """[kme]: key delivery (ETSI GS QKD 014) over mutual TLS. A consumer is who its certificate's URI name
    urn:qkd:sae:ID says.
    """

    id: Name
    peer_id: Name
    listen: Address
    certificate: PathText
    private_key: PathText
    client_ca: PathText
    key_size_bits: int = Field(default=256, ge=64, le=8192, multiple_of=8)
    max_keys_per_request: int = Field(default=128, ge=1, le=10_000)
    saes: Names  # consumers at this node
    peer_saes: Names  # consumers at the other node


class LimitsSection(Section):
    """[limits]: when an alarm is raised and when a block is not made."""

    max_count_rate_hz: float = Field(default=50e6, gt=0)
    tag_silence_s: float = Field(default=5.0, gt=0)
    min_disk_free_bytes: int = Field(default=256 << 20, ge=0)
    min_authentication_rounds: int = Field(default=3, ge=1)
    store_capacity_bits: int = Field(default=1 << 33, ge=1 << 20)


class NodeConfig(Section):
    """A whole node file."""

    node: NodeSection
    link: LinkSection
    peer: PeerSection
    trust: TrustSection
    store: StoreSection
    instruments: dict[Name, InstrumentSection] = Field(min_length=1, max_length=64)
    bench: BenchSection
    expectation: ExpectationSection
    calibration: CalibrationSection = CalibrationSection()
    kme: KmeSection
    limits: LimitsSection = LimitsSection()

    @field_validator("instruments")
    @classmethod
    def _resources_differ(cls, value: dict[str, InstrumentSection]) -> dict[str, InstrumentSection]:
        seen: dict[str, str] = {}
        for name, instrument in value.items():
            if (other := seen.setdefault(instrument.resource, name)) != name:
                raise ValueError(f"{other} and {name} have the same resource {instrument.resource!r}")
        return value

    @model_validator(mode="after")
    def _dead_time_covers_the_detectors(self) -> NodeConfig:
        common, detector = self.link.common_dead_time_ps, self.expectation.detector_dead_time_ps
        if common < detector:
            raise ValueError(
                f"link.common_dead_time_ps = {common} is less than expectation.detector_dead_time_ps = {detector}: a "
                "detector that is still dead makes bits depend on each other"
            )
        return self

    @model_validator(mode="after")
    def _bench_fits_role(self) -> NodeConfig:
        needed = "source" if self.node.role == "alice" else "receiver"
        if getattr(self.bench, needed) is None:
            raise ValueError(f"role {self.node.role!r} needs a table [bench.{needed}]")
        if self.peer.name == self.node.name:
            raise ValueError(f"peer.name is this node's own name {self.node.name!r}")
        return self

    def state_dir(self, workspace: Path) -> Path:
        """Where this node keeps what must survive: pools, logs, sockets, run files."""
        return workspace / (self.node.state or f"state/{self.node.name}")
