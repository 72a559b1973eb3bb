"""The first exchange on every connection: who is there, do we agree, and what did a crash leave open.

Both send a Hello, then a tag over both Hellos with a pad of the resynchronisation reserve, at the higher of the two
positions. Only after the peer's tag has been verified is anything settled: a round that Alice has durably decided
becomes ready on both sides, one that she has not decided is dropped on both (protocol §3.10). Evidence that the peer
has seen us further than we are is a rollback: refused.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import TypeVar

from controller import peer_messages
from controller.errors import ConfigurationError, PeerFailure, SecurityFailure
from controller.keys.errors import RollbackDetected
from controller.keys.store import NodeStore
from controller.node_parts import NodeParts
from controller.peer import PeerLink
from controller.peer_messages import Hello, HelloTag, OpenRound
from controller.rounds import canonical_parameters
from controller.to_the_end import to_the_end
from controller.trust import wegman_carter
from controller.trust.errors import AuthenticationFailed
from controller.trust.pads import POOLS, Pad, PadDirection
from controller.version import software_version

PROTOCOL_VERSION = 1
REMEMBERED_ROUNDS = 16
Received = TypeVar("Received", Hello, HelloTag)
TIMEOUT_S = 20.0


async def resynchronise(node: NodeParts, link: PeerLink) -> None:
    """Returns when both nodes stand at the same place. Raises PeerFailure, ConfigurationError (we disagree),
    SecurityFailure.
    """
    own = await to_the_end(make_hello, node)
    own_bytes = await link.send(own)
    peer = await _receive(link, Hello)
    compare(node, own, peer)
    hellos = (own_bytes, peer_messages.encode(peer))
    ordered = hellos if own.role == "alice" else hellos[::-1]
    ways: tuple[PadDirection, PadDirection] = ("ab", "ba") if own.role == "alice" else ("ba", "ab")
    pads = {}
    for way in ways:
        offset = max(own.offsets[f"resync/{way}"], peer.offsets[f"resync/{way}"])
        pads[way] = await to_the_end(_burn_at, node.store, way, offset)
    await link.send(HelloTag(pads[ways[0]].offset, wegman_carter.tag(pads[ways[0]].data, _tagged(ways[0], ordered))))
    answer = await _receive(link, HelloTag)
    expected = pads[ways[1]]
    is_valid = wegman_carter.verify(expected.data, _tagged(ways[1], ordered), answer.tag)
    for pad in pads.values():
        pad.wipe()
    if answer.pad_offset != expected.offset or not is_valid:
        node.raise_alarm("authentication-failed", "the peer's greeting is not authentic")
        raise AuthenticationFailed(
            "the peer's greeting is not authentic",
            remedy="find out who answers there; the nodes may hold different keys",
        )
    await to_the_end(settle, node, peer)
    node.round_due = max(own.last_round, peer.last_round)


def _burn_at(store: NodeStore, way: PadDirection, offset: int) -> Pad:
    """However far ahead the peer is: somebody who cuts connections at the right moment makes one side burn pads of
    which the other never hears, and no limit on that distance may keep the nodes apart for ever.
    """
    store.skip_to("resync", way, offset)
    return store.burn("resync", way, wegman_carter.PAD_BYTES, offset)


def make_hello(node: NodeParts) -> Hello:
    """Where this node stands, from its durable state."""
    store, last = node.store, node.store.last_round()
    recent = range(last, max(-1, last - REMEMBERED_ROUNDS), -1)
    return Hello(
        protocol_version=PROTOCOL_VERSION,
        software_version=software_version(),
        role=node.config.node.role,
        node=node.config.node.name,
        peer=node.config.peer.name,
        link_id=node.parameters.link_id,
        psk_serial=store.psk_serial.hex(),
        parameters=canonical_parameters(node.parameters),
        epoch=store.epoch,
        last_round=last + 1,
        unsettled=[OpenRound(r.round, r.state) for r in store.unsettled()][-REMEMBERED_ROUNDS:],
        ready_rounds=[number for number in recent if store.settled(number) == "ready"],
        offsets={f"{region}/{way}": store.next_offset(region, way) for region, way in POOLS},
        nonce=secrets.token_bytes(16),
    )


def compare(node: NodeParts, own: Hello, peer: Hello) -> None:
    """Refuse a peer that is not the configured one, means another link, or has seen us further than we are."""
    facts = (
        ("protocol version", own.protocol_version, peer.protocol_version),
        ("software version", own.software_version, peer.software_version),
        ("link", own.link_id, peer.link_id),
        ("name of the peer", own.peer, peer.node),
        ("name of this node, as the peer has it", own.node, peer.peer),
        ("pre-shared key", own.psk_serial, peer.psk_serial),
        ("epoch", own.epoch, peer.epoch),
    )
    for what, ours, theirs in facts:
        if ours != theirs:
            raise ConfigurationError(f"the nodes disagree: {what} is {ours!r} here and {theirs!r} there")
    if own.role == peer.role:
        raise ConfigurationError(f"both nodes are {own.role}", remedy="correct [node] role of one of them")
    if set(peer.offsets) != set(own.offsets):
        raise PeerFailure(f"the peer names other pools: {sorted(peer.offsets)}")
    _compare_parameters(own.parameters, peer.parameters)
    _refuse_rollback(own, peer)


def _compare_parameters(own: bytes, peer: bytes) -> None:
    """Name the first parameter that differs, with both values."""
    if own == peer:
        return
    try:
        ours, theirs = json.loads(own), json.loads(peer)
        names = [name for name in ours if theirs.get(name) != ours[name]] or sorted(set(theirs) - set(ours))
        name = names[0]
        values = f"{ours.get(name)!r} here and {theirs.get(name)!r} there"
    except (ValueError, AttributeError, IndexError) as error:
        raise PeerFailure(f"the peer's parameters cannot be read: {error}") from error
    raise ConfigurationError(
        f"the nodes disagree: [link] {name} is {values}", remedy="use the same [link] table on both"
    )


def _refuse_rollback(own: Hello, peer: Hello) -> None:
    """What Alice opens, burns or says is on her disk before Bob hears of it; so Bob is never ahead of Alice, nor a
    receiver of its sender. And what Alice has decided, Bob had stored before.
    """
    alice, bob = (own, peer) if own.role == "alice" else (peer, own)
    decided = [r.round for r in alice.unsettled if r.state == "committed"] + alice.ready_rounds
    leaders = [
        ("rounds", alice, alice.last_round, bob.last_round),
        ("rounds that became keys", bob, bob.last_round, max(decided, default=-1) + 1),
    ]
    for pool in own.offsets:
        if pool.startswith("round/") or pool == "notice/ab":
            leaders.append((pool, alice, alice.offsets[pool], bob.offsets[pool]))
        elif pool == "notice/ba":
            leaders.append((pool, bob, bob.offsets[pool], alice.offsets[pool]))
    for what, leader, leading, following in leaders:
        if following > leading:
            raise RollbackDetected(
                f"{leader.node} stands at {leading} in {what}, its peer has already seen {following}: "
                "an old copy was restored",
                remedy="never start from a backup; make and import a new pre-shared key on both nodes",
            )


def settle(node: NodeParts, peer: Hello) -> None:
    """Bring every open round to the end that Alice's durable decision gives it. Idempotent."""
    store = node.store
    _require_memory(store, peer)
    peer_states = {r.round: r.state for r in peer.unsettled} | dict.fromkeys(peer.ready_rounds, "ready")
    for open_round in store.unsettled():
        number, own_state, peer_state = open_round.round, open_round.state, peer_states.get(open_round.round)
        decided = own_state == "committed" if node.config.node.role == "alice" else peer_state in ("committed", "ready")
        if own_state == "pending" and decided:
            store.make_ready(number)
        elif own_state == "committed":
            if peer_state not in ("pending", "ready"):
                raise SecurityFailure(
                    f"round {number} was decided here and is {peer_state or 'unknown'} at the peer, who had stored it",
                    remedy="the peer's store was exchanged or restored; bootstrap again with a new pre-shared key",
                )
            store.make_ready(number)
        elif node.config.node.role == "alice":
            store.drop(number)
        else:
            store.drop_on_word_of_alice(number)
        node.log.info("settled", round=number, was=own_state, peer=peer_state, now=store.settled(number))
    for region, way in POOLS:
        if region != "resync":  # pads that the sender burnt and whose message never arrived
            store.skip_to(region, way, max(store.next_offset(region, way), peer.offsets[f"{region}/{way}"]))


