"""The matrices: degrees, spanning tree, girth, nested splits, and that they never change."""

import hashlib
from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from postproc.errors import InputOutOfRange
from postproc.integers import SplitMix64
from postproc.reconciliation.base_matrix import base_matrix, column_degrees, degree_two_edges, random_tree
from postproc.reconciliation.codes import QcCode, build_code, parities
from postproc.reconciliation.ensembles import designs, edge_fractions, overhead, row_limits


def naive_row(code: QcCode, row: int, z: int) -> list[int]:
    """Bit positions of parity z of a base row."""
    edges = range(code.start[row], code.start[row + 1])
    return [int(code.column[e]) * code.circulant + (z + int(code.shift[e])) % code.circulant for e in edges]


def has_cycle(edges: list[tuple[int, int]], nodes: int) -> bool:
    root = list(range(nodes))

    def find(node: int) -> int:
        while root[node] != node:
            node = root[node]
        return node

    for a, b in edges:
        if find(a) == find(b):
            return True
        root[find(a)] = find(b)
    return False


def test_splitmix_matches_the_published_sequence() -> None:
    numbers = SplitMix64(1234567)
    assert [numbers.next() for _ in range(5)] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def test_random_tree_spans_without_cycles() -> None:
    edges = random_tree(200, SplitMix64(3))
    assert len(edges) == 199
    assert not has_cycle(edges, 200)
    assert max(Counter(node for edge in edges for node in edge).values()) <= 6


def test_surplus_degree_two_edges_close_long_cycles_only() -> None:
    edges = degree_two_edges(60, 50, SplitMix64(4))
    assert len({frozenset(edge) for edge in edges}) == 60
    assert all(a != b for a, b in edges)
    neighbours = {row: {b for edge in edges for b in edge if row in edge and b != row} for row in range(50)}
    assert not any(neighbours[a] & neighbours[b] for a, b in edges)  # no triangles


@pytest.mark.parametrize("columns", [256, 512, 1024])
@pytest.mark.parametrize("leakage", [0.06, 0.084, 0.11, 0.15, 0.25, 0.4, 0.58])
def test_base_matrix_has_the_degrees_it_should(leakage: float, columns: int) -> None:
    rows = round(leakage * columns)
    matrix = base_matrix(columns, rows, seed=1)
    assert len(matrix) == rows
    assert max(map(len, matrix)) - min(map(len, matrix)) <= 1
    assert all(len(set(row)) == len(row) for row in matrix)
    degree = Counter(column for row in matrix for column in row)
    assert [degree[c] for c in range(columns)] == column_degrees(columns, rows)


@pytest.mark.parametrize("design", designs(), ids=lambda d: f"q{d.qber}")
def test_designs_leak_a_few_percent_more_than_the_entropy_of_their_qber(design) -> None:
    q = design.qber
    entropy = -q * np.log2(q) - (1 - q) * np.log2(1 - q)
    assert 1.01 < design.leakage / entropy < 1.05
    assert sum(share for _, share in design.edge_fractions_1e5) == pytest.approx(100_000, abs=8)


@pytest.mark.parametrize("columns", [256, 512, 1024])
def test_distributions_and_overheads_change_gradually_with_the_rows(columns: int) -> None:
    fewest, most = row_limits(columns)
    before = edge_fractions(columns, fewest)
    for rows in range(fewest + 1, most + 1):
        now = edge_fractions(columns, rows)
        assert sum(now.values()) == pytest.approx(1)
        assert sum(abs(now.get(d, 0) - before.get(d, 0)) for d in now | before) < 20 / columns * 1024 / rows
        assert 1.01 < overhead("efficient", columns, rows / columns) <= overhead("fast", columns, rows / columns) < 1.2
        before = now


def test_edge_fractions_at_a_design_are_the_design() -> None:
    design = designs()[3]
    rows = 100_000
    columns = round(rows / design.leakage)
    found = edge_fractions(columns, rows)
    for degree, share in design.edge_fractions_1e5:
        assert found[degree] == pytest.approx(share / 1e5, abs=1e-3)


@pytest.mark.parametrize(
    ("rows", "columns", "circulant"), [(86, 1024, 977), (206, 1024, 300), (200, 512, 220), (130, 256, 64)]
)
def test_no_four_cycles(rows: int, columns: int, circulant: int) -> None:
    code = build_code(columns, rows, circulant)
    row = np.repeat(np.arange(code.rows), np.diff(code.start))
    seen = set()
    for column in range(columns):
        edges = np.flatnonzero(code.column == column)
        for a, b in combinations(edges, 2):  # rows ascend within a column
            key = (int(row[a]), int(row[b]), int(code.shift[a] - code.shift[b]) % circulant)
            assert key not in seen
            seen.add(key)


def test_matrices_never_change() -> None:
    """Both nodes must build the same ones, whatever their versions; a change here is a new family of codes."""
    digest = hashlib.sha256()
    for leakage in (0.05, 0.1, 0.2, 0.3, 0.5):
        for columns, circulant in ((1024, 977), (512, 230), (256, 16)):
            code = build_code(columns, round(leakage * columns), circulant)
            for array in (code.start, code.column, code.shift, code.split_order):
                digest.update(array.astype("<i8").tobytes())
    assert digest.hexdigest() == "c13b62ef3a261cde343d3b85ed1c76122aef2de871577784f771124847755b6a"


def test_parities_match_the_naive_twin() -> None:
    code = build_code(256, 51, 16)
    bits = np.random.default_rng(5).integers(0, 2, 4096, dtype=np.uint8)
    found = parities(code, bits, 0, code.rows)
    for row in range(code.rows):
        for z in range(16):
            assert found[row, z] == bits[naive_row(code, row, z)].sum() % 2


def test_split_rows_disclose_the_first_half_and_leave_the_second() -> None:
    code = build_code(256, 51, 16)
    bits = np.random.default_rng(6).integers(0, 2, 4096, dtype=np.uint8)
    splits = 20
    disclosed = parities(code, bits, 0, code.rows + splits)
    begin, end = code.layers(splits)
    covered = sorted(e for b, e2 in zip(begin, end, strict=True) for e in range(b, e2))
    assert covered == list(range(code.column.size))  # every edge in exactly one layer
    for i in range(splits):
        row = int(code.split_order[i])
        first = range(code.start[row], code.start[row] + (code.start[row + 1] - code.start[row]) // 2)
        assert (begin[code.rows + i], end[code.rows + i]) == (first.start, first.stop)
        for z in range(16):
            expected = sum(int(bits[code.column[e] * 16 + (z + code.shift[e]) % 16]) for e in first) % 2
            assert disclosed[code.rows + i, z] == expected


def test_parities_refuse_a_frame_of_another_size() -> None:
    with pytest.raises(InputOutOfRange, match="4096"):
        parities(build_code(256, 51, 16), np.zeros(4095, np.uint8), 0, 1)
