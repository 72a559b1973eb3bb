"""The formulas once more, written down from the papers in 60-digit arithmetic.

`wiesemann_length` is Wiesemann et al. 2026 with one decoy; `rusca_length` the older analysis of Rusca et al., APL 112,
171104 (2018), for which an exact published vector exists. The decoy bounds are the same in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, getcontext

from postproc.finite_key.proof import ProofParameters
from postproc.records import BlockCounts

getcontext().prec = 60
LN2 = Decimal(2).ln()


def log2(x: Decimal) -> Decimal:
    return x.ln() / LN2


def entropy(x: Decimal) -> Decimal:
    if x >= Decimal("0.5"):
        return Decimal(1)
    return Decimal(0) if x <= 0 else -x * log2(x) - (1 - x) * log2(1 - x)


def decoy(
    n: Sequence[int],
    m: Sequence[int],
    mu: Sequence[float],
    p: Sequence[float],
    eps: Decimal,
    vacuum_from: Sequence[int],
) -> tuple[Decimal, Decimal, Decimal, Decimal]:
    """(vacuum upper, vacuum lower, single-photon lower, single-photon errors upper) of one basis."""
    mus, ps = [Decimal(repr(x)) for x in mu], [Decimal(repr(x)) for x in p]
    total, errors = Decimal(sum(n)), Decimal(sum(m))
    delta_n = (total / 2 * (1 / eps).ln()).sqrt()
    delta_m = (errors / 2 * (1 / eps).ln()).sqrt()
    tau = [sum(q * (-k).exp() * k**j for q, k in zip(ps, mus, strict=True)) for j in (0, 1)]
    up = [k.exp() / q * min(total, d + delta_n) for k, q, d in zip(mus, ps, n, strict=True)]
    down = [k.exp() / q * max(Decimal(0), d - delta_n) for k, q, d in zip(mus, ps, n, strict=True)]
    err_up = [k.exp() / q * min(errors, e + delta_m) for k, q, e in zip(mus, ps, m, strict=True)]
    err_down = [k.exp() / q * max(Decimal(0), e - delta_m) for k, q, e in zip(mus, ps, m, strict=True)]
    vacuum = min(2 * (tau[0] * err_up[k] + delta_n) for k in vacuum_from)
    vacuum = max(Decimal(0), min(total, vacuum))
    lowest = max(Decimal(0), tau[0] / (mus[0] - mus[1]) * (mus[0] * down[1] - mus[1] * up[0]))
    ratio = (mus[1] / mus[0]) ** 2
    single = tau[1] * mus[0] / (mus[1] * (mus[0] - mus[1])) * (down[1] - ratio * up[0] - (1 - ratio) * vacuum / tau[0])
    wrong = tau[1] / (mus[0] - mus[1]) * (err_up[0] - err_down[1])
    return vacuum, lowest, max(Decimal(0), min(total, single)), max(Decimal(0), wrong)


def wiesemann_length(
    counts: BlockCounts,
    mu: Sequence[float],
    p: Sequence[float],
    eps_sec: float,
    eps_cor: float,
    leak: int,
    hash_bits: int,
) -> tuple[Decimal, Decimal, Decimal]:
    """(length before rounding, single photons in K, phase error bound)."""
    eps = Decimal(repr(eps_sec)) / 15
    _, _, s_key, _ = decoy(counts.n_key, counts.m_key, mu, p, eps, (0, 1))
    _, _, s_test, v_test = decoy(counts.n_test, counts.m_test, mu, p, eps, (0, 1))
    v_test = min(v_test, Decimal(sum(counts.m_test)))
    phase = Decimal("0.5")
    if s_key > 0 and s_test > 0:
        serfling = ((s_key + s_test) / (s_key * s_test) * (s_test + 1) / s_test * (1 / eps).ln()).sqrt()
        phase = min(phase, min(phase, v_test / s_test) + serfling)
    fixed = 4 * log2(15 / (Decimal(repr(eps_sec)) * Decimal(2) ** Decimal("0.25")))
    hash_cost = max(Decimal(hash_bits), log2(2 / Decimal(repr(eps_cor))))
    return s_key * (1 - entropy(phase)) - leak - hash_cost - fixed, s_key, phase


def rusca_length(
    counts: BlockCounts,
    mu: Sequence[float],
    p: Sequence[float],
    eps_sec: float,
    eps_cor: float,
    leak: int,
    most_errors: int,
) -> Decimal:
    """Rusca et al.: their own sampling term, vacuum detections counted, vacuum bound from the decoy class only.

    most_errors: clip of the single-photon errors; the published vector was computed with all detections of T."""
    a = Decimal(repr(eps_sec))
    eps = a / 19
    _, s0, s_key, _ = decoy(counts.n_key, counts.m_key, mu, p, eps, (1,))
    _, _, s_test, v_test = decoy(counts.n_test, counts.m_test, mu, p, eps, (1,))
    b = min(v_test, Decimal(most_errors)) / s_test
    inner = log2((s_test + s_key) / (s_test * s_key * (1 - b) * b) * (19 / a) ** 2)
    phase = b + ((s_test + s_key) * (1 - b) * b / (s_test * s_key * LN2) * inner).sqrt()
    return s0 + s_key * (1 - entropy(phase)) - leak - 6 * log2(19 / a) - log2(2 / Decimal(repr(eps_cor)))


def lim_serfling_length(
    counts: BlockCounts, source: ProofParameters, leak: int, hash_bits: int
) -> tuple[Decimal, Decimal, Decimal]:
    """Lim et al. 2014 with two decoys and Serfling: (length, single photons in K, phase error bound)."""
    mu, p = ([Decimal(repr(x)) for x in xs] for xs in (source.mean_photon_numbers, source.intensity_probabilities))
    eps = Decimal(repr(source.eps_sec)) / 21
    tau = [sum((q * (-k).exp() * k**j for q, k in zip(p, mu, strict=True)), Decimal(0)) for j in (0, 1)]

    def basis(n: Sequence[int], m: Sequence[int]) -> tuple[Decimal, Decimal, Decimal]:
        total, errors = Decimal(sum(n)), Decimal(sum(m))

        def shifted(k: int, values: Sequence[int], limit: Decimal, sign: int) -> Decimal:
            moved = values[k] + sign * (limit / 2 * (1 / eps).ln()).sqrt()
            return mu[k].exp() / p[k] * max(Decimal(0), min(limit, moved))

        s0 = tau[0] * (mu[1] * shifted(2, n, total, -1) - mu[2] * shifted(1, n, total, 1)) / (mu[1] - mu[2])
        s0 = max(Decimal(0), min(total, s0))
        multi = (mu[1] ** 2 - mu[2] ** 2) / mu[0] ** 2 * (shifted(0, n, total, 1) - s0 / tau[0])
        s1 = shifted(1, n, total, -1) - shifted(2, n, total, 1) - multi
        s1 *= tau[1] * mu[0] / (mu[0] * (mu[1] - mu[2]) - mu[1] ** 2 + mu[2] ** 2)
        v1 = tau[1] * (shifted(1, m, errors, 1) - shifted(2, m, errors, -1)) / (mu[1] - mu[2])
        return s0, max(Decimal(0), min(total, s1)), max(Decimal(0), min(errors, v1))

    s0, s_key, _ = basis(counts.n_key, counts.m_key)
    _, s_test, wrong = basis(counts.n_test, counts.m_test)
    phase = Decimal("0.5")
    if s_key > 0 and s_test > 0:
        serfling = ((s_key + s_test) / (s_key * s_test) * (s_test + 1) / s_test * (1 / eps).ln()).sqrt()
        phase = min(phase, min(phase, wrong / s_test) + serfling)
    fixed = 6 * log2(1 / eps) + max(Decimal(hash_bits), log2(2 / Decimal(repr(source.eps_cor))))
    return s0 + s_key * (1 - entropy(phase)) - leak - fixed, s_key, phase
