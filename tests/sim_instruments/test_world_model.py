"""The [world] table: defaults, and errors that say what, where, which value and which limit."""

from __future__ import annotations

from pathlib import Path

import pytest

from sim_instruments.model import BenchModelError, bench_model, read_bench_model

DEMO = Path(__file__).parents[2] / "configs" / "demo" / "bench.toml"


def test_bench_of_the_demonstration_is_sound() -> None:
    bench = read_bench_model(DEMO)
    assert bench.source.slot_ps == 1600.0
    assert bench.channel.loss_db == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("world", "words"),
    [
        ({"source": {"slot_rate_hz": -1}}, ["source.slot_rate_hz", "-1", "1000000"]),
        ({"sauce": {}}, ["sauce", "not permitted"]),
        ({"channel": {"lenght_km": 3}}, ["channel.lenght_km", "not permitted"]),
        ({"channel": {"length_km": "far"}}, ["channel.length_km", "far", "number"]),
        ({"receiver": {"z_arm_ratio": 1.2}}, ["receiver.z_arm_ratio", "1.2", "1"]),
        ({"detectors": {"dark_rate_hz": [1, 2, 3, -4]}}, ["dark_rate_hz of channel 4", "-4", "0"]),
        ({"detectors": {"efficiency": [0.8]}}, ["detectors.efficiency"]),
        ({"detectors": {"nominal_bias_a": 30e-6}}, ["nominal_bias_a", "switching_bias_a"]),
        ({"clock": {"frequency_offset_ppm": float("nan")}}, ["clock.frequency_offset_ppm", "nan"]),
        ({"seed": -1}, ["seed", "-1"]),
    ],
)
def test_impossible_benches_are_refused_in_words(world, words) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(BenchModelError) as refusal:
        bench_model(world)
    for word in ["[world]", *words]:
        assert word in str(refusal.value)


def test_all_faults_of_a_table_are_named_at_once() -> None:
    with pytest.raises(BenchModelError) as refusal:
        bench_model({"seed": -1, "channel": {"length_km": -2}})
    assert len(str(refusal.value).splitlines()) == 2


@pytest.mark.parametrize("text", ["[world", "[instruments]\n", "world = 3\n"])
def test_unreadable_files_are_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bench.toml"
    path.write_text(text)
    with pytest.raises(BenchModelError, match=r"bench\.toml"):
        read_bench_model(path)
    with pytest.raises(BenchModelError, match="absent"):
        read_bench_model(tmp_path / "absent.toml")
