"""What Alice refuses and when she rests, without a link."""

from __future__ import annotations

import pytest

from controller.alice_node import require_random_source
from controller.errors import SecurityFailure


def test_a_seeded_generator_is_for_rehearsals_only() -> None:
    require_random_source(("SEED",), is_simulation=True)
    require_random_source(("INT",), is_simulation=False)
    with pytest.raises(SecurityFailure, match="seeded generator"):
        require_random_source(("SEED",), is_simulation=False)
