"""Node files: the demo's are valid; every mistake is answered with file, key path, value and limit."""

from __future__ import annotations

from pathlib import Path

import pytest
from shell_samples import ALICE_TEXT, BOB_TEXT, alice, bob

from controller.config_loading import load_config, parse_config
from controller.errors import ConfigurationError


def test_both_nodes_of_the_demo_agree_about_the_link() -> None:
    assert alice().link == bob().link
    assert alice().link.parameters("1").mean_photon_numbers == (0.4, 0.15)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("slot_rate_hz", "slot_rte_hz", ["link.slot_rte_hz", "unknown key", "did you mean 'slot_rate_hz'"]),
        ('driver = "thorlabs_mbx"', 'drvier = "thorlabs_mbx"', ["instruments.modulator.drvier", "'driver'"]),
        ("slot_rate_hz = 625e6", "slot_rate_hz = 5.0", ["link.slot_rate_hz = 5.0", "1000000"]),
        ("slot_rate_hz = 625e6", 'slot_rate_hz = "fast"', ["link.slot_rate_hz = 'fast'", "valid number"]),
        ("[0.3, 0.7]", "[0.3, 0.8]", ["intensity_probabilities", "sum 1", "0.8"]),
        ("[0.4, 0.15]", "[0.15, 0.4]", ["mean_photon_numbers", "decoy < signal"]),
        ('role = "alice"', 'role = "carol"', ["node.role = 'carol'", "'alice' or 'bob'"]),
        ('role = "alice"', 'role = "bob"', ["bench.receiver"]),
        ('listen = "127.0.0.1:21060"', 'listen = "nowhere"', ["peer.listen = 'nowhere'"]),
        ('listen = "127.0.0.1:21060"', "", ["exactly one of listen and connect"]),
        ("serial:dev/mbx", "serial:dev/ctl200", ["laser and modulator", "same resource"]),
        ('name = "bob"', 'name = "alice"', ["peer.name", "own name"]),
        ("common_dead_time_ps = 24_000", "common_dead_time_ps = 19_000", ["common_dead_time_ps = 19000", "20000"]),
        ("qber_z_limit = 0.05", "qber_z_limit = 0.12", ["link.qber_z_limit = 0.12", "0.11"]),
        ("[node]", "[node", ["not TOML", "line"]),
    ],
)
def test_a_mistake_names_file_key_value_and_limit(old: str, new: str, expected: list[str]) -> None:
    assert old in ALICE_TEXT
    with pytest.raises(ConfigurationError) as caught:
        parse_config(ALICE_TEXT.replace(old, new), source="my.toml")
    assert str(caught.value).startswith("my.toml")
    for words in expected:
        assert words in str(caught.value)


def test_all_mistakes_are_told_at_once() -> None:
    text = ALICE_TEXT.replace("eps_sec", "eps_sek").replace("625e6", "1.0")
    with pytest.raises(ConfigurationError) as caught:
        parse_config(text, source="my.toml")
    assert len(str(caught.value).splitlines()) == 3  # unknown eps_sek, missing eps_sec, slot rate too low


def test_port_offset_moves_every_port_and_nothing_else() -> None:
    moved, still = (parse_config(BOB_TEXT, source="b", port_offset=offset) for offset in (100, 0))
    tagger = moved.instruments["tagger"]
    assert tagger.resource == "zmq:tcp://127.0.0.1:21140"
    assert tagger.options == {"datalink_resource": "zmq:tcp://127.0.0.1:21141", "stream_port_base": 21142}
    assert moved.peer.connect == "127.0.0.1:21160"
    assert moved.kme.listen == "127.0.0.1:21171"
    assert moved.instruments["polarization"] == still.instruments["polarization"]
    assert moved.link == still.link
    visa = parse_config(ALICE_TEXT, source="a", port_offset=100).instruments["power_meter"].resource
    assert visa == "visa:TCPIP0::127.0.0.1::21110::SOCKET"


def test_port_offset_refuses_what_is_no_port() -> None:
    with pytest.raises(ConfigurationError, match="65535"):
        parse_config(ALICE_TEXT, source="a", port_offset=50_000)


def test_an_unreadable_file_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.toml: cannot be read"):
        load_config(tmp_path / "absent.toml")
    (tmp_path / "latin.toml").write_bytes(b"# caf\xe9")
    with pytest.raises(ConfigurationError, match="byte 5 is not UTF-8"):
        load_config(tmp_path / "latin.toml")
