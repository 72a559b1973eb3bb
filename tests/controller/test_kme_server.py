"""ETSI GS QKD 014 over real mutual TLS: the standard's answers, exactly-once, hostile clients and peers."""

from __future__ import annotations

import base64
import secrets
import socket
import ssl
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as limits
from hypothesis import strategies as st

from controller.errors import ConfigurationError, PeerFailure
from controller.keys.consumer import KmeRefused, client_context, decrypt, encrypt
from controller.keys.errors import NoticeRefused
from controller.keys.throwaway_ca import ThrowawayCa, write_demo_certificates
from controller.trust.errors import AuthenticationFailed, PadRefused
from tests.controller.kme_pair import SAES, KmePair, running
from tests.controller.stores import make_pair

KEYS = 400
STATUS_FIELDS = {
    "source_KME_ID": str, "target_KME_ID": str, "master_SAE_ID": str, "slave_SAE_ID": str, "key_size": int,
    "stored_key_count": int, "max_key_count": int, "max_key_per_request": int, "max_key_size": int,
    "min_key_size": int, "max_SAE_ID_count": int,
}  # fmt: skip


@pytest.fixture(scope="module")
def kmes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KmePair]:
    directory = tmp_path_factory.mktemp("kme")
    write_demo_certificates(directory, ["kme-alice", "kme-bob"], [*SAES["alice"], *SAES["bob"]])
    pair = make_pair(directory)
    pair.commit(0, secrets.token_bytes(32 * KEYS))
    with running(pair, directory) as kmes:
        yield kmes
    pair.close()


@pytest.fixture
def calm(kmes: KmePair) -> Iterator[KmePair]:
    """The same KMEs; wire faults of a test end with it."""
    yield kmes
    kmes.wire.is_up = True
    kmes.wire.tamper = lambda payload: payload


def raw(kmes: KmePair, sae: str, node: str) -> httpx.Client:
    files = [kmes.directory / name for name in (f"{sae}.pem", f"{sae}.key", "ca.pem")]
    return httpx.Client(base_url=kmes.url(node), verify=client_context(*files), trust_env=False)


@pytest.fixture(scope="module")
def http(kmes: KmePair) -> Iterator[httpx.Client]:
    """The first consumer at Alice's KME."""
    with raw(kmes, "sae-a1", "alice") as client:
        yield client


def assert_error(response: httpx.Response, status: int, text: str = "") -> None:
    assert response.status_code == status, response.text
    body = response.json()
    assert set(body) <= {"message", "details"}
    assert text in body["message"]


def test_status_has_the_fields_of_the_standard(kmes: KmePair) -> None:
    with kmes.consumer("sae-a1", "alice") as consumer:
        status = consumer.status("sae-b1")
    assert {name: type(value) for name, value in status.items()} == STATUS_FIELDS
    assert (status["source_KME_ID"], status["target_KME_ID"]) == ("KME-alice", "KME-bob")
    assert (status["master_SAE_ID"], status["slave_SAE_ID"]) == ("sae-a1", "sae-b1")
    assert status["stored_key_count"] == kmes.pair.alice.counts().ready_as_master


def test_both_consumers_get_the_same_key_and_a_message_crosses(kmes: KmePair) -> None:
    with kmes.consumer("sae-a1", "alice") as alice, kmes.consumer("sae-b1", "bob") as bob:
        (mine,) = alice.enc_keys("sae-b1")
        (theirs,) = bob.dec_keys("sae-a1", [mine.key_id])
    assert mine.matches(theirs)
    message = encrypt(mine, "sae-a1", "sae-b1", b"hello")
    assert decrypt(theirs, "sae-a1", "sae-b1", message) == b"hello"


def test_either_site_is_master_without_getting_in_the_way_of_the_other(kmes: KmePair) -> None:
    with kmes.consumer("sae-a2", "alice") as alice, kmes.consumer("sae-b2", "bob") as bob:
        ours, theirs = alice.enc_keys("sae-b2", number=3), bob.enc_keys("sae-a2", number=3)
        assert not {key.key_id for key in ours} & {key.key_id for key in theirs}
        assert all(map(type(ours[0]).matches, ours, bob.dec_keys("sae-a2", [key.key_id for key in ours])))
        assert all(map(type(ours[0]).matches, theirs, alice.dec_keys("sae-b2", [key.key_id for key in theirs])))


