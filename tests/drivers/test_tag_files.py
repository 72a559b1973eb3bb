"""Tag files: round trips through small encoders, recordings of real devices, damage of every kind."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import ptufile
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.errors import DamagedFile
from drivers.files.reader import TagFormat, describe, read_tag_file
from drivers.tags import AnomalyKind, TagBatch, TagFlag
from tests.drivers import tag_encoders as encode
from tests.drivers.recordings import RECORDINGS, needs_recordings


def read_all(path: Path, kind: str | None = None, **options: int) -> list[TagBatch]:
    return list(read_tag_file(path, kind, **options))


def tags_of(batches: Sequence[TagBatch]) -> list[tuple[int, int, int]]:
    return [(int(t), int(c), int(f)) for b in batches for t, c, f in zip(b.time_ps, b.channel, b.flags, strict=True)]


def count(batches: Sequence[TagBatch], kind: AnomalyKind) -> int:
    return sum(a.count for b in batches for a in b.anomalies if a.kind is kind)


times = st.lists(st.integers(0, 1 << 40), min_size=20, max_size=60).map(sorted)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tags")


@settings(max_examples=40, deadline=None)
@given(data=st.data(), batch=st.integers(1, 70))
@pytest.mark.parametrize(("kind", "writer"), [("s15-a1", encode.s15_a1), ("s15-a1x", encode.s15_a1x)])
def test_s15_round_trip(
    folder: Path, kind: str, writer: Callable[[Sequence[int]], bytes], data: st.DataObject, batch: int
) -> None:
    units = data.draw(times)
    patterns = data.draw(st.lists(st.integers(1, 15), min_size=len(units), max_size=len(units)))
    dummies = data.draw(st.lists(st.booleans(), min_size=len(units), max_size=len(units)))
    words = [encode.s15_record(t, p, is_dummy=d) for t, p, d in zip(units, patterns, dummies, strict=True)]
    expected = [
        (t * 125 // 32, channel, TagFlag.SIMULTANEOUS if p.bit_count() > 1 else 0)
        for t, p, is_dummy in zip(units, patterns, dummies, strict=True)
        if not is_dummy
        for channel in range(1, 5)
        if p >> (channel - 1) & 1
    ]
    path = folder / "round.bin"
    path.write_bytes(writer(words))
    batches = read_all(path, kind, batch_records=batch)
    assert tags_of(batches) == expected
    assert count(batches, AnomalyKind.DUMMY) == sum(dummies)
    assert max(len(b) for b in batches) <= 4 * batch


def test_s15_legacy_and_swapped_order_are_told_apart(tmp_path: Path) -> None:
    steps = np.cumsum(np.random.default_rng(1).integers(1, 10**7, 400)).tolist()
    legacy = tmp_path / "legacy.raw"
    legacy.write_bytes(encode.s15_legacy([(t, 1) for t in steps]))
    assert describe(legacy).format is TagFormat.S15_LEGACY
    assert tags_of(read_all(legacy))[-1] == (steps[-1] * 125, 1, 0)
    for writer, kind in ((encode.s15_a1, TagFormat.S15_A1), (encode.s15_a1x, TagFormat.S15_A1X)):
        path = tmp_path / "noname"
        path.write_bytes(writer([encode.s15_record(t, 2) for t in steps]))
        assert describe(path).format is kind


def test_s15_backward_step_is_flagged_across_batches(tmp_path: Path) -> None:
    path = tmp_path / "back.bin"
    path.write_bytes(encode.s15_a1([encode.s15_record(t, 1) for t in (1000, 2000, 1500, 3000)]))
    batches = read_all(path, "s15-a1", batch_records=2)
    assert [f for _, _, f in tags_of(batches)] == [0, 0, TagFlag.BACKWARD, 0]
    assert count(batches, AnomalyKind.BACKWARD) == 1
    assert [b.complete_until_ps for b in batches] == [7812, 11718]


@settings(max_examples=40, deadline=None)
@given(units=times, channels=st.lists(st.sampled_from([0, 1, 4, 31, 104, 203]), min_size=60, max_size=60))
def test_qutag_round_trip(folder: Path, units: list[int], channels: list[int]) -> None:
    path = folder / "round.qutag"
    events = list(zip(units, channels, strict=False))
    path.write_bytes(encode.qutag(events))
    expected = [(t, c, TagFlag.MARKER) if c >= 100 else (t, c + 1, 0) for t, c in events]
    assert tags_of(read_all(path, batch_records=7)) == expected
    assert describe(path).records == len(events)


@settings(max_examples=30, deadline=None)
@given(
    units=st.lists(st.integers(0, 10**9), min_size=1, max_size=50).map(sorted),
    channels=st.lists(st.sampled_from([0, 1, 2, 8, 101, 115]), min_size=50, max_size=50),
)
def test_ptu_t2_round_trip_tells_sync_from_input_1(folder: Path, units: list[int], channels: list[int]) -> None:
    path = folder / "t2.ptu"
    events = list(zip(units, channels, strict=False))
    path.write_bytes(encode.ptu(0x00010207, encode.hydra_t2(events), unit_s=5e-12))
    expected = [(5 * t, c, TagFlag.MARKER if c == 0 or c > 100 else 0) for t, c in events]
    assert tags_of(read_all(path, batch_records=5)) == expected


@pytest.mark.parametrize("record_type", [0x00010207, 0x01010204, 0x00010205, 0x00010203])
def test_ptu_t2_times_agree_with_ptufile(tmp_path: Path, record_type: int) -> None:
    rng = np.random.default_rng(2)
    events = [
        (int(t), int(c)) for t, c in zip(np.cumsum(rng.integers(1, 10**7, 300)), rng.integers(1, 3, 300), strict=True)
    ]
    encoder = encode.pico_t2 if record_type == 0x00010203 else encode.hydra_t2
    path = tmp_path / "t2.ptu"
    path.write_bytes(encode.ptu(record_type, encoder(events), unit_s=4e-12))
    with ptufile.PtuFile(path) as reference:
        decoded = reference.decode_records()
    photons = decoded[decoded["channel"] >= 0]
    assert [(4 * int(r["time"]), int(r["channel"]) + 1, 0) for r in photons] == tags_of(read_all(path))


def test_ptu_hydraharp_v1_adds_one_short_overflow(tmp_path: Path) -> None:
    path = tmp_path / "hh1.ptu"
    path.write_bytes(encode.ptu(0x00010204, encode.hydra_t2([(40_000_000, 2)], wrap=33552000), unit_s=1e-12))
    assert tags_of(read_all(path)) == [(40_000_000, 2, 0)]


@pytest.mark.parametrize(("record_type", "encoder"), [(0x00010307, encode.hydra_t3), (0x00010303, encode.pico_t3)])
def test_ptu_t3_round_trip(
    tmp_path: Path, record_type: int, encoder: Callable[[Sequence[tuple[int, int, int]]], list[int]]
) -> None:
    rng = np.random.default_rng(3)
    syncs = np.cumsum(rng.integers(0, 40_000, 200)).tolist()
    events = [
        (s, int(d), int(c)) for s, d, c in zip(syncs, rng.integers(1, 3000, 200), rng.integers(1, 4, 200), strict=True)
    ]
    path = tmp_path / "t3.ptu"
    path.write_bytes(encode.ptu(record_type, encoder(events), unit_s=12.5e-9, fine_s=4e-12))
    assert tags_of(read_all(path, batch_records=11)) == [(12_500 * s + 4 * d, c, 0) for s, d, c in events]


def test_ptu_claiming_more_records_than_there_are_is_truncated(tmp_path: Path) -> None:
    path = tmp_path / "short.ptu"
    path.write_bytes(encode.ptu(0x00010207, encode.hydra_t2([(5, 1), (9, 2)]), unit_s=1e-12, claimed=10) + b"\1\2")
    batches = read_all(path)
    assert tags_of(batches) == [(5, 1, 0), (9, 2, 0)]
    assert count(batches, AnomalyKind.TRUNCATED) == 1


def test_ptu_impossible_record_comes_after_everything_before_it(tmp_path: Path) -> None:
    path = tmp_path / "bad.ptu"
    path.write_bytes(encode.ptu(0x00010207, [*encode.hydra_t2([(5, 1), (9, 2)]), 1 << 31 | 40 << 25], unit_s=1e-12))
    batches: list[TagBatch] = []
    with pytest.raises(DamagedFile, match="record 2 is impossible"):
        batches.extend(read_tag_file(path))
    collected = list(itertools.islice(read_tag_file(path), 1))
    assert tags_of(collected) == [(5, 1, 0), (9, 2, 0)]


def test_truncated_record_is_reported_after_the_whole_ones(tmp_path: Path) -> None:
    path = tmp_path / "cut.qutag"
    path.write_bytes(encode.qutag([(t, 1) for t in range(30)])[:-3])
    batches = read_all(path)
    assert len(tags_of(batches)) == 29
    assert count(batches, AnomalyKind.TRUNCATED) == 1


def test_qutag_impossible_channel(tmp_path: Path) -> None:
    path = tmp_path / "bad.qutag"
    path.write_bytes(encode.qutag([(1, 1), (2, 77), (3, 1)]))
    reader = read_tag_file(path, "qutag")
    assert tags_of([next(reader)]) == [(1, 2, 0)]
    with pytest.raises(DamagedFile, match=r"record 1 .* channel 77"):
        next(reader)


def test_unknown_content_unknown_name_unknown_format(tmp_path: Path) -> None:
    noise = tmp_path / "noise.bin"
    noise.write_bytes(np.random.default_rng(4).bytes(5000))
    with pytest.raises(DamagedFile, match=r"noise\.bin: 5000 bytes in no tag format.*s15-a1x"):
        read_all(noise)
    with pytest.raises(DamagedFile, match="'csv' is not known"):
        read_all(noise, "csv")
    with pytest.raises(DamagedFile, match="cannot be opened"):
        read_all(tmp_path / "absent.ptu")
    short = tmp_path / "short.a1.ts"
    short.write_bytes(encode.s15_a1([encode.s15_record(256, 1)]))
    assert tags_of(read_all(short)) == [(1000, 1, 0)]


def _good_files() -> dict[str, bytes]:
    steps = np.cumsum(np.random.default_rng(5).integers(1, 10**6, 200)).tolist()
    t2 = encode.hydra_t2([(t, 1 + t % 3) for t in steps])
    return {
        "x.a1.ts": encode.s15_a1([encode.s15_record(t, 1 + t % 15) for t in steps]),
        "x.raw": encode.s15_legacy([(t, 1) for t in steps]),
        "x.qutag": encode.qutag([(t, t % 5) for t in steps]),
        "x.ptu": encode.ptu(0x00010207, t2, unit_s=1e-12),
        "t3.ptu": encode.ptu(0x00010303, encode.pico_t3([(t, 7, 1) for t in steps[:40]]), unit_s=1e-8, fine_s=1e-12),
    }


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damaged_bytes_end_in_typed_errors_only(folder: Path, data: st.DataObject) -> None:
    files = _good_files()
    name = data.draw(st.sampled_from(sorted(files)))
    content = bytearray(files[name])
    for _ in range(data.draw(st.integers(0, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    kind = data.draw(st.sampled_from([None, *TagFormat]))
    path = folder / name
    path.write_bytes(content)
    total = 0
    try:
        for batch in read_tag_file(path, kind, batch_records=64):
            total += len(batch)
            assert len(batch) <= 4 * 64
            assert len(batch.anomalies) <= 4
    except DamagedFile:
        pass  # the one error that bytes alone may cause
    assert total <= len(content)  # no record is shorter than four bytes, none makes more than four tags


@needs_recordings
def test_recording_s15_4ps_card() -> None:
    path = RECORDINGS / "s15_tdc2_qkd_calibration.a1.ts"
    batches = read_all(path)
    tags = tags_of(batches)
    assert describe(path).format is TagFormat.S15_A1
    assert describe(path).records == 2000
    assert len(tags) == 2012
    assert count(batches, AnomalyKind.SIMULTANEOUS) == 12
    assert count(batches, AnomalyKind.DUMMY) == count(batches, AnomalyKind.BACKWARD) == 0
    assert {c for _, c, _ in tags} == {1, 2, 3, 4}
    assert (tags[-1][0] - tags[0][0]) * 1e-12 == pytest.approx(0.935e-3, rel=1e-3)


@needs_recordings
def test_recording_s15_legacy() -> None:
    path = RECORDINGS / "s15_legacy_two_channel.raw"
    tags = tags_of(read_all(path))
    assert describe(path).format is TagFormat.S15_LEGACY
    assert len(tags) == 185
    assert {c for _, c, _ in tags} == {1, 2}
    assert all(t % 125 == 0 for t, _, _ in tags)
    assert (tags[-1][0] - tags[0][0]) * 1e-12 == pytest.approx(0.9926632)


@needs_recordings
def test_recording_quantum_key_file_is_no_tag_file() -> None:
    with pytest.raises(DamagedFile, match="no tag format"):
        describe(RECORDINGS / "biased_key_file.cor")


@needs_recordings
def test_recording_qutag() -> None:
    path = RECORDINGS / "qutag_80MHz_hbt.qutag"
    batches = read_all(path)
    assert describe(path).format is TagFormat.QUTAG
    assert sum(map(len, batches)) == 267_801
    assert count(batches, AnomalyKind.BACKWARD) == 173
