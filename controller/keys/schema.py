"""Tables of a node's store (SQLAlchemy Core). Columns named `sealed` hold AES-256-GCM records
(controller.keys.envelope), everything else is public.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
)

SCHEMA_VERSION = 1
metadata = MetaData()

# One row: who this store belongs to, and the counters that never go back.
node = Table(
    "node",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1"), primary_key=True),
    Column("schema_version", Integer, nullable=False),
    Column("link_id", String(64), nullable=False),
    Column("node", String(8), nullable=False),
    Column("psk_serial", LargeBinary(16), nullable=False),
    Column("wrapped_data_key", LargeBinary(40), nullable=False),
    Column("generation", BigInteger, nullable=False),  # number of committed transactions; mirrored outside
    Column("epoch", BigInteger, nullable=False),
    Column("last_round", BigInteger, nullable=False),  # -1 before the first round
)

# Positions are absolute byte positions since the link began: burnt [0, next), left [next, end).
pools = Table(
    "pools",
    metadata,
    Column("region", String(8), nullable=False),
    Column("direction", String(2), nullable=False),
    Column("next_offset", BigInteger, nullable=False),
    Column("end_offset", BigInteger, nullable=False),
    PrimaryKeyConstraint("region", "direction"),
)

pad_chunks = Table(
    "pad_chunks",
    metadata,
    Column("region", String(8), nullable=False),
    Column("direction", String(2), nullable=False),
    Column("start", BigInteger, nullable=False),
    Column("n_bytes", Integer, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    PrimaryKeyConstraint("region", "direction", "start"),
)

rounds = Table(
    "rounds",
    metadata,
    Column("round", BigInteger, primary_key=True, autoincrement=False),
    Column("epoch", BigInteger, nullable=False),
    Column("state", String(10), nullable=False),  # open, pending, committed, ready, dropped
    Column("bits", BigInteger),
    Column("refill", LargeBinary),  # public: RefillLayout in JSON
    Column("record", LargeBinary),  # public: what the block knows about itself
    Column("sealed", LargeBinary),  # the secret key while it is neither cut nor dropped
)
Index("rounds_by_state", rounds.c.state)

keys = Table(
    "keys",
    metadata,
    Column("key_id", LargeBinary(16), primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("round", BigInteger, nullable=False),
    Column("chunk", BigInteger, nullable=False),  # index of the 256-bit chunk within its round
    Column("master", String(8), nullable=False),  # the node whose KME may give it out as master
    Column("state", String(10), nullable=False),  # ready, reserved, entitled, delivered, withdrawn, merged
    Column("master_sae", String(64)),
    Column("size_bits", Integer, nullable=False),
    Column("sealed", LargeBinary),  # NULL once delivered, withdrawn or merged into a longer key
)
Index("keys_in_order", keys.c.state, keys.c.master, keys.c.round, keys.c.chunk)
Index("keys_by_chunk", keys.c.round, keys.c.chunk)

# One row per entitled consumer; UNIQUE by its primary key, so a second delivery cannot be written.
deliveries = Table(
    "deliveries",
    metadata,
    Column("key_id", LargeBinary(16), nullable=False),
    Column("sae", String(64), nullable=False),
    Column("is_delivered", Integer, nullable=False),
    PrimaryKeyConstraint("key_id", "sae"),
)
