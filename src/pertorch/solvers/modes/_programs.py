"""Newton's method for the Poisson-Gauss mixture as one Triton program a start: all its steps in one launch.

In torch a step of all starts together takes some two hundred launches, most of them for four numbers a start. Here a
program keeps its point, gradient and Hessian in registers and reads its guide's histogram once a step. Everything is
float64, as in torch.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _solve(a00, a10, a11, a20, a21, a22, a30, a31, a32, a33, b0, b1, b2, b3):
    """LDLᵀ of a symmetric system of four, and whether it is positive definite."""
    l10 = a10 / a00
    l20 = a20 / a00
    l30 = a30 / a00
    d1 = a11 - l10 * a10
    l21 = (a21 - l20 * a10) / d1
    l31 = (a31 - l30 * a10) / d1
    d2 = a22 - l20 * a20 - l21 * l21 * d1
    l32 = (a32 - l30 * a20 - l31 * l21 * d1) / d2
    d3 = a33 - l30 * a30 - l31 * l31 * d1 - l32 * l32 * d2
    y1 = b1 - l10 * b0
    y2 = b2 - l20 * b0 - l21 * y1
    y3 = b3 - l30 * b0 - l31 * y1 - l32 * y2
    x3 = y3 / d3
    x2 = y2 / d2 - l32 * x3
    x1 = y1 / d1 - l21 * x2 - l31 * x3
    x0 = b0 / a00 - l10 * x1 - l20 * x2 - l30 * x3
    least = 1e-12
    definite = (a00 > 0) & (d1 > least * tl.abs(a11)) & (d2 > least * tl.abs(a22)) & (d3 > least * tl.abs(a33))
    return x0, x1, x2, x3, definite.to(tl.int32)


@triton.jit
def _moments(y, log_factorial, times, n_values, c0, c1, c2, BLOCK: tl.constexpr):
    """``Σ m r yʲ`` for j < 3, ``Σ m r (1 − r) yʲ`` for j < 5, and ``Σ m log(1 + odds)``."""
    zero = tl.zeros((BLOCK,), dtype=tl.float64)
    r0, r1, r2, evidence = zero, zero, zero, zero
    q0, q1, q2, q3, q4 = zero, zero, zero, zero, zero
    for start in range(0, n_values, BLOCK):
        at = start + tl.arange(0, BLOCK)
        inside = at < n_values
        v = tl.load(y + at, mask=inside, other=0.0)
        m = tl.load(times + at, mask=inside, other=0.0)
        odds = c0 + (c1 + c2 * v) * v + tl.load(log_factorial + at, mask=inside, other=0.0)
        rest = tl.exp(-tl.abs(odds))
        both = 1 / (1 + rest)
        r = m * tl.where(odds > 0, both, rest * both)
        q = m * rest * both * both
        evidence += m * (tl.log(1 + rest) + tl.where(odds > 0, odds, 0.0))
        r0 += r
        q0 += q
        r, q = r * v, q * v
        r1 += r
        q1 += q
        r, q = r * v, q * v
        r2 += r
        q2 += q
        q = q * v
        q3 += q
        q4 += q * v
    return (
        tl.sum(r0, 0), tl.sum(r1, 0), tl.sum(r2, 0), tl.sum(evidence, 0),
        tl.sum(q0, 0), tl.sum(q1, 0), tl.sum(q2, 0), tl.sum(q3, 0), tl.sum(q4, 0),
    )  # fmt: skip


@triton.jit
def _evaluate(y, log_factorial, times, n_values, cells, total, constant, x0, x1, x2, x3, BLOCK: tl.constexpr):
    """Loss, gradient and lower triangle of the Hessian: see ``_poisson_gauss._assemble``."""
    half_ln2 = 0.34657359027997264
    rate = tl.exp(x0)
    log_std = x2 - half_ln2 * x1 - 0.32663425997828094  # the floor is −½ ln 2 μ − ln(2 ln 2)
    precision = tl.exp(-2 * log_std)
    folded = tl.log(1 + tl.exp(-tl.abs(x3)))
    log_w0 = tl.minimum(-x3, 0.0) - folded
    log_w1 = tl.minimum(x3, 0.0) - folded
    w0 = tl.exp(log_w0)
    w1 = tl.exp(log_w1)
    c0 = x3 - 0.9189385332046727 - log_std - 0.5 * x1 * x1 * precision + rate
    r0, r1, r2, evidence, q0, q1, q2, q3, q4 = _moments(
        y, log_factorial, times, n_values, c0, x1 * precision - x0, -0.5 * precision, BLOCK
    )
    likelihood = cells * (log_w0 - rate) + total * x0 - constant + evidence
    prior = -0.1 * log_w0 - 0.9 * log_w1 - (x1 - 3) * (x1 - 3) / 8 - log_std
    prior += -(log_std - 2) * (log_std - 2) / 2 - x0 - x0 * x0 / 2
    background = cells - r0
    score = (r1 - x1 * r0) * precision
    square = (r2 - 2 * x1 * r1 + x1 * x1 * r0) * precision
    # Differences of the components' scores as polynomials in y: λ − y, (y − μ)/σ², (y − μ)²/σ² − 1, 1.
    b0 = -x1 * precision
    e0 = x1 * x1 * precision - 1
    e1 = -2 * x1 * precision
    bq0 = b0 * q0 + precision * q1
    bq1 = b0 * q1 + precision * q2
    eq0 = e0 * q0 + e1 * q1 + precision * q2
    eq1 = e0 * q1 + e1 * q2 + precision * q3
    eq2 = e0 * q2 + e1 * q3 + precision * q4
    h00 = rate * rate * q0 - 2 * rate * q1 + q2 - rate * background - 1
    h10 = rate * bq0 - bq1
    h11 = b0 * bq0 + precision * bq1 - r0 * precision - 0.25
    h20 = rate * eq0 - eq1
    h21 = b0 * eq0 + precision * eq1 - 2 * score
    h22 = e0 * eq0 + e1 * eq1 + precision * eq2 - 2 * square - 1
    h30 = rate * q0 - q1
    h31 = bq0
    h32 = eq0
    h33 = q0 - (cells - 1) * w0 * w1
    g2 = square - r0 - 1 - (log_std - 2)
    # log σ = floor(μ) + excess: the floor is linear in μ, so the chain rule adds one row and one column.
    h10 -= half_ln2 * h20
    h31 -= half_ln2 * h32
    h11 += half_ln2 * half_ln2 * h22 - 2 * half_ln2 * h21
    h21 -= half_ln2 * h22
    g0 = total - r1 - rate * background - 1 - x0
    g1 = score - (x1 - 3) / 4 - half_ln2 * g2
    g3 = r0 - cells * w1 + 0.1 * w1 - 0.9 * w0
    return (
        -(likelihood + prior), -g0, -g1, -g2, -g3,
        -h00, -h10, -h11, -h20, -h21, -h22, -h30, -h31, -h32, -h33,
    )  # fmt: skip


@triton.jit
def _free(x, low, high, gradient):
    """1, or 0 where a bound holds the parameter."""
    return tl.where(((x <= low) & (gradient > 0)) | ((x >= high) & (gradient < 0)), 0.0, 1.0).to(tl.float64)


@triton.jit
def _moved(x, step, low, high, REACH: tl.constexpr):
    return tl.minimum(tl.maximum(x + tl.minimum(tl.maximum(step, -REACH), REACH), low), high)


@triton.jit(do_not_specialize=["width", "max_iter", "tol"])
def modes_kernel(
    y,  # (g, width) float64, as the next two
    log_factorial,
    times,
    n_values,  # (g,) int32: entries of a row that count
    sums,  # (g, 3) float64: cells, Σ y, Σ log Γ(y + 1)
    guide,  # (p,) int64
    point,  # (p, 4) float64: the start, and where it led
    low,  # (p, 4) float64
    high,
    loss_out,  # (p,) float64
    converged_out,  # (p,) int32
    width,
    max_iter,
    tol,
    BLOCK: tl.constexpr,
    SLACK: tl.constexpr,
    DAMPED: tl.constexpr,
    CALMER: tl.constexpr,
    WILDER: tl.constexpr,
    LEAST: tl.constexpr,
    MOST: tl.constexpr,
    MEMORY: tl.constexpr,
    RAISES: tl.constexpr,
    REACH: tl.constexpr,
):
    """One start: the steps of ``_newton.minimize``."""
    problem = tl.program_id(0).to(tl.int64)
    row = tl.load(guide + problem)
    y += row * width
    log_factorial += row * width
    times += row * width
    n = tl.load(n_values + row)
    cells = tl.load(sums + row * 3)
    total = tl.load(sums + row * 3 + 1)
    constant = tl.load(sums + row * 3 + 2)
    point += problem * 4
    low += problem * 4
    high += problem * 4
    low0, low1, low2, low3 = tl.load(low), tl.load(low + 1), tl.load(low + 2), tl.load(low + 3)
    high0, high1, high2, high3 = tl.load(high), tl.load(high + 1), tl.load(high + 2), tl.load(high + 3)
    x0 = tl.minimum(tl.maximum(tl.load(point), low0), high0)
    x1 = tl.minimum(tl.maximum(tl.load(point + 1), low1), high1)
    x2 = tl.minimum(tl.maximum(tl.load(point + 2), low2), high2)
    x3 = tl.minimum(tl.maximum(tl.load(point + 3), low3), high3)
    loss, g0, g1, g2, g3, h00, h10, h11, h20, h21, h22, h30, h31, h32, h33 = _evaluate(
        y, log_factorial, times, n, cells, total, constant, x0, x1, x2, x3, BLOCK
    )
    zero = loss * 0.0
    damping = zero + 0.1
    scale0, scale1, scale2, scale3 = tl.abs(h00) + 1e-8, tl.abs(h11) + 1e-8, tl.abs(h22) + 1e-8, tl.abs(h33) + 1e-8
    turn = 0
    resting = 0
    while (turn < max_iter) & (resting == 0):
        f0, f1 = _free(x0, low0, high0, g0), _free(x1, low1, high1, g1)
        f2, f3 = _free(x2, low2, high2, g2), _free(x3, low3, high3, g3)
        s0, s1, s2, s3 = zero, zero, zero, zero
        definite = 0
        raises = 0
        while (definite == 0) & (raises <= RAISES):
            damping = tl.where(raises > 0, tl.maximum(damping * WILDER, LEAST), damping)
            s0, s1, s2, s3, definite = _solve(
                h00 * f0 + tl.where(f0 > 0, damping * scale0, 1.0),
                h10 * f1 * f0,
                h11 * f1 + tl.where(f1 > 0, damping * scale1, 1.0),
                h20 * f2 * f0,
                h21 * f2 * f1,
                h22 * f2 + tl.where(f2 > 0, damping * scale2, 1.0),
                h30 * f3 * f0,
                h31 * f3 * f1,
                h32 * f3 * f2,
                h33 * f3 + tl.where(f3 > 0, damping * scale3, 1.0),
                -g0 * f0,
                -g1 * f1,
                -g2 * f2,
                -g3 * f3,
            )
            raises += 1
        n0, n1 = _moved(x0, s0, low0, high0, REACH), _moved(x1, s1, low1, high1, REACH)
        n2, n3 = _moved(x2, s2, low2, high2, REACH), _moved(x3, s3, low3, high3, REACH)
        new_loss, e0, e1, e2, e3, k00, k10, k11, k20, k21, k22, k30, k31, k32, k33 = _evaluate(
            y, log_factorial, times, n, cells, total, constant, n0, n1, n2, n3, BLOCK
        )
        moved = tl.maximum(tl.maximum(tl.abs(n0 - x0), tl.abs(n1 - x1)), tl.maximum(tl.abs(n2 - x2), tl.abs(n3 - x3)))
        promised = tl.abs(g0 * (n0 - x0) + g1 * (n1 - x1) + g2 * (n2 - x2) + g3 * (n3 - x3))
        better = (definite == 1) & (new_loss <= loss + SLACK * tl.abs(loss))
        arrived = (better & (moved < tol) & (damping < DAMPED)) | (promised <= SLACK * (1 + tl.abs(loss)))
        resting = tl.where((definite == 1) & arrived, 1, 0)
        x0, x1 = tl.where(better, n0, x0), tl.where(better, n1, x1)
        x2, x3 = tl.where(better, n2, x2), tl.where(better, n3, x3)
        loss = tl.where(better, new_loss, loss)
        g0, g1 = tl.where(better, e0, g0), tl.where(better, e1, g1)
        g2, g3 = tl.where(better, e2, g2), tl.where(better, e3, g3)
        h00, h10, h11 = tl.where(better, k00, h00), tl.where(better, k10, h10), tl.where(better, k11, h11)
        h20, h21, h22 = tl.where(better, k20, h20), tl.where(better, k21, h21), tl.where(better, k22, h22)
        h30, h31 = tl.where(better, k30, h30), tl.where(better, k31, h31)
        h32, h33 = tl.where(better, k32, h32), tl.where(better, k33, h33)
        scale0 = tl.maximum(tl.abs(h00) + 1e-8, MEMORY * scale0)
        scale1 = tl.maximum(tl.abs(h11) + 1e-8, MEMORY * scale1)
        scale2 = tl.maximum(tl.abs(h22) + 1e-8, MEMORY * scale2)
        scale3 = tl.maximum(tl.abs(h33) + 1e-8, MEMORY * scale3)
        damping = tl.where(better, damping * CALMER, tl.minimum(tl.maximum(damping * WILDER, LEAST), MOST))
        turn += 1
    tl.store(point, x0)
    tl.store(point + 1, x1)
    tl.store(point + 2, x2)
    tl.store(point + 3, x3)
    tl.store(loss_out + problem, loss)
    tl.store(converged_out + problem, resting)
