"""What a node must refuse: parameters that differ, a restored copy of a store, a full disk; and how it goes on."""

from __future__ import annotations

import resource
import shutil
from pathlib import Path

import pytest

from controller.errors import EXIT_CONFIGURATION, EXIT_INSECURE
from tests.e2e import stores
from tests.e2e.link import NODES, Link, edit_lines

pytestmark = pytest.mark.e2e
ROOM_BYTES = 64 << 10  # what the largest file may still grow on the full disk


def variant(link: Link, node: str, name: str, lines: dict[str, str], more: str = "") -> str:
    """A configuration of the node with other lines; returns its name for `Link.start`."""
    path = link.workspace / f"configs/{name}.toml"
    path.write_text((link.workspace / f"configs/{node}.toml").read_text(encoding="utf-8") + more, encoding="utf-8")
    edit_lines(path, lines)
    return name


def copy_states(link: Link, target: Path) -> dict[str, Path]:
    """Both state directories as they are now; the nodes have ended."""
    return {name: Path(shutil.copytree(link.state_dir(name), target / name)) for name in NODES}


def put_back(link: Link, name: str, copy: Path) -> None:
    """The whole state directory of a node as it was in the copy."""
    shutil.rmtree(link.state_dir(name))
    shutil.copytree(copy, link.state_dir(name))


def test_parameters_that_differ(link: Link) -> None:
    link.stop(*NODES)
    other = variant(link, "bob", "bob-other", {"qber_x_limit": "qber_x_limit = 0.0625"})
    link.start("alice")
    link.start("bob", config=other)
    values = {"alice": "0.05 here and 0.0625 there", "bob": "0.0625 here and 0.05 there"}
    for name in NODES:
        assert link.wait_exit(name) == EXIT_CONFIGURATION
        print(f"{name}: {link.said(name)}")
        assert f"qber_x_limit is {values[name]}" in link.said(name)
        assert "Traceback" not in link.said(name)


def test_restored_stores_are_refused(link: Link, tmp_path: Path) -> None:
    link.stop(*NODES)
    old = copy_states(link, tmp_path / "old")
    link.start(*NODES)
    link.wait_for_blocks(1)
    link.stop(*NODES)
    new = copy_states(link, tmp_path / "new")
    for victim in NODES:
        put_back(link, victim, old[victim])
        link.start(*NODES)
        for name in NODES:
            assert link.wait_exit(name) == EXIT_INSECURE, f"{victim} restored\n{link.report()}"
            print(f"{victim} restored, {name}: {link.said(name)}")
            assert f"{victim} stands at" in link.said(name)
            assert "old copy" in link.said(name)
        put_back(link, victim, new[victim])
    for name in NODES:  # the database alone: each node notices by itself
        database = link.configs[name].store.path
        shutil.copyfile(old[name] / Path(database).name, link.workspace / database)
    link.start(*NODES)
    for name in NODES:
        assert link.wait_exit(name) == EXIT_INSECURE
        assert "old copy" in link.said(name)
        put_back(link, name, new[name])
    link.start(*NODES)
    link.wait_for_blocks(1)
    link.stop(*NODES)
    stores.require_equal(link)


def test_no_room_for_a_start(link: Link) -> None:
    link.stop(*NODES)
    tight = variant(link, "bob", "bob-tight", {}, more=f"\n[limits]\nmin_disk_free_bytes = {1 << 60}\n")
    link.start("bob", config=tight)
    assert link.wait_exit("bob") == EXIT_INSECURE
    assert f"limit {1 << 60}" in link.said("bob")


@pytest.mark.parametrize("victim", NODES)
def test_disk_that_fills_up_during_a_run(link: Link, victim: str) -> None:
    """The kernel refuses to let any file of the node grow beyond a limit, at whatever write comes first."""
    link.stop(victim)
    store = link.workspace / link.configs[victim].store.path
    limit = store.stat().st_size + ROOM_BYTES
    link.start(victim, preexec=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    assert link.wait_exit(victim, 90.0) == EXIT_INSECURE, link.report()
    print(f"{victim}: {link.said(victim)}")
    assert "disk" in link.said(victim)
    assert "Traceback" not in link.said(victim)
    assert link.is_dark() or victim == "bob"
    link.start(victim)
    link.wait_for_blocks(1)
    link.stop(*NODES)
    alice, bob = contents = stores.require_equal(link)
    stores.require_settled(contents)
    assert alice.keys == bob.keys
