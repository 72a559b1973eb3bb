"""The transcript: canonical, prefix-free, without copies."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.trust import transcript, wegman_carter
from controller.trust.errors import TranscriptError
from controller.trust.transcript import Direction, Sender, TranscriptEntry, TranscriptHeader, Verdict, transcript_parts

HEADER = TranscriptHeader(1, "link", 1, 7, Direction.A_TO_B, "final", "node-a", "node-b", 96, b"{}", "0.1")
OTHERS: dict[str, object] = {
    "suite": 2, "link_id": "link2", "epoch": 2, "round": 8, "direction": Direction.B_TO_A, "kind": "early",
    "identity_a": "node-", "identity_b": "bnode-b", "pad_offset": 128, "parameters": b"{ }", "version": "0.2",
}  # fmt: skip

headers = st.builds(
    TranscriptHeader,
    suite=st.just(1), link_id=st.text(max_size=2), epoch=st.integers(0, 2), round=st.integers(0, 2),
    direction=st.sampled_from(Direction), kind=st.text(max_size=2), identity_a=st.text(max_size=2),
    identity_b=st.text(max_size=2), pad_offset=st.integers(0, 2), parameters=st.binary(max_size=3), version=st.just(""),
)  # fmt: skip
keyed = st.dictionaries(
    st.tuples(st.integers(0, 2), st.sampled_from(Sender), st.integers(0, 2)),
    st.tuples(st.integers(1, 3), st.binary(max_size=4)),
    max_size=4,
)
History = dict[tuple[int, Sender, int], tuple[int, bytes]]


def entries(history: History) -> list[TranscriptEntry]:
    return [TranscriptEntry(*order, *content) for order, content in history.items()]


def whole(header: TranscriptHeader, history: History, verdict: Verdict = Verdict.OK) -> bytes:
    return b"".join(transcript_parts(header, entries(history), verdict))


@given(headers, keyed, st.sampled_from(Verdict), headers, keyed, st.sampled_from(Verdict))
def test_no_transcript_is_the_beginning_of_another(
    header: TranscriptHeader, history: History, verdict: Verdict, header2: TranscriptHeader, history2: History,
    verdict2: Verdict,
) -> None:  # fmt: skip
    one, two = whole(header, history, verdict), whole(header2, history2, verdict2)
    is_same = (header, history, verdict) == (header2, history2, verdict2)
    assert (one == two) == is_same
    assert is_same or not (one.startswith(two) or two.startswith(one))


@given(keyed, st.randoms())
def test_order_of_arrival_does_not_matter(history: History, random: object) -> None:
    items = list(history.items())
    random.shuffle(items)  # type: ignore[attr-defined]
    assert whole(HEADER, dict(items)) == whole(HEADER, history)


@pytest.mark.parametrize("field", OTHERS)
def test_every_field_of_the_header_is_bound(field: str) -> None:
    assert set(OTHERS) == {f.name for f in dataclasses.fields(TranscriptHeader)}
    assert whole(replace(HEADER, **{field: OTHERS[field]}), {}) != whole(HEADER, {})


def test_payloads_are_passed_on_and_not_copied() -> None:
    payload = bytearray(5 << 20)
    parts = list(transcript_parts(HEADER, [TranscriptEntry(1, Sender.BOB, 0, 2, payload)]))
    assert any(part is payload for part in parts)
    assert transcript.transcript_bytes(HEADER, [TranscriptEntry(1, Sender.BOB, 0, 2, payload)]) > len(payload)


def test_two_messages_at_one_place_are_refused() -> None:
    twice = [TranscriptEntry(1, Sender.BOB, 0, 2, b"a"), TranscriptEntry(1, Sender.BOB, 0, 2, b"b")]
    with pytest.raises(TranscriptError, match="two messages"):
        wegman_carter.tag(bytes(32), transcript_parts(HEADER, twice))


@pytest.mark.parametrize(
    "header", [replace(HEADER, epoch=1 << 32), replace(HEADER, round=-1), replace(HEADER, suite=256)]
)
def test_numbers_that_do_not_fit_are_refused(header: TranscriptHeader) -> None:
    with pytest.raises(TranscriptError, match="out of range"):
        transcript.header_bytes(header)


def test_digest_for_the_record_depends_on_messages_and_verdict_alone() -> None:
    said = entries({(0, Sender.ALICE, 0): (1, b"hello")})
    assert transcript.transcript_sha256(said) == transcript.transcript_sha256(said[::-1])
    assert transcript.transcript_sha256(said) != transcript.transcript_sha256(said, Verdict.ABORT)
    assert transcript.transcript_sha256(said) != transcript.transcript_sha256([])