def _require_memory(store: NodeStore, peer: Hello) -> None:
    """A round is ready at one node only after the other one has stored its key durably. A node that does not remember a
    round that its authenticated peer has made ready is an old copy, or a second import of the same pre-shared key.
    """
    for number in peer.ready_rounds:
        if store.settled(number) not in ("pending", "committed", "ready"):
            raise RollbackDetected(
                f"{peer.node} has a key of round {number}, which this node had stored before that; here it is "
                f"{store.settled(number) or 'unknown'}: an old copy was restored, or the store was made anew",
                remedy="never start from a backup; make and import a new pre-shared key on both nodes",
            )


def _tagged(way: PadDirection, hellos: tuple[bytes, bytes]) -> list[bytes]:
    parts = [b"QKD-RESYNC/1", way.encode()]
    for hello in hellos:
        parts += [len(hello).to_bytes(8, "big"), hello]
    return parts


async def _receive(link: PeerLink, kind: type[Received]) -> Received:
    try:
        message = await asyncio.wait_for(link.controls.get(), TIMEOUT_S)
    except TimeoutError as error:
        raise PeerFailure(f"the peer did not send {kind.__name__} within {TIMEOUT_S:g} s") from error
    if not isinstance(message, kind):
        raise PeerFailure(f"{type(message).__name__} where {kind.__name__} was due")
    return message
