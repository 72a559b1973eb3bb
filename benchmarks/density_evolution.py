"""Density evolution on the binary symmetric channel: does an ensemble of LDPC codes decode at this QBER?

Richardson and Urbanke 2001, with the densities of a symmetric channel kept as densities of |LLR| on a grid (the sign
follows from the magnitude: P(wrong) = 1 / (1 + e^|LLR|)). Check nodes: exact boxplus of two grid points, the result
divided between its two neighbours such that the entropy is preserved (preserving the mean of tanh or of the LLR gives
thresholds that are 0.3-2 % too good). Variable nodes: convolution by FFT of the signed density.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

CONVERGED = 1e-4  # entropy per message
STUCK = 2e-5  # relative decrease of the entropy per iteration


def h2(p: float) -> float:
    """Binary entropy in bits."""
    return -p * math.log2(p) - (1 - p) * math.log2(1 - p)


def qber_of(entropy: float) -> float:
    """The QBER below one half of that entropy, by bisection."""
    low, high = 1e-9, 0.5
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if h2(middle) < entropy else (low, middle)
    return low


def concentrated(check_degree: float) -> dict[int, float]:
    """Edge fractions of checks whose degrees are the two integers around their mean."""
    low = math.floor(check_degree)
    share = check_degree - low
    return {d: w * d / check_degree for d, w in ((low, 1 - share), (low + 1, share)) if w > 1e-9}


def leakage(edge_fractions: dict[int, float], check_degree: float) -> float:
    """Rows per column."""
    return 1 / (check_degree * sum(share / d for d, share in edge_fractions.items()))


@dataclass(frozen=True)
class Trajectory:
    """Entropy of the messages before each iteration, and [iteration, degree] what columns of each degree turn it to."""

    is_converged: bool
    entropy: np.ndarray
    by_degree: np.ndarray


class DensityEvolution:
    """The grid for one QBER. step: wanted spacing of the LLRs; largest: where they are cut off."""

    def __init__(self, qber: float, largest_degree: int, step: float = 0.15, largest: float = 24.0) -> None:
        channel = math.log((1 - qber) / qber)
        self.channel_index = math.ceil(channel / step)
        spacing = channel / self.channel_index
        self.last = int(largest / spacing)
        llr = np.arange(self.last + 1) * spacing
        self.right = 1 / (1 + np.exp(-llr))
        self.entropy = _entropy_of(llr)
        tanh = np.tanh(llr / 2)
        product = np.minimum(np.outer(tanh, tanh), 1 - 1e-15)
        self.below = np.clip(np.searchsorted(tanh, product, side="right") - 1, 0, self.last - 1).astype(np.int32)
        exact = _entropy_of(2 * np.arctanh(product))
        width = self.entropy[self.below] - self.entropy[self.below + 1]
        self.share_above = np.clip((self.entropy[self.below] - exact) / width, 0, 1)
        self.size = 1 << math.ceil(math.log2(int(4 * largest / spacing) + self.last * largest_degree))
        signed = np.zeros(self.size)
        signed[self.channel_index], signed[-self.channel_index] = 1 - qber, qber
        self.channel = np.fft.rfft(signed)

    def start(self) -> np.ndarray:
        """Density of the channel's messages."""
        density = np.zeros(self.last + 1)
        density[self.channel_index] = 1
        return density

    def checks(self, density: np.ndarray, check_fractions: dict[int, float]) -> np.ndarray:
        """Density after the checks: boxplus of degree - 1 messages, by repeated squaring."""
        return sum(share * self._power(density, d - 1) for d, share in check_fractions.items())

    def _power(self, density: np.ndarray, exponent: int) -> np.ndarray:
        result, square = None, density
        while exponent:
            if exponent & 1:
                result = square if result is None else self._boxplus(result, square)
            exponent >>= 1
            square = self._boxplus(square, square) if exponent else square
        return result

    def _boxplus(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return _boxplus(a, b, self.below, self.share_above)

    def columns(self, density: np.ndarray, degrees: list[int]) -> np.ndarray:
        """[degree, |LLR|]: densities after columns of each degree, the channel included."""
        signed = np.zeros(self.size)
        signed[0] = density[0]
        signed[1 : self.last + 1] = density[1:] * self.right[1:]
        signed[-1 : -self.last - 1 : -1] = density[1:] * (1 - self.right[1:])
        transform = np.fft.rfft(signed)
        both = np.fft.irfft(np.array([self.channel * transform ** (d - 1) for d in degrees]), self.size)
        out = np.zeros((len(degrees), self.last + 1))
        out[:, 0] = both[:, 0]
        out[:, 1:-1] = both[:, 1 : self.last] + both[:, -1 : -self.last : -1]
        out[:, -1] = 1 - out.sum(axis=1)
        return np.maximum(out, 0)

    def run(self, edge_fractions: dict[int, float], check_degree: float, iterations: int = 1000) -> Trajectory:
        """Iterate until the messages are certain, stuck, or the iterations are used up."""
        degrees = sorted(edge_fractions)
        weights = np.array([edge_fractions[d] for d in degrees])
        checks = concentrated(check_degree)
        density = self.start()
        before, history, by_degree = float(self.entropy @ density), [], []
        for _ in range(iterations):
            each = self.columns(self.checks(density, checks), degrees)
            history.append(before)
            by_degree.append(each @ self.entropy)
            density = weights @ each
            density /= density.sum()
            now = float(self.entropy @ density)
            if now < CONVERGED:
                return Trajectory(True, np.array(history), np.array(by_degree))
            if before - now < STUCK * before:
                break
            before = now
        return Trajectory(False, np.array(history), np.array(by_degree))


def threshold_f(edge_fractions: dict[int, float], leak: float, step: float = 0.15, tolerance: float = 0.001) -> float:
    """Least leak / h(QBER) at which density evolution converges, the mean check degree following from the leakage."""
    check_degree = 1 / (leak * sum(share / d for d, share in edge_fractions.items()))
    low, high = 1.005, 1.3
    while high - low > tolerance:
        f = (low + high) / 2
        evolution = DensityEvolution(qber_of(leak / f), max(edge_fractions), step)
        low, high = (low, f) if evolution.run(edge_fractions, check_degree).is_converged else (f, high)
    return high


def _entropy_of(llr: np.ndarray) -> np.ndarray:
    """Entropy in bits of a bit whose log-likelihood ratio is llr >= 0."""
    return (np.log1p(np.exp(-llr)) + llr / (1 + np.exp(llr))) / math.log(2)


@njit(cache=True, fastmath=True)
def _boxplus(a, b, below, share_above):
    out = np.zeros(a.size)
    for i in range(a.size):
        if a[i] < 1e-14:
            continue
        for j in range(b.size):
            p = a[i] * b[j]
            above = p * share_above[i, j]
            out[below[i, j]] += p - above
            out[below[i, j] + 1] += above
    return out
