"""Base matrices: which column meets which row, before lifting by circulants.

Configuration model: edges are dealt to the rows at random, so that rows differ in the degrees of the columns they meet.
A base with equalised rows loses 1-2 % of f, because density evolution averages products over random rows. Two
corrections: degree-2 columns form a random spanning tree of the rows (their cycles are what small error floors are made
of), and parallel edges are swapped away.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from functools import lru_cache

from postproc.integers import SplitMix64
from postproc.reconciliation.ensembles import edge_fractions

_MAX_TREE_DEGREE = 6
_EXTRA_EDGE_DISTANCE = 14  # wanted distance in the tree between the two rows of a surplus degree-2 column
_SWAP_SWEEPS = 200


def column_degrees(columns: int, rows: int) -> list[int]:
    """Degrees of the columns, ascending; capped at two thirds of the rows, where small bases run out of them."""
    cap = 2 * rows // 3
    weight = {d: share / d for d, share in edge_fractions(columns, rows).items()}
    total = sum(weight.values())
    exact = {d: columns * w / total for d, w in weight.items()}
    count = {d: int(x) for d, x in exact.items()}
    by_remainder = sorted(exact, key=lambda d: (count[d] - exact[d], d))
    for d in by_remainder[: columns - sum(count.values())]:
        count[d] += 1
    return sorted(min(d, cap) for d, c in count.items() for _ in range(c))


def random_tree(nodes: int, numbers: SplitMix64) -> list[tuple[int, int]]:
    """Edges of a random spanning tree, uniform among those of limited degree (decoding of a random Prüfer sequence)."""
    while True:
        sequence = [numbers.below(nodes) for _ in range(nodes - 2)]
        degree = [1] * nodes
        for node in sequence:
            degree[node] += 1
        if max(degree) <= _MAX_TREE_DEGREE:
            break
    leaves = [node for node in range(nodes) if degree[node] == 1]
    heapq.heapify(leaves)
    edges = []
    for node in sequence:
        edges.append((heapq.heappop(leaves), node))
        degree[node] -= 1
        if degree[node] == 1:
            heapq.heappush(leaves, node)
    edges.append((heapq.heappop(leaves), heapq.heappop(leaves)))
    numbers.shuffle(edges)
    return edges


def degree_two_edges(count: int, rows: int, numbers: SplitMix64) -> list[tuple[int, int]]:
    """Rows of each degree-2 column: part of a random tree or, where there are more columns than that, the tree and
    further edges between rows that are far apart."""
    edges = random_tree(rows, numbers)[:count]
    neighbours: list[list[int]] = [[] for _ in range(rows)]
    for a, b in edges:
        neighbours[a].append(b)
        neighbours[b].append(a)
    distance = _EXTRA_EDGE_DISTANCE
    while len(edges) < count:
        pair = _distant_pair(neighbours, distance, numbers)
        if pair is None:
            distance -= 1
            continue
        edges.append(pair)
        neighbours[pair[0]].append(pair[1])
        neighbours[pair[1]].append(pair[0])
    return edges


def _distant_pair(neighbours: list[list[int]], distance: int, numbers: SplitMix64) -> tuple[int, int] | None:
    order = [row for row in range(len(neighbours)) if len(neighbours[row]) < _MAX_TREE_DEGREE]
    numbers.shuffle(order)
    for row in order:
        reach = _distances(neighbours, row)
        far = [other for other in order if reach.get(other, 0) >= distance]
        if far:
            return row, far[numbers.below(len(far))]
    return None


def _distances(neighbours: list[list[int]], start: int) -> dict[int, int]:
    reach = {start: 0}
    queue = deque([start])
    while queue:
        node = queue.popleft()
        for other in neighbours[node]:
            if other not in reach:
                reach[other] = reach[node] + 1
                queue.append(other)
    return reach


@lru_cache(maxsize=16)
def base_matrix(columns: int, rows: int, seed: int) -> tuple[tuple[int, ...], ...]:
    """Columns of each row, in random order within the row; row degrees differ by one at most (but for parallel edges
    that could not be swapped away, which are dropped)."""
    numbers = SplitMix64(seed)
    degrees = column_degrees(columns, rows)
    twos = degrees.count(2)
    pairs = degree_two_edges(twos, rows, numbers)
    matrix: list[list[int]] = [[] for _ in range(rows)]
    for column, pair in enumerate(pairs):
        for row in pair:
            matrix[row].append(column)
    row_of, column_of = _deal(matrix, degrees, twos, numbers)
    _swap_parallel_edges(row_of, column_of, rows, numbers)
    for row, column in zip(row_of, column_of, strict=True):
        if column not in matrix[row]:
            matrix[row].append(column)
    for members in matrix:
        numbers.shuffle(members)
    return tuple(map(tuple, matrix))


def _deal(matrix: list[list[int]], degrees: list[int], twos: int, numbers: SplitMix64) -> tuple[list[int], list[int]]:
    """Random matching of the edges of all other columns with the places left in the rows."""
    total, rows = sum(degrees), len(matrix)
    row_of = []
    for row, members in enumerate(matrix):
        row_degree = total // rows + (1 if row < total % rows else 0)
        row_of += [row] * (row_degree - len(members))
    column_of = [column for column in range(twos, len(degrees)) for _ in range(degrees[column])]
    numbers.shuffle(column_of)
    return row_of, column_of


def _swap_parallel_edges(row_of: list[int], column_of: list[int], rows: int, numbers: SplitMix64) -> None:
    edges = len(row_of)
    count = Counter(zip(row_of, column_of, strict=True))
    for _ in range(_SWAP_SWEEPS):
        parallel = [i for i in range(edges) if count[row_of[i], column_of[i]] > 1]
        if not parallel:
            return
        for i in parallel:
            j = numbers.below(edges)
            if count[row_of[i], column_of[j]] == 0 and count[row_of[j], column_of[i]] == 0:
                for k in (i, j):
                    count[row_of[k], column_of[k]] -= 1
                column_of[i], column_of[j] = column_of[j], column_of[i]
                for k in (i, j):
                    count[row_of[k], column_of[k]] += 1