@pytest.mark.parametrize("size", [64, 128, 256, 512, 4096])
def test_sizes(kmes: KmePair, http: httpx.Client, size: int) -> None:
    keys = http.get("/api/v1/keys/sae-b1/enc_keys", params={"number": 1, "size": size}).json()["keys"]
    assert set(keys[0]) == {"key_ID", "key"}
    assert len(base64.b64decode(keys[0]["key"], validate=True)) == size // 8
    assert uuid.UUID(keys[0]["key_ID"]).version == 8
    with raw(kmes, "sae-b1", "bob") as bob:
        answer = bob.get("/api/v1/keys/sae-a1/dec_keys", params={"key_ID": keys[0]["key_ID"]})
        assert answer.json()["keys"] == keys
        assert answer.headers["cache-control"] == "no-store"
        again = bob.get("/api/v1/keys/sae-a1/dec_keys", params={"key_ID": keys[0]["key_ID"]})
    assert_error(again, 400, "already")


def test_several_slaves_each_get_it_once(kmes: KmePair) -> None:
    with kmes.consumer("sae-a1", "alice") as alice, kmes.consumer("sae-b1", "bob") as one:
        keys = alice.enc_keys("sae-b1", 2, 256, ["sae-b2"])
        ids = [key.key_id for key in keys]
        with kmes.consumer("sae-b2", "bob") as two:
            assert all(map(type(keys[0]).matches, keys, one.dec_keys("sae-a1", ids)))
            assert all(map(type(keys[0]).matches, keys, two.dec_keys("sae-a1", ids)))
            with pytest.raises(KmeRefused) as caught:
                two.dec_keys("sae-a1", ids)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"number": 0}, "number"),
        ({"number": 17}, "from 1 to 16"),
        ({"number": -1}, "number"),
        ({"number": "1"}, "number"),
        ({"number": 1.5}, "number"),
        ({"size": 12}, "multiple of 8"),
        ({"size": 56}, "from 64 to 4096"),
        ({"size": 4104}, "from 64 to 4096"),
        ({"size": 10**30}, "from 64 to 4096"),
        ({"extension_mandatory": [{"x": 1}]}, "not all extension_mandatory parameters are supported"),
        ({"additional_slave_SAE_IDs": ["sae-b1"]}, "differ"),
        ({"additional_slave_SAE_IDs": ["nobody"]}, "no such slave"),
        ({"additional_slave_SAE_IDs": ["sae-a1"]}, "same"),
        ({"additional_slave_SAE_IDs": [f"sae-{index}" for index in range(9)]}, "at most 8"),
        ([], "malformed"),
    ],
)
def test_requests_that_are_refused(http: httpx.Client, kmes: KmePair, body: Any, text: str) -> None:
    before = kmes.pair.alice.counts()
    assert_error(http.post("/api/v1/keys/sae-b1/enc_keys", json=body), 400, text)
    assert kmes.pair.alice.counts() == before


@pytest.mark.parametrize(
    "query", ["number=0", "number=x", "size=12", "number=1&size=-8", "number=9999999999", "size=٣"]
)
def test_queries_that_are_refused(http: httpx.Client, query: str) -> None:
    assert_error(http.get(f"/api/v1/keys/sae-b1/enc_keys?{query}"), 400)


@pytest.mark.parametrize("sae", ["sae-a1", "nobody", "sae-a2", "%00", "a" * 500])
def test_slaves_that_are_refused(http: httpx.Client, sae: str) -> None:
    for what in ("status", "enc_keys"):
        assert_error(http.get(f"/api/v1/keys/{sae}/{what}"), 400)


def test_optional_extensions_are_ignored(http: httpx.Client) -> None:
    response = http.post("/api/v1/keys/sae-b1/enc_keys", json={"extension_optional": [{"x": 1}], "unknown": True})
    assert response.status_code == 200


def test_an_empty_body_takes_the_defaults(http: httpx.Client) -> None:
    keys = http.post("/api/v1/keys/sae-b1/enc_keys").json()["keys"]
    assert len(keys) == 1
    assert len(base64.b64decode(keys[0]["key"])) == 32


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"key_IDs": []},
        {"key_IDs": ["x"]},
        {"key_IDs": [{"key_ID": "no uuid"}]},
        {"key_IDs": [{"key_ID": str(uuid.uuid4())}]},
    ],
)
def test_key_ids_that_are_refused(http: httpx.Client, body: Any) -> None:
    assert_error(http.post("/api/v1/keys/sae-b1/dec_keys", json=body), 400)


def test_bodies_are_bounded(http: httpx.Client) -> None:
    assert_error(http.post("/api/v1/keys/sae-b1/enc_keys", content=b" " * 70_000), 400, "longer than 65536")


@limits(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.one_of(st.binary(max_size=200), st.text(max_size=100).map(str.encode)))
def test_garbage_is_answered_with_400(http: httpx.Client, body: bytes) -> None:
    is_request = body.translate(None, b" \t\r\n") in (b"", b"{}")  # for keys: every member is optional
    for path in ("sae-b1/dec_keys", "sae-b1/enc_keys"):
        if not is_request or path.endswith("dec_keys"):
            assert_error(http.post(f"/api/v1/keys/{path}", content=body), 400)


