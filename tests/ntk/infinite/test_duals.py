"""Closed forms against Gauss-Hermite quadrature and by hand, in float64."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf, ndtr
from scipy.stats import norm

from jaxdl.ntk.infinite import duals

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(150)
WEIGHTS = WEIGHTS / WEIGHTS.sum()
SMOOTH = {
    "erf": (duals.erf, erf, lambda u: 2 / np.sqrt(np.pi) * np.exp(-u * u)),
    "gelu": (duals.gelu, lambda u: u * ndtr(u), lambda u: ndtr(u) + u * norm.pdf(u)),
    "sine": (duals.sine, np.sin, np.cos),
    "rbf": (
        duals.rbf(0.7),
        lambda u: np.sqrt(2) * np.sin(np.sqrt(1.4) * u + np.pi / 4),
        lambda u: np.sqrt(2.8) * np.cos(np.sqrt(1.4) * u + np.pi / 4),
    ),
}
SLOPES = {"relu": (0.0, 1.0), "leaky": (0.2, 1.0), "absolute": (-1.0, 1.0)}
ALL = {
    **{name: case[0] for name, case in SMOOTH.items()},
    **{name: duals.piecewise_linear(*slopes) for name, slopes in SLOPES.items()},
}
PAIRS = np.array([
    (0.3, 0.5, 1.2),
    (-0.7, 0.9, 0.8),
    (0.8, 0.8, 0.8),
    (0.0, 0.4, 2.0),
    (-1, 1, 1),
]).T


def by_quadrature(f, c, v1, v2):
    along, across = c / np.sqrt(v1), np.sqrt(max(v2 - c * c / v1, 0))
    u = np.sqrt(v1) * NODES[:, None]
    v = along * NODES[:, None] + across * NODES[None]
    return WEIGHTS @ (f(u) * f(v)) @ WEIGHTS


def by_angles(f, c, v1, v2):
    """For ``f(r u) = r f(u)``: E r^2 = 2 in polar coordinates, then over the angle."""
    t = np.arccos(np.clip(c / np.sqrt(v1 * v2), -1, 1))
    kinks = np.mod([0, np.pi, -t, np.pi - t], 2 * np.pi)
    edges = np.unique([*kinks, 2 * np.pi])
    x, w = np.polynomial.legendre.leggauss(40)
    total = 0.0
    for a, b in pairwise(edges):
        angle = (a + b) / 2 + (b - a) / 2 * x
        values = f(np.sqrt(v1) * np.sin(angle)) * f(np.sqrt(v2) * np.sin(angle + t))
        total += (b - a) / 2 * w @ values
    return 2 * total / (2 * np.pi)


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_activations_by_quadrature(name):
    dual, f, slope = SMOOTH[name]
    with jax.enable_x64(True):
        got = dual(*(jnp.asarray(a) for a in PAIRS))
    want = [[by_quadrature(g, *pair) for pair in PAIRS.T] for g in (f, slope)]
    np.testing.assert_allclose(np.array(got), want, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", SLOPES)
def test_piecewise_linear_by_quadrature_over_the_angle(name):
    a, b = SLOPES[name]
    with jax.enable_x64(True):
        value, slope = ALL[name](*(jnp.asarray(p) for p in PAIRS))
    want = [by_angles(lambda u: np.where(u > 0, b, a) * u, *pair) for pair in PAIRS.T]
    np.testing.assert_allclose(value, want, rtol=1e-11, atol=1e-13)
    # The slope's own integrand does not grow with the radius: E r^0 = 1, not 2.
    want = [by_angles(lambda u: np.where(u > 0, b, a), *pair) / 2 for pair in PAIRS.T]
    np.testing.assert_allclose(slope, want, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", ALL)
def test_slope_is_the_derivative_by_the_covariance(name):
    with jax.enable_x64(True):
        c, v1, v2 = (jnp.asarray(a) for a in PAIRS)
        value = jax.grad(lambda c: jnp.sum(ALL[name](c, v1, v2)[0]))(c)
        np.testing.assert_allclose(value, ALL[name](c, v1, v2)[1], rtol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_derivatives_are_those_of_finite_differences(name):
    with jax.enable_x64(True):
        c, v1, v2 = (jnp.asarray(a[:2]) for a in PAIRS)
        for which in (0, 1):

            def total(*at, which=which):
                return jnp.sum(ALL[name](*at)[which])

            got, h = jax.grad(total, (0, 1, 2))(c, v1, v2), 1e-5
            for argument in range(3):
                at = [[c, v1, v2], [c, v1, v2]]
                at[0][argument] = at[0][argument] + h
                at[1][argument] = at[1][argument] - h
                want = (float(total(*at[0])) - float(total(*at[1]))) / (2 * h)
                np.testing.assert_allclose(jnp.sum(got[argument]), want, rtol=1e-7)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_finite_with_finite_derivatives_at_the_edges(name, dtype):
    edges = np.array([
        (1, 1, 1),
        (-1, 1, 1),
        (0, 0, 0),
        (0, 0, 2),
        (3, 3, 3 - 1e-7),
        (1e-9,) * 3,
    ]).T.astype(dtype)
    with jax.enable_x64(dtype == np.float64):
        got = ALL[name](*(jnp.asarray(a) for a in edges))
        assert all(a.dtype == dtype and np.all(np.isfinite(a)) for a in got)
        slopes = jax.jacfwd(lambda *a: jnp.stack(ALL[name](*a)).sum(1), (0, 1, 2))
        assert np.all(np.isfinite(np.array(slopes(*(jnp.asarray(a) for a in edges)))))


def test_exact_for_an_example_with_itself():
    v = np.random.default_rng(0).uniform(1e-3, 1e3, 200)
    for name, (a, b) in SLOPES.items():
        for dtype in (np.float32, np.float64):
            with jax.enable_x64(dtype == np.float64):
                w = jnp.asarray(v.astype(dtype))
                value, slope = jax.jit(ALL[name])(w, w, w)
                rtol = 4 * np.finfo(dtype).eps
                np.testing.assert_allclose(value, (a * a + b * b) / 2 * w, rtol=rtol)
                np.testing.assert_allclose(slope, (a * a + b * b) / 2, rtol=rtol)


def test_angles_near_zero_and_pi():
    with jax.enable_x64(True):
        for t in (1e-3, 1e-5, 1e-6):
            c = jnp.asarray(np.cos(t))
            one = jnp.ones(())
            # c is rounded: the angle it stands for is known to eps / t.
            slope = 0.5 - ALL["relu"](c, one, one)[1]
            assert float(slope) * 2 * np.pi == pytest.approx(t, abs=2e-16 / t)
            below = ALL["relu"](-c, one, one)[0]
            assert abs(float(below)) * 2 * np.pi < t**3 + 2e-15
