"""Responding cells as a Triton program: one target a program, all of its refinements in one launch, in float64.

Values are stored marker by marker, so that neighbouring threads read neighbouring cells. The order of every sum depends
on the target's own cells, its markers and the controls alone: a target has the same bits in any batch.
"""

from __future__ import annotations

import triton
import triton.language as tl

from pertorch.ops.two_normals._programs import newton

UNROLL = tl.constexpr(4)  # markers whose values are on their way at a time


@triton.jit
def _there(chosen, at, n, CHOSEN: tl.constexpr):
    """Which positions count: the chosen cells, or all that there are."""
    there = at < n
    if CHOSEN:
        there = tl.load(chosen + at, mask=there, other=0) != 0
    return there


@triton.jit
def _sum(x, chosen, n, CHOSEN: tl.constexpr, BLOCK: tl.constexpr):
    total = tl.zeros([BLOCK], dtype=tl.float64)
    for begin in range(0, n, BLOCK):
        at = begin + tl.arange(0, BLOCK)
        total += tl.load(x + at, mask=_there(chosen, at, n, CHOSEN), other=0.0)
    return tl.sum(total, 0)


@triton.jit
def _scatter(x, chosen, n, mean, CHOSEN: tl.constexpr, BLOCK: tl.constexpr):
    """Squared deviations."""
    total = tl.zeros([BLOCK], dtype=tl.float64)
    for begin in range(0, n, BLOCK):
        at = begin + tl.arange(0, BLOCK)
        there = _there(chosen, at, n, CHOSEN)
        away = tl.load(x + at, mask=there, other=0.0) - mean
        total += tl.where(there, away * away, 0.0)
    return tl.sum(total, 0)


@triton.jit
def _project(out, x, stride, markers, weights, k, shift, per_length, n, INDIRECT: tl.constexpr, BLOCK: tl.constexpr):
    """``(Σ_j weights[j] x[j] − shift) / length`` of each cell; row ``j`` of x is ``markers[j]`` where INDIRECT."""
    for begin in range(0, n, BLOCK):
        at = begin + tl.arange(0, BLOCK)
        t = tl.zeros([BLOCK], dtype=tl.float64)
        for first in range(0, k, UNROLL):
            for i in tl.static_range(UNROLL):
                j = tl.minimum(first + i, k - 1)
                row = tl.load(markers + j) if INDIRECT else j
                weight = tl.where(first + i < k, tl.load(weights + j), 0.0)
                t += weight * tl.load(x + row * stride + at, mask=at < n, other=0.0)
        tl.store(out + at, (t - shift) * per_length, mask=at < n)


@triton.jit
def _copy(out, x, n, BLOCK: tl.constexpr):
    for begin in range(0, n, BLOCK):
        at = begin + tl.arange(0, BLOCK)
        tl.store(out + at, tl.load(x + at, mask=at < n), mask=at < n)


