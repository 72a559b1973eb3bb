"""The documents run, their tables say what the code says, and their links lead somewhere."""

from __future__ import annotations

import doctest
import re
import typing
from pathlib import Path

import pytest
import typer

from controller import errors, peer_messages
from controller.cli.entry import app
from controller.monitoring.alarms import CATALOGUE
from controller.node import Progress
from postproc import messages
from postproc.session.alice import AliceRound
from postproc.session.bob import BobRound
from postproc.session.round import Round

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])
EXAMPLES = [page for page in PAGES if ">>> " in page.read_text(encoding="utf-8")]
LINK = re.compile(r"\]\((?!https?://|mailto:)([^)#\s]*)(?:#([^)\s]*))?\)")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", EXAMPLES, ids=name_of)
def test_examples_run(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    result = doctest.testfile(
        str(page), module_relative=False, optionflags=doctest.IGNORE_EXCEPTION_DETAIL, encoding="utf-8"
    )
    assert result.attempted > 0
    assert result.failed == 0


def test_the_life_of_a_click_is_an_example() -> None:
    assert DOCS / "life-of-a-click.md" in EXAMPLES


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    broken = [path for path, _ in LINK.findall(text) if path and not (page.parent / path).exists()]
    assert broken == []


def section(page: str, heading: str) -> str:
    """The text below a heading, up to the next one."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.split(r"^#", text.split(f"{heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def first_column(text: str) -> list[str]:
    """Words in backticks of the first cells of all rows, in order."""
    cells = re.findall(r"^\|([^|]*)\|", text, re.MULTILINE)
    return [word for cell in cells for word in re.findall(r"`([^`]+)`", cell)]


@pytest.mark.parametrize(("who", "role"), [("Alice", AliceRound), ("Bob", BobRound)])
def test_the_states_of_a_round_are_those_of_the_code(who: str, role: type[Round]) -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \|", section("protocol.md", f"### States of {who}"), re.MULTILINE)
    assert sorted(rows) == sorted((state.name, event.__name__) for state, event in role.table)


def test_every_message_is_published() -> None:
    round_rows = re.findall(
        r"^\| (\d?) ?\| `(\w+)`.*\| (A to B|B to A|both) \|", section("protocol.md", "## 4. A round"), re.MULTILINE
    )
    assert {name for _, name, _ in round_rows} == {kind.__name__ for kind in typing.get_args(messages.RoundMessage)}
    phases = {name: int(phase) for phase, name, _ in round_rows if phase}
    assert phases == {kind.__name__: phase for kind, phase in messages.PHASE.items()}
    controls = first_column(section("protocol.md", "## 3. Between the rounds: control messages"))
    assert sorted(controls) == sorted(kind.__name__ for kind in typing.get_args(peer_messages.ControlMessage))


def test_the_alarms_are_those_of_the_catalogue() -> None:
    """When the catalogue changes, copy the rows that this assertion prints."""
    table = section("operator-guide.md", "## Alarms")
    assert alarm_rows() == [line for line in table.splitlines() if line.startswith("| `")]


def alarm_rows() -> list[str]:
    rows = []
    for kind in CATALOGUE.values():
        key = "no" if kind.blocks_key else "yes"
        rows.append(f"| `{kind.id}` | {kind.meaning} | {'; '.join(kind.causes)} | {kind.action} | {key} |")
    return rows


def sources(folder: str) -> str:
    return "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / folder).rglob("*.py") if path.name != "alarms.py"
    )


def test_there_is_no_alarm_that_nothing_raises() -> None:
    raised = sources("controller")
    assert [alarm for alarm in CATALOGUE if f'"{alarm}"' not in raised] == []


def test_every_state_in_words_is_explained() -> None:
    states = set(re.findall(r'set_state\(f?"([A-Z][^":{]*)', sources("controller"))) | {Progress().state}
    table = section("operator-guide.md", "## States")
    assert {"Distilling", "Stopped"} <= states
    assert sorted(state for state in states if state not in table) == []


def test_exit_codes_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| (\d+) \|", section("operator-guide.md", "## Exit codes"), re.MULTILINE)
    codes = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    assert sorted(map(int, rows)) == sorted(codes)


def commands() -> list[tuple[str, str]]:
    """Every `qkd ...` on every page, with its page."""
    found = []
    for page in PAGES:
        for words in re.findall(r"\bqkd ((?:[a-z]+ ?)+)", page.read_text(encoding="utf-8")):
            found.append((name_of(page), words.strip()))
    return found


@pytest.mark.parametrize("page", sorted({page for page, _ in commands()}))
def test_commands_on_the_pages_exist(page: str) -> None:
    top = typer.main.get_command(app)
    unknown = [words for where, words in commands() if where == page and not is_known(top, words.split())]
    assert unknown == []


def is_known(group: object, words: list[str]) -> bool:
    """Whether the words begin with a command, and in a group of commands with one of its own or with nothing."""
    known: dict[str, object] = getattr(group, "commands", {})
    return not known or not words or (words[0] in known and is_known(known[words[0]], words[1:]))


def test_decisions_are_numbered_once_and_say_so() -> None:
    records = sorted((DOCS / "decisions").glob("*.md"))
    numbers = [record.name[:4] for record in records]
    assert len(set(numbers)) == len(numbers)
    for record in records:
        text = record.read_text(encoding="utf-8")
        assert text.startswith(f"# {record.name[:4]}"), record.name
        assert re.search("^## (Context|Question)", text, re.MULTILINE), record.name
        assert re.search("^## Decision", text, re.MULTILINE), record.name
        assert re.search("^## Consequences", text, re.MULTILINE), record.name
