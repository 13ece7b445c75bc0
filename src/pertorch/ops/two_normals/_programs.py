"""Newton's steps as a Triton program: one mixture a program, all of its steps in one launch, in float64.

`_evaluate` is ``_Likelihood.at`` of the torch twin, `_step` its ``step``, and `newton` the loop around them, which
Mixscape's responders run inside a kernel of their own. Matrices are written out: x0 to x2 are (logit weight, mean, log
spread), c01 is the entry of −H for the first two. A name that ends in _ is a thread's share of a sum, or is of the
point tried.
"""

from __future__ import annotations

import triton
import triton.language as tl

RUN = tl.constexpr(512)  # numbers below 2 whose product float64 holds


@triton.jit
def _evaluate(
    points,
    inside,
    n_points,
    logit,
    mean,
    log_spread,
    known_mean,
    known_variance,
    floor,
    MASKED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Value, gradient g, curvature c = −H and complete information d, from the moments of r and of r(1 − r)."""
    e = tl.exp(log_spread)
    s = floor + e
    constant = logit + 0.5 * tl.log(known_variance / s)
    constant += 0.5 * (known_mean * known_mean / known_variance - mean * mean / s)
    slope = mean / s - known_mean / known_variance
    bend = 0.5 * (1 / known_variance - 1 / s)
    zero = tl.zeros([BLOCK], dtype=tl.float64)
    n_, value_, f0_, f1_, f2_ = zero, zero, zero, zero, zero
    s0_, s1_, s2_, s3_, s4_ = zero, zero, zero, zero, zero
    for run in range(0, n_points, RUN * BLOCK):
        # A product of numbers between 1 and 2 takes one logarithm, which is dear in float64.
        product = zero + 1.0
        for begin in range(run, tl.minimum(run + RUN * BLOCK, n_points), BLOCK):
            at = begin + tl.arange(0, BLOCK)
            here = at < n_points
            if MASKED:
                here = tl.load(inside + at, mask=here, other=0) != 0
            t = tl.load(points + at, mask=here, other=0.0)
            odds = constant + t * (slope + t * bend)
            small = tl.exp(-tl.abs(odds))
            share = 1 / (1 + small)
            r = tl.where(here, tl.where(odds >= 0, share, small * share), 0.0)
            both = tl.where(here, small * share * share, 0.0)
            n_ += tl.where(here, 1.0, 0.0)
            value_ += tl.where(here, tl.maximum(odds, 0.0), 0.0)
            product *= tl.where(here, 1 + small, 1.0)
            f0_ += r
            f1_ += r * t
            f2_ += r * t * t
            s0_ += both
            s1_ += both * t
            both *= t * t
            s2_ += both
            s3_ += both * t
            s4_ += both * t * t
        value_ += tl.log(product)
    n, value, f0, f1, f2 = tl.sum(n_, 0), tl.sum(value_, 0), tl.sum(f0_, 0), tl.sum(f1_, 0), tl.sum(f2_, 0)
    s0, s1, s2, s3, s4 = tl.sum(s0_, 0), tl.sum(s1_, 0), tl.sum(s2_, 0), tl.sum(s3_, 0), tl.sum(s4_, 0)
    small = tl.exp(-tl.abs(logit))
    weight = tl.where(logit >= 0, 1.0, small) / (1 + small)
    value -= n * (tl.maximum(logit, 0.0) + tl.log(1 + small))
    # Derivatives of the three coefficients of the log odds by mean (p) and log spread (q).
    p0, p1 = -mean / s, 1 / s
    by_s = 0.5 * (mean * mean / (s * s) - 1 / s)
    q0, q1, q2 = by_s * e, -mean / (s * s) * e, 0.5 / (s * s) * e
    g0, g1, g2 = f0 - n * weight, f0 * p0 + f1 * p1, f0 * q0 + f1 * q1 + f2 * q2
    a0, a1 = s0 * p0 + s1 * p1, s1 * p0 + s2 * p1
    b0, b1, b2 = s0 * q0 + s1 * q1 + s2 * q2, s1 * q0 + s2 * q1 + s3 * q2, s2 * q0 + s3 * q1 + s4 * q2
    within = n * weight * (1 - weight)
    c00, c01, c02 = within - s0, -a0, -b0
    c11 = f0 / s - p0 * a0 - p1 * a1
    c12 = -(p0 * b0 + p1 * b1) - f0 * mean / (s * s) * e + f1 * e / (s * s)
    twice0 = (0.5 - mean * mean / s) / (s * s) * e * e + by_s * e
    twice1 = (2 * mean / s * e - mean) / (s * s) * e
    twice2 = (0.5 - e / s) / (s * s) * e
    c22 = -(q0 * b0 + q1 * b1 + q2 * b2) - f0 * twice0 - f1 * twice1 - f2 * twice2
    return value, g0, g1, g2, c00, c01, c02, c11, c12, c22, within, f0 / s, 0.5 * f0 * (e / s) * (e / s)


@triton.jit
def _step(g0, g1, g2, c00, c01, c02, c11, c12, c22, d0, d1, d2, damping):
    """The damped Newton step by Cholesky's factors, the gain that it promises, and whether there are such factors."""
    c00 += d0 * damping
    c11 += d1 * damping
    c22 += d2 * damping
    least = damping * 0 + 1e-300
    u0 = 1 / tl.sqrt(tl.maximum(tl.abs(c00), least))
    u1 = 1 / tl.sqrt(tl.maximum(tl.abs(c11), least))
    u2 = 1 / tl.sqrt(tl.maximum(tl.abs(c22), least))
    c00, c01, c02, c11, c12, c22 = (
        c00 * u0 * u0,
        c01 * u0 * u1,
        c02 * u0 * u2,
        c11 * u1 * u1,
        c12 * u1 * u2,
        c22 * u2 * u2,
    )
    l00 = tl.sqrt(tl.where(c00 > 0, c00, 1.0))
    l10, l20 = c01 / l00, c02 / l00
    p1 = c11 - l10 * l10
    l11 = tl.sqrt(tl.where(p1 > 0, p1, 1.0))
    l21 = (c12 - l20 * l10) / l11
    p2 = c22 - l20 * l20 - l21 * l21
    l22 = tl.sqrt(tl.where(p2 > 0, p2, 1.0))
    positive = (c00 > 0) & (p1 > 0) & (p2 > 0)
    y0 = u0 * g0 / l00
    y1 = (u1 * g1 - l10 * y0) / l11
    y2 = (u2 * g2 - l20 * y0 - l21 * y1) / l22
    x2 = y2 / l22
    x1 = (y1 - l21 * x2) / l11
    x0 = (y0 - l10 * x1 - l20 * x2) / l00
    x0, x1, x2 = tl.where(positive, x0 * u0, 0.0), tl.where(positive, x1 * u1, 0.0), tl.where(positive, x2 * u2, 0.0)
    return x0, x1, x2, 0.5 * (x0 * g0 + x1 * g1 + x2 * g2), positive


@triton.jit
def newton(
    points,
    inside,
    n_points,
    known_mean,
    known_variance,
    z0,
    z1,
    z2,
    limits,
    max_iter,
    MASKED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """From z to where the likelihood is largest: that point, the steps taken, and whether it came to rest.

    `limits` points to tol, floor, small and largest damping, and least gain, all float64. `inside` says which points
    count where MASKED, else all do.
    """
    tol, floor = tl.load(limits), tl.load(limits + 1)
    small_damping, largest_damping, no_gain = tl.load(limits + 2), tl.load(limits + 3), tl.load(limits + 4)
    value, g0, g1, g2, c00, c01, c02, c11, c12, c22, d0, d1, d2 = _evaluate(
        points, inside, n_points, z0, z1, z2, known_mean, known_variance, floor, MASKED, BLOCK
    )
    damping = tol * 0 + 1.0
    step_of = tl.zeros([], dtype=tl.int32)
    done = tol < 0
    while (step_of < max_iter) & (done == 0):
        x0, x1, x2, gain, positive = _step(g0, g1, g2, c00, c01, c02, c11, c12, c22, d0, d1, d2, damping)
        value_, g0_, g1_, g2_, c00_, c01_, c02_, c11_, c12_, c22_, d0_, d1_, d2_ = _evaluate(
            points, inside, n_points, z0 + x0, z1 + x1, z2 + x2, known_mean, known_variance, floor, MASKED, BLOCK
        )
        finite = (c00_ + c01_ + c02_ + c11_ + c12_ + c22_) * 0 == 0
        better = positive & (gain > 0) & (value_ >= value) & finite
        spread = tl.exp(z2)
        s = floor + spread
        size = tl.maximum(tl.maximum(tl.abs(x0), tl.abs(x1) / tl.sqrt(s)), tl.abs(x2) * spread / s)
        rising = positive & (gain >= 0)
        done = rising & (size < tol) & (damping < small_damping)
        done = done | (rising & (gain < no_gain * tl.abs(value))) | (damping > largest_damping)
        z0, z1, z2 = tl.where(better, z0 + x0, z0), tl.where(better, z1 + x1, z1), tl.where(better, z2 + x2, z2)
        value, g0, g1, g2 = (
            tl.where(better, value_, value),
            tl.where(better, g0_, g0),
            tl.where(better, g1_, g1),
            tl.where(better, g2_, g2),
        )
        c00, c01, c02 = tl.where(better, c00_, c00), tl.where(better, c01_, c01), tl.where(better, c02_, c02)
        c11, c12, c22 = tl.where(better, c11_, c11), tl.where(better, c12_, c12), tl.where(better, c22_, c22)
        d0, d1, d2 = tl.where(better, d0_, d0), tl.where(better, d1_, d1), tl.where(better, d2_, d2)
        damping = tl.where(better, damping * 0.5, damping * 4.0)
        step_of += 1
    return z0, z1, z2, step_of, done


@triton.jit(do_not_specialize=["n_points", "max_iter"])
def newton_kernel(
    points,  # (B, n_points) float64
    inside,  # (B, n_points) int8
    known,  # (B, 2) float64
    state,  # (B, 3) float64: where to start, then where it came to rest
    n_iter,  # (B,) int64
    converged,  # (B,) int8
    limits,  # see newton
    n_points,
    max_iter,
    BLOCK: tl.constexpr,
):
    """One mixture."""
    b = tl.program_id(0).to(tl.int64)
    state += b * 3
    z0, z1, z2, steps, done = newton(
        points + b * n_points,
        inside + b * n_points,
        n_points,
        tl.load(known + 2 * b),
        tl.load(known + 2 * b + 1),
        tl.load(state),
        tl.load(state + 1),
        tl.load(state + 2),
        limits,
        max_iter,
        True,
        BLOCK,
    )
    tl.store(state, z0)
    tl.store(state + 1, z1)
    tl.store(state + 2, z2)
    tl.store(n_iter + b, steps.to(tl.int64))
    tl.store(converged + b, done.to(tl.int8))
