"""Errors of the key store and of key delivery.

SecurityFailure
├── RollbackDetected    the store is older than its mirror counter (a restored copy): starting would reuse pads and keys
├── RoundStateError     a round is not in the state that the step needs
├── RefillMismatch      the agreed refill does not continue the own pools
├── NoticeRefused       a delivery notice of the peer does not fit the own key store
└── SealBroken          a sealed record does not open: wrong key-encryption key, or a damaged or exchanged record
StorageFailure
├── StoreInUse          another process has the store open
├── StoreMissing        there is no store where the configuration says
└── StoreExists         a store is there already
DeliveryRefused (no exit code of its own: answered to the consumer)
├── NotEnoughKeys       503
├── KeyNotFound         400, also for keys that were delivered
└── NotEntitled         401
PeerFailure
└── NoticeNotSent       nothing left this node: the keys can be given to somebody else
"""

from __future__ import annotations

from controller.errors import PeerFailure, QkdError, SecurityFailure, StorageFailure


class RollbackDetected(SecurityFailure):
    """The database and its mirror counter differ by more than the one step that a crash explains."""


class RoundStateError(SecurityFailure):
    """A step of the commit order that is not allowed in the present state of the round."""


class RefillMismatch(SecurityFailure):
    """Both nodes must cut the same bytes to the same positions of their pools; these would not."""


class NoticeRefused(SecurityFailure):
    """A delivery notice that this store cannot honour; nothing of it was recorded."""


class SealBroken(SecurityFailure):
    """Sealed material does not open."""


class StoreInUse(StorageFailure):
    """A second writer was refused."""


class StoreMissing(StorageFailure):
    """No store at this place."""


class StoreExists(StorageFailure):
    """A store is never overwritten."""


class DeliveryRefused(QkdError):
    """A consumer's request that is not met; nothing was delivered."""


class NotEnoughKeys(DeliveryRefused):
    """Fewer keys in store than asked for."""


class KeyNotFound(DeliveryRefused):
    """A key_ID is unknown here or its key was delivered already."""


class NotEntitled(DeliveryRefused):
    """This consumer was not named when the key was taken."""


class NoticeNotSent(PeerFailure):
    """The notice did not leave this node."""
