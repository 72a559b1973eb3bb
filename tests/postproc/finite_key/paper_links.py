"""The channel and detector models of the papers, as each paper prints them: what is needed to compute its figures.

Nothing here is used by a node; `postproc.finite_key.link_model` describes links that exist.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from postproc.finite_key.entropy import binary_entropy
from postproc.finite_key.proof import Evaluate, Source
from postproc.records import BlockCounts

# Ma, Qi, Zhao, Lo, PRA 72, 012326 (2005), with the detectors of Gobby, Yuan, Shields (2004)


@dataclass(frozen=True, slots=True)
class GysLink:
    """Fibre loss in dB/km, detection probability at Bob, background yield, error ratio by misalignment."""

    loss_db_km: float
    bob_efficiency: float
    background: float
    misalignment: float
    correction_f: float
    sifting: float

    def gain(self, mu: float, km: float) -> tuple[float, float]:
        """(detections, errors) per pulse of mean photon number mu, eq. 10-11."""
        light = -math.expm1(-mu * self.bob_efficiency * 10 ** (-self.loss_db_km * km / 10))
        return self.background + light, self.background / 2 + self.misalignment * light

    def rate(self, mu: float, nu: float | None, km: float) -> float:
        """Asymptotic secret bits per pulse: signal mu, vacuum + weak decoy nu (eq. 34-37) or infinitely many (None)."""
        q_mu, wrong_mu = self.gain(mu, km)
        if nu is None:
            arrives = self.bob_efficiency * 10 ** (-self.loss_db_km * km / 10)
            yield_1 = self.background + arrives
            error_1 = (self.background / 2 + self.misalignment * arrives) / yield_1
        else:
            q_nu, wrong_nu = self.gain(nu, km)
            yield_1 = mu / (mu * nu - nu**2) * (
                q_nu * math.exp(nu)
                - q_mu * math.exp(mu) * nu**2 / mu**2
                - (mu**2 - nu**2) / mu**2 * self.background
            )  # fmt: skip
            error_1 = (wrong_nu * math.exp(nu) - self.background / 2) / (yield_1 * nu)
        single = yield_1 * mu * math.exp(-mu)
        disclosed = q_mu * self.correction_f * binary_entropy(wrong_mu / q_mu)
        return self.sifting * (single * (1 - binary_entropy(error_1)) - disclosed)

    def reach_km(self, mu: float, nu: float | None) -> float:
        """Where the rate becomes zero."""
        return float(optimize.brentq(lambda km: self.rate(mu, nu, km), 10.0, 200.0))


# Lim et al., PRA 89, 022307 (2014), section IV


@dataclass(frozen=True, slots=True)
class LimLink:
    """Bob's efficiency, dark counts and afterpulses per gate, optical error ratio, dB/km. The error model uses the
    transmittance of the whole system: with that of the channel alone, as printed, no figure of the paper comes out."""

    bob_efficiency: float = 0.1
    dark: float = 6e-7
    afterpulse: float = 0.04
    misalignment: float = 5e-3
    loss_db_km: float = 0.2
    correction_f: float = 1.16

    def per_pulse(self, mu: float, km: float) -> tuple[float, float]:
        """(detections, errors) per pulse of mean photon number mu."""
        light = -math.expm1(-mu * self.bob_efficiency * 10 ** (-self.loss_db_km * km / 10))
        clicks = 1 - (1 - 2 * self.dark) * (1 - light)
        return clicks * (1 + self.afterpulse), self.dark + self.misalignment * light + self.afterpulse * clicks / 2

    def block(
        self, mu: Sequence[float], p: Sequence[float], key_basis: float, km: float, key_detections: float
    ) -> tuple[BlockCounts, float, int]:
        """(expected counts, pulses sent, leakage) of a block with so many detections in the key basis."""
        pairs = [self.per_pulse(k, km) for k in mu]
        shares = [(q * n, q * e) for q, (n, e) in zip(p, pairs, strict=True)]
        pulses = key_detections / (key_basis**2 * sum(n for n, _ in shares))
        key, test = pulses * key_basis**2, pulses * (1 - key_basis) ** 2
        counts = BlockCounts(
            n_key=tuple(round(key * n) for n, _ in shares),
            n_test=tuple(round(test * n) for n, _ in shares),
            m_key=tuple(round(key * e) for _, e in shares),
            m_test=tuple(round(test * e) for _, e in shares),
        )
        return counts, pulses, math.ceil(sum(counts.n_key) * self.correction_f * binary_entropy(counts.qber_z))


@dataclass(frozen=True, slots=True)
class Optimum:
    """rate: secret bits per pulse; point: mu_1, mu_2, p_1, p_2, key-basis probability."""

    rate: float
    length_bits: int
    point: tuple[float, ...]
    counts: BlockCounts
    leakage_bits: int


def lim_best(
    link: LimLink,
    km: float,
    key_detections: float,
    evaluate: Evaluate,
    *,
    start: tuple[float, ...] = (0.5, 0.15, 0.5, 0.3, 0.85),
    weakest: float = 2e-4,
    eps_per_bit: float = 1e-15,
) -> Optimum:
    """Most secret bits per pulse over intensities and probabilities; eps_sec = eps_per_bit times the length."""
    best = Optimum(0.0, 0, start, BlockCounts((), (), (), ()), 0)
    length = key_detections / 10
    for _ in range(2):
        source_eps = eps_per_bit * max(1.0, length)

        def at(x: Sequence[float], eps: float = source_eps) -> Optimum:
            mu_1, mu_2, p_1, p_2, key_basis = x
            if not (1.5 > mu_1 > mu_2 + weakest and mu_2 > weakest and min(p_1, p_2) > 0.001 and p_1 + p_2 < 0.999):
                return Optimum(0.0, 0, tuple(x), BlockCounts((), (), (), ()), 0)
            if not 0.05 < key_basis < 0.999:
                return Optimum(0.0, 0, tuple(x), BlockCounts((), (), (), ()), 0)
            mu, p = (mu_1, mu_2, weakest), (p_1, p_2, 1 - p_1 - p_2)
            counts, pulses, leak = link.block(mu, p, key_basis, km, key_detections)
            bits = evaluate(counts, Source(mu, p, eps, 1e-15), leak, 0).observed_length_bits
            return Optimum(bits / pulses, bits, tuple(x), counts, leak)

        best = search(at, best.point)
        length = best.length_bits
    return best


def search(at: Callable[[Sequence[float]], Optimum], start: tuple[float, ...]) -> Optimum:
    """Nelder-Mead, started again from its own end; `at` gives rate 0 outside the admissible range."""
    point: tuple[float, ...] = start
    for _ in range(3):
        simplex = [np.array(point)]
        for i, x in enumerate(point):
            moved = np.array(point)
            moved[i] = x * 0.8
            simplex.append(moved)
        found = optimize.minimize(
            lambda x: -1e6 * at(x).rate, point, method="Nelder-Mead",
            options={"initial_simplex": np.array(simplex), "maxfev": 400, "xatol": 1e-4, "fatol": 1e-9},
        )  # fmt: skip
        point = tuple(float(x) for x in found.x)
    return at(point)


# Rusca et al., APL 112, 171104 (2018), appendix B


@dataclass(frozen=True, slots=True)
class RuscaLink:
    """Both bases alike; dark counts per gate, dead time in units of the pulse period."""

    efficiency: float = 0.5
    dark: float = 1e-8
    error: float = 0.01
    dead_time_pulses: float = 100.0
    correction_f: float = 1.16

    def block(
        self, mu: Sequence[float], p: Sequence[float], key_basis: float, loss_db: float, key_detections: float
    ) -> tuple[BlockCounts, float, int]:
        """(expected counts, pulses sent, leakage) of a block with so many detections in the key basis."""
        eta = self.efficiency * 10 ** (-loss_db / 10)
        light = [-math.expm1(-k * eta) for k in mu]
        clicks = [q * (x + self.dark) for q, x in zip(p, light, strict=True)]
        wrong = [q * (x * self.error + self.dark / 2) for q, x in zip(p, light, strict=True)]
        live = 1 / (1 + self.dead_time_pulses * sum(clicks))
        pulses = key_detections / (key_basis**2 * live * sum(clicks))
        key, test = pulses * live * key_basis**2, pulses * live * (1 - key_basis) ** 2
        counts = BlockCounts(
            n_key=tuple(round(key * c) for c in clicks),
            n_test=tuple(round(test * c) for c in clicks),
            m_key=tuple(round(key * w) for w in wrong),
            m_test=tuple(round(test * w) for w in wrong),
        )
        return counts, pulses, math.ceil(sum(counts.n_key) * self.correction_f * binary_entropy(counts.qber_z))


def rusca_best(
    link: RuscaLink,
    loss_db: float,
    key_detections: float,
    evaluate: Evaluate,
    *,
    intensities: int = 2,
    weakest: float = 1e-3,
    eps_sec: float = 1e-9,
    start: tuple[float, ...] | None = None,
) -> Optimum:
    """Most secret bits per pulse with one decoy (two intensities) or two."""

    def at(x: Sequence[float]) -> Optimum:
        none = Optimum(0.0, 0, tuple(x), BlockCounts((), (), (), ()), 0)
        if intensities == 2:
            mu_1, mu_2, p_1, key_basis = x
            mu, p = (mu_1, mu_2), (p_1, 1 - p_1)
        else:
            mu_1, mu_2, p_1, p_2, key_basis = x
            mu, p = (mu_1, mu_2, weakest), (p_1, p_2, 1 - p_1 - p_2)
            if mu_2 <= weakest or mu_1 <= mu_2 + weakest:
                return none
        if not (1.5 > mu[0] > mu[1] > 0.005 and min(p) > 0.001 and 0.05 < key_basis < 0.999):
            return none
        counts, pulses, leak = link.block(mu, p, key_basis, loss_db, key_detections)
        bits = evaluate(counts, Source(mu, p, eps_sec, 1e-15), leak, 0).observed_length_bits
        return Optimum(bits / pulses, bits, tuple(x), counts, leak)

    default = (0.45, 0.15, 0.6, 0.85) if intensities == 2 else (0.45, 0.15, 0.6, 0.25, 0.85)
    return search(at, default if start is None else start)
