"""PicoQuant PTU files: the header through `ptufile`, the records through `drivers.files.ptu_records`.

Times are exact in T2. In T3 a tag's time is nsync x sync period + dtime x resolution with the period of the header, so
it is as good as that number; order and remainders are exact.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivers.errors import DamagedFile
from drivers.files.batches import MAX_TIME_PS, Decoded

MAGIC = b"PQTTTR"
HEADER_LIMIT = 1 << 20
RECORD_BYTES = 4
_TAG_BYTES = 48


@dataclass(frozen=True, slots=True)
class Layout:
    """How the records of one RecType are laid out. `wrap`: what one overflow adds, in units of the coarse time."""

    is_pico: bool
    is_t3: bool
    wrap: int
    is_wrap_counted: bool


_HYDRA_T2 = Layout(False, False, 1 << 25, True)
_HYDRA_T3 = Layout(False, True, 1 << 10, True)
LAYOUTS = {
    0x00010203: Layout(True, False, 210698240, False),
    0x00010303: Layout(True, True, 1 << 16, False),
    0x00010204: Layout(False, False, 33552000, False),
    0x00010304: Layout(False, True, 1 << 10, False),
} | {
    family | mode: layout
    for family in (0x01010004, 0x00010005, 0x00010006, 0x00010007)
    for mode, layout in ((0x200, _HYDRA_T2), (0x300, _HYDRA_T3))
}


@dataclass(frozen=True, slots=True)
class PtuHeader:
    """What is needed of the header. `records`: as the header claims, 0 if it does not. Times of one unit in ps."""

    layout: Layout
    data_offset: int
    records: int
    coarse_ps: float
    fine_ps: float


def read_header(head: bytes, *, name: str) -> PtuHeader:
    """`head`: the first HEADER_LIMIT bytes. Raises DamagedFile."""
    import ptufile

    try:
        # from memory: a damaged length in the header then cannot ask for more than there is
        with ptufile.PtuFile(io.BytesIO(head)) as ptu:
            tags, offset = dict(ptu.tags), int(ptu.record_offset)
    except (ValueError, UnboundLocalError) as error:
        raise DamagedFile(f"{name}: PTU header cannot be read: {error}") from error
    if not head[offset - _TAG_BYTES : offset].startswith(b"Header_End\0"):
        raise DamagedFile(f"{name}: PTU header has no end within its first {HEADER_LIMIT} bytes")
    record_type = _number(tags, "TTResultFormat_TTTRRecType", name)
    layout = LAYOUTS.get(int(record_type))
    if layout is None:
        raise DamagedFile(f"{name}: PTU record type {int(record_type):#010x} is not known")
    coarse_ps = _resolution_ps(tags, "MeasDesc_GlobalResolution", name)
    fine_ps = _resolution_ps(tags, "MeasDesc_Resolution", name) if layout.is_t3 else 0.0
    claimed = _number(tags, "TTResult_NumberOfRecords", name)
    return PtuHeader(layout, offset, max(0, int(claimed)), coarse_ps, fine_ps)


def _number(tags: dict[str, object], key: str, name: str) -> float:
    value = tags.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise DamagedFile(f"{name}: PTU header has {key} = {value!r}, a number is needed")
    return value


def _resolution_ps(tags: dict[str, object], key: str, name: str) -> float:
    """In ps, made a whole number where the header means one (8e-11 s is 80.00000000000001 ps in binary)."""
    value_ps = _number(tags, key, name) * 1e12
    if not 1e-3 <= value_ps <= 1e12:
        raise DamagedFile(f"{name}: PTU header has {key} = {value_ps:g} ps, expected 0.001 ps to 1 s")
    nearest = round(value_ps)
    return float(nearest) if nearest > 0 and abs(value_ps - nearest) < 1e-6 * nearest else value_ps


class PtuDecoder:
    """Decodes the records of one file chunk by chunk; remembers the overflows."""

    def __init__(self, header: PtuHeader) -> None:
        self._header = header
        self._overflow = 0
        self._limit = int(min(MAX_TIME_PS / header.coarse_ps, MAX_TIME_PS)) - (1 << 28)

    def decode(self, records: NDArray[np.int64]) -> tuple[Decoded, int]:
        """u32 words, widened, to (tags, records read); fewer than given: the next record is impossible."""
        from drivers.files import ptu_records

        layout = self._header.layout
        coarse = np.empty(records.size, dtype=np.int64)
        fine = np.empty(records.size, dtype=np.int64)
        channel = np.empty(records.size, dtype=np.uint8)
        flags = np.empty(records.size, dtype=np.uint8)
        out = (coarse, fine, channel, flags)
        if layout.is_pico:
            result = ptu_records.decode_pico(records, layout.is_t3, layout.wrap, self._overflow, self._limit, *out)
        else:
            result = ptu_records.decode_hydra(
                records, layout.is_t3, layout.wrap, layout.is_wrap_counted, self._overflow, self._limit, *out
            )
        written, read, self._overflow = result
        time_ps = _scaled(coarse[:written], self._header.coarse_ps)
        if layout.is_t3:
            time_ps = time_ps + _scaled(fine[:written], self._header.fine_ps)
        return Decoded(time_ps, channel[:written].copy(), flags[:written].copy()), int(read)


def _scaled(units: NDArray[np.int64], unit_ps: float) -> NDArray[np.int64]:
    if unit_ps.is_integer():
        return units * int(unit_ps)
    return np.rint(units * unit_ps).astype(np.int64)