def test_a_consumer_that_was_not_named_gets_401_without_a_body(kmes: KmePair) -> None:
    with kmes.consumer("sae-a1", "alice") as alice:
        (key,) = alice.enc_keys("sae-b1")
    with raw(kmes, "sae-b2", "bob") as other:
        response = other.get("/api/v1/keys/sae-a1/dec_keys", params={"key_ID": key.key_id})
    assert (response.status_code, response.content) == (401, b"")
    with raw(kmes, "sae-b1", "bob") as bob:
        wrong_master = bob.get("/api/v1/keys/sae-a2/dec_keys", params={"key_ID": key.key_id})
        assert wrong_master.status_code == 401
        assert bob.get("/api/v1/keys/sae-a1/dec_keys", params={"key_ID": key.key_id}).status_code == 200


def test_identity_comes_from_the_certificate_alone(kmes: KmePair) -> None:
    with raw(kmes, "sae-b1", "alice") as stranger:  # a valid certificate, but a consumer of the other site
        for headers in ({}, {"X-SAE-ID": "sae-a1", "X-Forwarded-For": "127.0.0.1", "X-Client-Cert": "sae-a1"}):
            response = stranger.get("/api/v1/keys/sae-b2/status", headers=headers)
            assert (response.status_code, response.content) == (401, b"")


def test_all_or_nothing(kmes: KmePair, http: httpx.Client) -> None:
    ids = [entry["key_ID"] for entry in http.get("/api/v1/keys/sae-b1/enc_keys", params={"number": 2}).json()["keys"]]
    with raw(kmes, "sae-b1", "bob") as bob:
        mixed = {"key_IDs": [{"key_ID": key_id} for key_id in [*ids, str(uuid.uuid4())]]}
        assert_error(bob.post("/api/v1/keys/sae-a1/dec_keys", json=mixed), 400, "not found")
        whole = {"key_IDs": [{"key_ID": key_id} for key_id in ids]}
        assert len(bob.post("/api/v1/keys/sae-a1/dec_keys", json=whole).json()["keys"]) == 2