@triton.jit(do_not_specialize=["n_most", "k_most", "n_controls", "n_refinements", "min_cells", "max_iter"])
def refine_kernel(
    cells,  # (B, k_most, n_most) float64
    sizes,  # (B,) int64: cells of each target
    markers,  # (B, k_most) int64: rows of the controls
    n_markers,  # (B,) int64
    controls,  # (u, n_controls) float64
    control_mean,  # (u,) float64
    control_scatter,  # (u,) float64
    chosen,  # (B, n_most) int8: ones, then which cells respond
    posterior,  # (B, n_most) float64: zeros, then theirs
    first_cells,  # (B, n_most) float64: zeros, then positions on the first line
    first_controls,  # (B, n_controls) float64
    now,  # (B, n_controls + n_most) float64: positions of controls and cells on the line of the moment
    line,  # (B, 3, k_most) float64: centre, spread, weight of each marker
    told,  # (B, 4) int64: refinements, converged, collapsed, whether there is a first line
    limits,  # see newton
    n_most,
    k_most,
    n_controls,
    n_refinements,
    min_cells,
    max_iter,
    SCALE: tl.constexpr,
    WITH_CONTROLS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One target. Where what one thread has stored is read by others, a barrier stands between."""
    b = tl.program_id(0).to(tl.int64)
    n, k = tl.load(sizes + b), tl.load(n_markers + b)
    cells += b * k_most * n_most
    markers += b * k_most
    chosen += b * n_most
    posterior += b * n_most
    now += b * (n_controls + n_most)
    of_cells = now + n_controls
    line += b * 3 * k_most
    spreads, weights = line + k_most, line + 2 * k_most
    floor = tl.load(limits + 1)
    one = floor * 0 + 1.0
    m = n_controls * one
    for j in range(k):
        marker = tl.load(markers + j)
        centre, spread = one * 0, one
        if SCALE:
            # Over target and control cells together, from the moments of each.
            x = cells + j * n_most
            mean, theirs = _sum(x, chosen, n, False, BLOCK) / n, tl.load(control_mean + marker)
            scatter = _scatter(x, chosen, n, mean, False, BLOCK) + tl.load(control_scatter + marker)
            scatter += n * m / (n + m) * (mean - theirs) * (mean - theirs)
            spread = tl.sqrt(scatter / (n + m - 1))
            spread = tl.where(spread > 0, spread, 1.0)
            centre = (n * mean + m * theirs) / (n + m)
        tl.store(line + j, centre)
        tl.store(spreads + j, spread)
    n_chosen, step, done = n, tl.zeros([], dtype=tl.int32), tl.zeros([], dtype=tl.int32)
    tl.debug_barrier()
    while done == 0:
        length, shift = one * 0, one * 0
        for j in range(k):
            mean = _sum(cells + j * n_most, chosen, n, True, BLOCK) / tl.maximum(n_chosen, 1)
            spread = tl.load(spreads + j)
            v = (mean - tl.load(control_mean + tl.load(markers + j))) / spread
            tl.store(weights + j, v / spread)
            length += v * v
            shift += tl.load(line + j) * (v / spread)
        per_length = tl.where(length > 0, 1 / tl.where(length > 0, length, 1.0), 0.0)
        tl.debug_barrier()
        _project(of_cells, cells, n_most, markers, weights, k, shift, per_length, n, False, BLOCK)
        _project(now, controls, n_controls, markers, weights, k, shift, per_length, n_controls, True, BLOCK)
        tl.debug_barrier()
        if step == 0:
            _copy(first_cells + b * n_most, of_cells, n, BLOCK)
            _copy(first_controls + b * n_controls, now, n_controls, BLOCK)
            tl.store(told + 4 * b + 3, (length > 0).to(tl.int64))
        if step >= n_refinements:
            done += 1
        else:
            known_mean = _sum(now, chosen, n_controls, False, BLOCK) / m
            known_variance = _scatter(now, chosen, n_controls, known_mean, False, BLOCK) / tl.maximum(m - 1, 1.0)
            known_variance = tl.maximum(known_variance, floor)
            mean = _sum(of_cells, chosen, n, True, BLOCK) / tl.maximum(n_chosen, 1)
            variance = _scatter(of_cells, chosen, n, mean, True, BLOCK) / tl.maximum(n_chosen - 1, 1)
            variance = tl.maximum(tl.where(n_chosen > 1, variance, known_variance), floor)
            z0, z1, z2, _, at_rest = newton(
                now if WITH_CONTROLS else of_cells,
                chosen,
                n + n_controls if WITH_CONTROLS else n,
                known_mean,
                known_variance,
                one * 0,
                mean,
                tl.log(tl.maximum(variance - floor, floor)),
                limits,
                max_iter,
                False,
                BLOCK,
            )
            s = floor + tl.exp(z2)
            constant = z0 + 0.5 * tl.log(known_variance / s)
            constant += 0.5 * (known_mean * known_mean / known_variance - z1 * z1 / s)
            slope = z1 / s - known_mean / known_variance
            bend = 0.5 * (1 / known_variance - 1 / s)
            # Without a direction nobody responds.
            constant = tl.where(length > 0, constant, -1e9)
            slope, bend = tl.where(length > 0, slope, 0.0), tl.where(length > 0, bend, 0.0)
            called_, differ_ = tl.zeros([BLOCK], dtype=tl.int64), tl.zeros([BLOCK], dtype=tl.int64)
            for begin in range(0, n, BLOCK):
                at = begin + tl.arange(0, BLOCK)
                t = tl.load(of_cells + at, mask=at < n, other=0.0)
                odds = constant + t * (slope + t * bend)
                small = tl.exp(-tl.abs(odds))
                p = tl.where(at < n, tl.where(odds >= 0, 1.0, small) / (1 + small), 0.0)
                tl.store(posterior + at, p, mask=at < n)
                before = tl.load(chosen + at, mask=at < n, other=0) != 0
                called_ += (p > 0.5).to(tl.int64)
                differ_ += ((p > 0.5) != before).to(tl.int64)
            n_chosen = tl.sum(called_, 0)
            few, same = n_chosen < min_cells, tl.sum(differ_, 0) == 0
            kept = tl.where(few, 0, 1)
            tl.debug_barrier()
            for begin in range(0, n, BLOCK):
                at = begin + tl.arange(0, BLOCK)
                called = tl.load(posterior + at, mask=at < n, other=0.0) > 0.5
                tl.store(chosen + at, (called.to(tl.int32) * kept).to(tl.int8), mask=at < n)
            step += 1
            settled = few | same
            tl.store(told + 4 * b, step.to(tl.int64))
            tl.store(told + 4 * b + 1, (((at_rest != 0) | (length <= 0)) & settled).to(tl.int64))
            tl.store(told + 4 * b + 2, few.to(tl.int64))
            done += (settled | (step >= n_refinements)).to(tl.int32)
        tl.debug_barrier()
