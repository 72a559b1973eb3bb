"""A node does not start when a kernel gives a wrong answer."""

from __future__ import annotations

import pytest

from controller import self_tests
from controller.errors import SecurityFailure
from controller.self_tests import require_self_tests
from postproc.errors import SelfTestFailed


def test_this_machine_passes() -> None:
    require_self_tests()


def fail() -> None:
    raise SelfTestFailed("wrong bit")


@pytest.mark.parametrize("module", [self_tests.amplification, self_tests.verification])
def test_a_wrong_hash_stops_the_node(monkeypatch: pytest.MonkeyPatch, module: object) -> None:
    monkeypatch.setattr(module, "self_test", fail)
    with pytest.raises(SecurityFailure, match="wrong bit"):
        require_self_tests()


def test_a_tag_that_fits_everything_stops_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_tests.wegman_carter, "verify", lambda *_: True)
    with pytest.raises(SecurityFailure, match="RFC 8439"):
        require_self_tests()
