"""Key delivery to consumers by ETSI GS QKD 014 V1.1.1: status, enc_keys and dec_keys, GET and POST.

A consumer (SAE) is who its client certificate says (URI SAN `urn:qkd:sae:<id>`), never what a header or a path says.
A request is met as a whole or not at all. enc_keys: reserve durably, have the peer's KME record the notice durably,
erase and commit, and only then reply; so a reply that is lost loses its keys and no key is ever given out twice.

Status codes: 200; 400 with an Error object; 401 without a body; 503 with an Error object (too few keys, peer not
reachable, store not writable).
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from controller.errors import QkdError
from controller.keys.envelope import wipe
from controller.keys.errors import DeliveryRefused, NotEnoughKeys, NotEntitled, NoticeNotSent
from controller.keys.etsi014_messages import (
    MAX_BODY_BYTES,
    BadRequest,
    KeyRequest,
    parse_key_ids,
    parse_key_request,
    parse_number,
)
from controller.keys.key_shelf import DeliveredKey, ReservedKey
from controller.keys.kme_settings import KmeSettings
from controller.keys.notices import DeliveryNotice
from controller.keys.sae_identity import sae_of
from controller.keys.store import NodeStore

Notify = Callable[[DeliveryNotice], Awaitable[None]]
_BASE = "/api/v1/keys"
_PRIVATE = {"Cache-Control": "no-store"}


class Unauthorised(Exception):
    """The caller has no certificate of a consumer of this KME, or was not named for these keys."""


class Kme:
    """The three methods of the interface, without HTTP. Every argument comes from a consumer and is checked here."""

    def __init__(self, settings: KmeSettings, store: NodeStore, notify: Notify) -> None:
        self._settings = settings
        self._store = store
        self._notify = notify

    async def status(self, sae: str, slave_sae: str) -> dict[str, Any]:
        """Clause 6.1."""
        self._require_slaves(sae, [slave_sae])
        counts = await asyncio.to_thread(self._store.counts)
        settings = self._settings
        return {
            "source_KME_ID": settings.kme_id,
            "target_KME_ID": settings.peer_kme_id,
            "master_SAE_ID": sae,
            "slave_SAE_ID": slave_sae,
            "key_size": settings.key_size_bits,
            "stored_key_count": counts.ready_as_master,
            "max_key_count": settings.max_key_count,
            "max_key_per_request": settings.max_keys_per_request,
            "max_key_size": settings.max_key_size_bits,
            "min_key_size": settings.min_key_size_bits,
            "max_SAE_ID_count": settings.max_slave_saes - 1,
        }

    async def enc_keys(self, sae: str, slave_sae: str, request: KeyRequest) -> dict[str, Any]:
        """Clause 6.2 and 6.3: new keys for the calling master SAE and its slaves."""
        size_bits = self._require_request(request)
        slaves = (slave_sae, *request.additional_slave_SAE_IDs)
        self._require_slaves(sae, slaves)
        reserved = await asyncio.to_thread(self._store.reserve, sae, slaves, request.number, size_bits)
        key_ids = tuple(key.key_id for key in reserved)
        await self._tell_peer(DeliveryNotice(sae, slaves, key_ids, size_bits), reserved)
        return _container(await asyncio.to_thread(self._store.deliver_master, key_ids, sae))

    async def dec_keys(self, sae: str, master_sae: str, key_ids: Sequence[str]) -> dict[str, Any]:
        """Clause 6.4 and 6.3: the keys with these key_IDs for a calling slave SAE that was named for them."""
        if len(key_ids) > self._settings.max_keys_per_request:
            raise BadRequest(f"at most {self._settings.max_keys_per_request} keys per request")
        if master_sae == sae:
            raise BadRequest("master and slave SAE are the same")
        return _container(await asyncio.to_thread(self._store.deliver_slave, key_ids, sae, master_sae))

    async def _tell_peer(self, notice: DeliveryNotice, reserved: Sequence[ReservedKey]) -> None:
        key_ids = [key.key_id for key in reserved]
        try:
            await self._notify(notice)
        except NoticeNotSent:
            await asyncio.to_thread(self._store.release, key_ids)
            raise
        except BaseException:  # whatever it was, also a cancellation: nobody knows whether the peer has recorded it
            self._store.withdraw(key_ids)
            raise

    def _require_request(self, request: KeyRequest) -> int:
        settings = self._settings
        size_bits = settings.key_size_bits if request.size is None else request.size
        if request.extension_mandatory:
            raise BadRequest("not all extension_mandatory parameters are supported")
        if size_bits % 8:
            raise BadRequest("size shall be a multiple of 8")
        if not settings.min_key_size_bits <= size_bits <= settings.max_key_size_bits:
            raise BadRequest(f"size shall be from {settings.min_key_size_bits} to {settings.max_key_size_bits} bits")
        if not 1 <= request.number <= settings.max_keys_per_request:
            raise BadRequest(f"number shall be from 1 to {settings.max_keys_per_request}")
        return size_bits

    def _require_slaves(self, sae: str, slaves: Sequence[str]) -> None:
        if len(slaves) > self._settings.max_slave_saes or len(set(slaves)) != len(slaves):
            raise BadRequest(f"slave SAEs shall differ and be at most {self._settings.max_slave_saes}")
        if sae in slaves:
            raise BadRequest("master and slave SAE are the same")
        if unknown := [name[:64] for name in slaves if name not in self._settings.peer_saes]:
            raise BadRequest(f"no such slave SAE at {self._settings.peer_kme_id}: {', '.join(unknown)}")


def _container(delivered: Sequence[DeliveredKey]) -> dict[str, Any]:
    """Clause 6.3. The buffers are wiped; the base64 copies in the reply cannot be."""
    keys = [{"key_ID": key.key_id, "key": base64.b64encode(key.material).decode()} for key in delivered]
    for key in delivered:
        wipe(key.material)
    return {"keys": keys}


async def _body(request: Request) -> bytes:
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > MAX_BODY_BYTES:
            raise BadRequest(f"request body is longer than {MAX_BODY_BYTES} bytes")
    return bytes(data)


def make_app(settings: KmeSettings, store: NodeStore, notify: Notify) -> FastAPI:
    """The interface as an ASGI application; it needs a server that puts `peercert` into the connection's state."""
    app = FastAPI(title="ETSI GS QKD 014", docs_url=None, redoc_url=None, openapi_url=None)
    kme = Kme(settings, store, notify)

    def caller(request: Request) -> str:
        sae = sae_of(getattr(request.state, "peercert", None))
        if sae not in settings.saes:
            raise Unauthorised
        return sae

    @app.get(_BASE + "/{slave_sae}/status")
    async def get_status(slave_sae: str, request: Request) -> Response:
        return JSONResponse(await kme.status(caller(request), slave_sae))

    @app.get(_BASE + "/{slave_sae}/enc_keys")
    async def get_keys(slave_sae: str, request: Request) -> Response:
        sae = caller(request)
        query = request.query_params
        number = parse_number("number", query.get("number"), 1)
        wanted = KeyRequest(number, parse_number("size", query.get("size"), settings.key_size_bits))
        return JSONResponse(await kme.enc_keys(sae, slave_sae, wanted), headers=_PRIVATE)

    @app.post(_BASE + "/{slave_sae}/enc_keys")
    async def post_keys(slave_sae: str, request: Request) -> Response:
        sae = caller(request)
        wanted = parse_key_request(await _body(request))
        return JSONResponse(await kme.enc_keys(sae, slave_sae, wanted), headers=_PRIVATE)

    @app.get(_BASE + "/{master_sae}/dec_keys")
    async def get_key_with_id(master_sae: str, request: Request) -> Response:
        sae = caller(request)
        key_ids = request.query_params.getlist("key_ID")
        if len(key_ids) != 1:
            raise BadRequest("exactly one key_ID shall be given; use POST for more")
        return JSONResponse(await kme.dec_keys(sae, master_sae, key_ids), headers=_PRIVATE)

    @app.post(_BASE + "/{master_sae}/dec_keys")
    async def post_key_ids(master_sae: str, request: Request) -> Response:
        sae = caller(request)
        key_ids = parse_key_ids(await _body(request))
        return JSONResponse(await kme.dec_keys(sae, master_sae, key_ids), headers=_PRIVATE)

    _add_error_answers(app)
    return app


def _add_error_answers(app: FastAPI) -> None:
    @app.exception_handler(Unauthorised)
    @app.exception_handler(NotEntitled)
    async def unauthorised(_request: Request, _error: Exception) -> Response:
        return Response(status_code=401)

    @app.exception_handler(BadRequest)
    @app.exception_handler(DeliveryRefused)
    async def refused(_request: Request, error: Exception) -> Response:
        return JSONResponse({"message": str(error)}, status_code=400)

    @app.exception_handler(NotEnoughKeys)
    async def too_few(_request: Request, error: Exception) -> Response:
        return JSONResponse({"message": str(error)}, status_code=503)

    @app.exception_handler(QkdError)
    async def unavailable(_request: Request, error: Exception) -> Response:
        return JSONResponse({"message": f"key delivery is not possible now: {type(error).__name__}"}, status_code=503)
