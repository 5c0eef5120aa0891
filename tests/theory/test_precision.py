"""Every formula is in float64, whatever precision JAX is set to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import theory

SPECTRUM, COEFFICIENTS = (
    np.array([4.0, 1.0, 1.0, 0.1, 0.0]),
    np.array([1.0, 1, 0, 3, 2]),
)
MOMENTS = theory.ActivationMoments(0.0, 0.7, 0.4)
X = 1 / 3  # not a float32

FUNCTIONS = {
    "ridgeless": lambda x: theory.ridgeless_isotropic(x, 1.7, 0.3).total,
    "exact": lambda x: theory.ridgeless_exact(9, 20, x, 0.3, 0.3).total,
    "bound": lambda x: theory.noise_lower_bound(9, x),
    "ridge": lambda x: theory.ridge_isotropic(2.0, x, 1.7, 0.3).total,
    "optimal": lambda x: theory.optimal_ridge(2.0, 1.7, x),
    "misspecified": lambda x: theory.ridge_misspecified(2.0, x, 1.7, 0.3, x).total,
    "kappa": lambda x: theory.effective_ridge(SPECTRUM, 3, x),
    "freedom": lambda x: theory.degrees_of_freedom(SPECTRUM, x)[1],
    "any": lambda x: (
        theory.ridge_any_covariance(SPECTRUM, COEFFICIENTS, 3, x, 0.3).total
    ),
    "spectrum": lambda x: (
        theory.ridge_any_covariance(
            x * jnp.array([4.0, 1.0, 0.25, 0.5, 0.0]), COEFFICIENTS, 3, 0.1, 0.3
        ).total
    ),
    "flow": lambda x: theory.gradient_flow_isotropic(2.0, x, 1.7, 0.3).total,
    "two_speed": lambda x: (
        theory.two_speed(x, SPECTRUM, COEFFICIENTS, np.full(5, 0.05), 9, 0.3).total
    ),
    "features": lambda x: theory.random_features(2.0, 1.5, x, MOMENTS, 1.7, 0.3).total,
    "density": lambda x: theory.marchenko_pastur_density(x, 0.5),
    "edge": lambda x: theory.marchenko_pastur_edges(x)[0],
    "moment": lambda x: theory.marchenko_pastur_moment(3, x),
    "activation": lambda x: theory.activation_moments(lambda z: jnp.tanh(x * z)).mu1,
}


REPRESENTATIVE = {"ridgeless", "spectrum", "two_speed", "density", "activation"}


def in_double(function, x):
    with jax.enable_x64(True):
        return float(function(x))


def argument(name):
    return {"bound": 4, "spectrum": 0.25, "activation": 0.25}.get(name, X)


@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_results_keep_every_digit_in_32_bit_mode(name):
    f, x = FUNCTIONS[name], argument(name)
    result, want = f(x), in_double(f, x)
    assert not jax.config.read("jax_enable_x64")
    assert result.dtype == jnp.float64
    assert result.shape == ()
    assert float(result) == want
    assert np.asarray(result) == want
    assert np.asarray(result).dtype == np.float64


@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_jit_and_vmap_give_float64_in_32_bit_mode(name):
    f, x = FUNCTIONS[name], argument(name)
    jitted = jax.jit(f)(x)
    assert jitted.dtype == jnp.float64
    assert float(jitted) == pytest.approx(in_double(f, float(np.float32(x))), rel=1e-12)
    # The argument of the lambda in activation_moments meets float64 as it is.
    array = jnp.array if name == "activation" else np.array
    mapped = jax.vmap(f)(array([x, x]))
    assert mapped.dtype == jnp.float64
    np.testing.assert_allclose(mapped, in_double(f, x), rtol=1e-12)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in REPRESENTATIVE else pytest.mark.slow)
        for name in FUNCTIONS
        if name != "bound"  # of integers
    ],
)
def test_derivatives_in_32_bit_mode(name):
    f = FUNCTIONS[name]
    want = in_double(jax.grad(f), float(np.float32(X)))
    slope = jax.jit(jax.vmap(jax.grad(jax.jit(f))))(np.array([X]))
    assert slope.dtype == jnp.float32
    assert float(slope[0]) == pytest.approx(want, rel=3e-7)


def test_second_derivatives_and_forward_mode_in_32_bit_mode():
    f = FUNCTIONS["kappa"]
    want = in_double(jax.grad(jax.grad(f)), float(np.float32(X)))
    second = jax.grad(jax.jit(jax.grad(jax.jit(f))))(X)
    assert float(second) == pytest.approx(want, rel=3e-7)
    _, slope = jax.jvp(f, (X,), (1.0,))
    assert slope.dtype == jnp.float64
    assert float(slope) == pytest.approx(in_double(jax.grad(f), X), rel=1e-12)


def test_results_feed_other_formulas_in_32_bit_mode():
    best = theory.optimal_ridge(2.0, 1.7, X)
    risk = theory.ridge_isotropic(2.0, best, 1.7, X)
    want = theory.ridge_isotropic(2.0, float(best), 1.7, X)
    assert float(risk.total) == float(want.total)


def test_float32_arguments_are_taken_as_they_are():
    risk = theory.ridge_isotropic(2.0, jnp.float32(X), 1.7, 0.3)
    want = theory.ridge_isotropic(2.0, float(np.float32(X)), 1.7, 0.3)
    assert float(risk.total) == float(want.total)
    kappa = theory.effective_ridge(SPECTRUM.astype(np.float32), 3, X)
    rounded = SPECTRUM.astype(np.float32).astype(np.float64)
    assert float(kappa) == float(theory.effective_ridge(rounded, 3, X))