def test_concurrent_consumers_get_every_key_once(kmes: KmePair) -> None:
    got: list[str] = []
    problems: list[BaseException] = []

    def work(sae: str, peer: str) -> None:
        try:
            with kmes.consumer(sae, "alice") as alice, kmes.consumer(peer, "bob") as bob:
                for _ in range(4):
                    keys = alice.enc_keys(peer, number=2)
                    assert all(map(type(keys[0]).matches, keys, bob.dec_keys(sae, [key.key_id for key in keys])))
                    got.extend(key.key_id for key in keys)
        except (AssertionError, PeerFailure) as error:
            problems.append(error)

    pairs = [("sae-a1", "sae-b1"), ("sae-a2", "sae-b2"), ("sae-a1", "sae-b2"), ("sae-a2", "sae-b1")]
    threads = [threading.Thread(target=work, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert len(got) == len(set(got)) == 32


# --- the other node: absent, silent, hostile ---


def test_without_a_connection_503_and_the_keys_stay(calm: KmePair, http: httpx.Client) -> None:
    calm.wire.is_up = False
    before = calm.pair.alice.counts().ready_as_master
    assert_error(http.get("/api/v1/keys/sae-b1/enc_keys"), 503, "NoticeNotSent")
    assert calm.pair.alice.counts().ready_as_master == before


def test_a_silent_peer_costs_the_keys_and_nobody_gets_them(calm: KmePair, http: httpx.Client) -> None:
    calm.wire.tamper = lambda payload: None
    before = calm.pair.alice.counts()
    assert_error(http.get("/api/v1/keys/sae-b1/enc_keys"), 503, "PeerFailure")
    after = calm.pair.alice.counts()
    assert after.withdrawn == before.withdrawn + 1
    assert after.keys_delivered == before.keys_delivered
    calm.wire.tamper = lambda payload: payload
    assert http.get("/api/v1/keys/sae-b1/enc_keys").status_code == 200


def test_a_changed_notice_entitles_nobody(calm: KmePair, http: httpx.Client) -> None:
    calm.wire.tamper = lambda payload: payload.replace(b"sae-b1", b"sae-b2")
    calm.wire.failures.clear()
    before = calm.pair.bob.counts().entitled
    assert_error(http.get("/api/v1/keys/sae-b1/enc_keys"), 503)
    assert [type(error) for error in calm.wire.failures] == [AuthenticationFailed]
    assert calm.pair.bob.counts().entitled == before


def test_replayed_and_reflected_notices_are_refused(calm: KmePair, http: httpx.Client) -> None:
    calm.wire.payloads.clear()
    calm.wire.failures.clear()
    assert http.get("/api/v1/keys/sae-b1/enc_keys").status_code == 200
    notice, acknowledgement = calm.wire.payloads
    before = calm.pair.bob.counts()
    for to, payload in (("bob", notice), ("alice", acknowledgement)):
        calm.wire.tamper = lambda _, replay=payload: replay
        calm.wire.failures.clear()
        assert_error(http.get("/api/v1/keys/sae-b1/enc_keys"), 503)
        assert type(calm.wire.failures[0]) in (PadRefused, AuthenticationFailed, NoticeRefused), to
    assert calm.pair.bob.counts() == before


def test_garbage_from_the_peer_burns_nothing(calm: KmePair, http: httpx.Client) -> None:
    calm.wire.tamper = lambda payload: b"\x93\x00garbage"
    calm.wire.failures.clear()
    offset = calm.pair.bob.next_offset("notice", "ab")
    assert_error(http.get("/api/v1/keys/sae-b1/enc_keys"), 503)
    assert [type(error) for error in calm.wire.failures] == [NoticeRefused]
    assert calm.pair.bob.next_offset("notice", "ab") == offset


# --- TLS ---


def test_without_a_certificate_no_request_is_answered(kmes: KmePair) -> None:
    context = ssl.create_default_context(cafile=str(kmes.directory / "ca.pem"))
    with (
        httpx.Client(base_url=kmes.url("alice"), verify=context, trust_env=False) as client,
        pytest.raises(httpx.HTTPError),
    ):
        client.get("/api/v1/keys/sae-b1/status")


def test_a_certificate_of_another_authority_is_refused(kmes: KmePair, tmp_path: Path) -> None:
    ThrowawayCa().write_sae(tmp_path, "sae-a1")
    context = client_context(tmp_path / "sae-a1.pem", tmp_path / "sae-a1.key", kmes.directory / "ca.pem")
    with (
        httpx.Client(base_url=kmes.url("alice"), verify=context, trust_env=False) as client,
        pytest.raises(httpx.HTTPError),
    ):
        client.get("/api/v1/keys/sae-b1/status")


def test_a_servers_certificate_is_no_consumers(kmes: KmePair) -> None:
    files = [kmes.directory / name for name in ("kme-bob.pem", "kme-bob.key", "ca.pem")]
    with (
        httpx.Client(base_url=kmes.url("alice"), verify=client_context(*files), trust_env=False) as client,
        pytest.raises(httpx.HTTPError),
    ):
        client.get("/api/v1/keys/sae-b1/status")


def test_tls_1_2_is_refused(kmes: KmePair) -> None:
    context = ssl.create_default_context(cafile=str(kmes.directory / "ca.pem"))
    context.load_cert_chain(kmes.directory / "sae-a1.pem", kmes.directory / "sae-a1.key")
    with socket.create_connection(("127.0.0.1", kmes.ports["alice"])) as plain:
        assert context.wrap_socket(plain, server_hostname="localhost").version() == "TLSv1.3"
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection(("127.0.0.1", kmes.ports["alice"])) as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain, server_hostname="localhost")


def test_a_port_in_use_and_missing_certificates_are_configuration_errors(kmes: KmePair, tmp_path: Path) -> None:
    import asyncio
    from dataclasses import replace

    from controller.keys.kme_server import serve_kme
    from tests.controller.kme_pair import settings

    async def start(**changes: Any) -> None:
        wanted = replace(settings(kmes.directory, "alice"), **changes)
        async with serve_kme(wanted, kmes.pair.alice, kmes.wire.ends["alice"].notify):
            pass

    with pytest.raises(ConfigurationError, match="cannot listen"):
        asyncio.run(start(port=kmes.ports["alice"]))
    with pytest.raises(ConfigurationError, match="No such file"):
        asyncio.run(start(certificate=tmp_path / "none.pem"))


def test_too_few_keys_is_503(tmp_path: Path) -> None:
    write_demo_certificates(tmp_path, ["kme-alice", "kme-bob"], [*SAES["alice"], *SAES["bob"]])
    pair = make_pair(tmp_path)
    pair.commit(0, secrets.token_bytes(64))
    with running(pair, tmp_path) as kmes, kmes.consumer("sae-a1", "alice") as alice:
        with pytest.raises(KmeRefused, match="1 in store") as caught:
            alice.enc_keys("sae-b1", number=2)
        assert caught.value.status == 503
        assert len(alice.enc_keys("sae-b1")) == 1
    pair.close()
