import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from jaxdl.theory import (
    marchenko_pastur_density,
    marchenko_pastur_edges,
    marchenko_pastur_moment,
)
from jaxdl.theory.marchenko_pastur import marchenko_pastur_nodes


def test_edges_by_hand():
    assert [float(edge) for edge in marchenko_pastur_edges(4.0)] == [1, 9]
    assert [float(edge) for edge in marchenko_pastur_edges(1.0)] == [0, 4]


@pytest.mark.parametrize("gamma", [0.3, 3.0])
def test_density_integrates_to_the_moments(gamma):
    lower, upper = (float(edge) for edge in marchenko_pastur_edges(gamma))
    middle, half = (lower + upper) / 2, (upper - lower) / 2

    @jax.jit
    def density(x):
        return marchenko_pastur_density(x, gamma)

    with jax.enable_x64(True):
        for k in range(4):
            bulk, _ = quad(
                lambda u, k=k: (
                    float(density(middle + half * np.sin(u)))
                    * (middle + half * np.sin(u)) ** k
                    * half
                    * np.cos(u)
                ),
                -np.pi / 2,
                np.pi / 2,
                epsabs=1e-12,
            )
            point_mass = max(1 - 1 / gamma, 0) if k == 0 else 0
            want = float(marchenko_pastur_moment(k, gamma))
            assert bulk + point_mass == pytest.approx(want, rel=1e-10)


def test_density_by_hand():
    # At gamma = 1 it is sqrt(4 / x - 1) / (2 pi).
    x = np.array([-1.0, 0.0, 0.5, 3.0, 4.0, 5.0])
    got = np.asarray(marchenko_pastur_density(x, 1.0))
    want = np.array([0, np.inf, np.sqrt(7), np.sqrt(1 / 3), 0, 0]) / (2 * np.pi)
    np.testing.assert_allclose(got, want, rtol=1e-14)
    assert float(marchenko_pastur_density(0.0, 2.0)) == 0


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_density_and_moments_are_those_of_a_sample(gamma):
    n, trials = 150, 20
    p = int(gamma * n)
    x = np.random.default_rng(1).normal(size=(trials, n, p))
    spectra = np.linalg.eigvalsh(x.swapaxes(1, 2) @ x / n)
    for k in (1, 2, 3):
        means = np.mean(spectra**k, axis=1)
        want = float(marchenko_pastur_moment(k, gamma))
        # The mean of the k-th power is off by terms of order 1 / n.
        bound = 5 * means.std() / np.sqrt(trials) + k**2 * want / n
        assert abs(means.mean() - want) < bound
    low, high = 1.2, 2.0
    inside = np.mean((spectra > low) & (spectra < high), axis=1)
    mass, _ = quad(lambda s: float(marchenko_pastur_density(s, gamma)), low, high)
    assert abs(inside.mean() - mass) < 5 * inside.std() / np.sqrt(trials) + 1 / n


def test_moments_by_hand():
    got = [float(marchenko_pastur_moment(k, 2.0)) for k in (0, 1, 2, 3, 4)]
    assert got == [1, 1, 3, 11, 45]
    got = [float(marchenko_pastur_moment(k, 0.5)) for k in (-1, -2, -3)]
    assert got == [2, 8, 48]
    assert np.isposinf(marchenko_pastur_moment(-1, 1.0))
    assert np.isposinf(marchenko_pastur_moment(-2, 3.0))


@pytest.mark.parametrize("gamma", [1e-3, 0.3, 0.999999, 1.0, 1.000001, 2.0, 50.0])
def test_nodes_integrate_the_moments(gamma):
    with jax.enable_x64(True):
        x, weights = (np.asarray(v) for v in marchenko_pastur_nodes(jnp.array(gamma)))
    assert weights.sum() == pytest.approx(min(1, 1 / gamma), rel=1e-14)
    for k in (1, 2, 7, -1, -2) if gamma < 1 else (1, 2, 7):
        want = float(marchenko_pastur_moment(k, gamma))
        assert np.sum(weights * x**k) == pytest.approx(want, rel=1e-12)


def test_vmap_equals_a_loop():
    gammas = np.array([0.5, 1.0, 2.0])
    for function in (
        marchenko_pastur_edges,
        lambda gamma: marchenko_pastur_density(0.7, gamma),
        lambda gamma: marchenko_pastur_moment(3, gamma),
        lambda gamma: marchenko_pastur_moment(-2, gamma),
    ):
        got = np.array(jax.vmap(function)(gammas))
        loop = np.array([function(gamma) for gamma in gammas.tolist()])
        np.testing.assert_allclose(got, loop.T, rtol=1e-15)


def test_derivatives():
    with jax.enable_x64(True):
        slope = jax.grad(lambda gamma: marchenko_pastur_moment(3, gamma))(0.7)
        assert float(slope) == pytest.approx(3 + 2 * 0.7)
        slope = jax.grad(marchenko_pastur_density)(9.5, 1.0)
        assert float(slope) == 0


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda: marchenko_pastur_edges(0.0), "gamma must be"),
        (lambda: marchenko_pastur_density(1.0, -1.0), "gamma must be"),
        (lambda: marchenko_pastur_density(1j, 1.0), "x must be a real"),
        (lambda: marchenko_pastur_moment(1, 0.0), "gamma must be"),
        (lambda: marchenko_pastur_moment(1.5, 1.0), "k must be a Python integer"),
    ],
)
def test_errors(function, message):
    with pytest.raises(ValueError, match=message):
        function()
