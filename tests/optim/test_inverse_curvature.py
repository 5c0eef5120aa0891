import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import curvature, interop, optim
from tests.optim.second_order import (
    LABELS,
    THETA,
    X,
    logistic_derivatives,
    logistic_loss,
    vector,
)

BATCH = (X.astype(np.float32), LABELS.astype(np.float32))
PARAMS = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), THETA)
GRADS = jax.grad(logistic_loss)(PARAMS, BATCH)
HESSIAN = functools.partial(curvature.hvp, logistic_loss)


def one_update(transform, params=PARAMS, grads=GRADS, **extra):
    """The first updates and the state after them, jitted."""

    @jax.jit
    def update(grads, params, extra):
        return transform.update(grads, transform.init(params), params, **extra)

    return update(grads, params, extra)


@pytest.mark.parametrize("solver", ["minres", "cg"])
@pytest.mark.parametrize("damping", [0.0, 0.7])
def test_solves_the_damped_system(solver, damping):
    transform = optim.scale_by_inverse_curvature(HESSIAN, damping, solver=solver)
    updates, state = one_update(transform, batch=BATCH)
    gradient, hessian = logistic_derivatives(vector(PARAMS))
    expected = np.linalg.solve(hessian + damping * np.eye(4), gradient)
    np.testing.assert_allclose(vector(updates), expected, rtol=1e-4)
    assert state.converged
    assert not state.negative_curvature
    assert 1 <= state.iterations <= 8


def test_eager_updates_are_those_under_jit():
    transform = optim.scale_by_inverse_curvature(HESSIAN)
    eager, _ = transform.update(GRADS, transform.init(PARAMS), PARAMS, batch=BATCH)
    jitted, _ = one_update(transform, batch=BATCH)
    np.testing.assert_allclose(vector(eager), vector(jitted), rtol=1e-5)


def test_much_damping_gives_the_gradient():
    transform = optim.scale_by_inverse_curvature(HESSIAN, 1e6)
    updates, _ = one_update(transform, batch=BATCH)
    np.testing.assert_allclose(1e6 * vector(updates), vector(GRADS), rtol=1e-5)


def test_a_given_operator_is_used():
    transform = optim.scale_by_inverse_curvature(HESSIAN)
    given = curvature.scale(2.0, HESSIAN(PARAMS, BATCH))
    half, _ = one_update(transform, operator=given)
    whole, _ = one_update(transform, batch=BATCH)
    np.testing.assert_allclose(2 * vector(half), vector(whole), rtol=1e-4)


def test_cg_stops_at_the_radius_and_at_negative_curvature():
    saddle = curvature.from_matrix(jnp.diag(jnp.array([2.0, -1.0])))
    convex = curvature.from_matrix(jnp.eye(2))
    gradient, zero = jnp.array([1.0, 3.0]), jnp.zeros(2)

    def solve(operator, radius):
        transform = optim.scale_by_inverse_curvature(
            HESSIAN, solver="cg", radius=radius
        )
        return one_update(transform, zero, gradient, operator=operator)

    updates, state = solve(convex, 0.5)
    np.testing.assert_allclose(updates, gradient / np.sqrt(40), rtol=1e-5)
    assert not state.negative_curvature
    # <g, A g> < 0: along g itself.
    updates, state = solve(saddle, 0.5)
    np.testing.assert_allclose(updates, gradient / np.sqrt(40), rtol=1e-5)
    assert state.negative_curvature
    updates, state = solve(saddle, None)
    np.testing.assert_allclose(updates, gradient)
    assert state.negative_curvature
    assert not state.converged


def test_cg_keeps_what_it_reached_before_negative_curvature():
    operator = curvature.from_matrix(jnp.diag(jnp.array([2.0, -1.0])))
    gradient = jnp.array([3.0, 1.0])  # <g, A g> > 0, then the direction is downward
    transform = optim.scale_by_inverse_curvature(HESSIAN, solver="cg")
    updates, state = one_update(transform, jnp.zeros(2), gradient, operator=operator)
    np.testing.assert_allclose(updates, 10 / 17 * gradient, rtol=1e-5)
    assert state.negative_curvature
    assert state.iterations == 2


def test_too_few_iterations_are_reported():
    transform = optim.scale_by_inverse_curvature(HESSIAN, max_iterations=1)
    _, state = one_update(transform, batch=BATCH)
    assert state.iterations == 1
    assert not state.converged


@pytest.mark.parametrize("solver", ["minres", "cg"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_shows(solver, bad):
    transform = optim.scale_by_inverse_curvature(HESSIAN, solver=solver)
    grads = {"b": jnp.array(bad, jnp.float32), "w": GRADS["w"]}
    updates, state = one_update(transform, PARAMS, grads, batch=BATCH)
    assert np.isnan(vector(updates)).all()
    assert not state.converged


def test_a_curvature_that_is_not_finite_shows():
    transform = optim.scale_by_inverse_curvature(HESSIAN)
    bad = (BATCH[0], np.full(12, np.inf, np.float32))
    params = jax.tree.map(lambda x: x * jnp.nan, PARAMS)
    updates, state = one_update(transform, params, batch=bad)
    assert np.isnan(vector(updates)).all()
    assert not state.converged


def test_the_state_is_stable():
    transform = optim.scale_by_inverse_curvature(HESSIAN, solver="cg")
    before = transform.init(PARAMS)
    _, after = jax.eval_shape(
        lambda: transform.update(GRADS, before, PARAMS, batch=BATCH)
    )

    def types(tree):
        return jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), tree)

    assert types(before) == types(after)
    assert optax.tree.map_params(transform, lambda x: x, before) == before


# --- Inside the wrappers -------------------------------------------------------------


def test_in_a_chain_what_comes_before_is_preconditioned():
    twice = optim.chain(optim.scale(2.0), optim.newton(logistic_loss))
    updates, _ = one_update(twice, batch=BATCH)
    expected, _ = one_update(optim.newton(logistic_loss), batch=BATCH)
    np.testing.assert_allclose(vector(updates), 2 * vector(expected), rtol=1e-4)


@pytest.mark.parametrize("library", [optim, optax])
def test_inside_masked_with_the_operator_of_the_rest(library):
    transform = library.masked(
        interop.to_optax(optim.scale_by_inverse_curvature(HESSIAN)),
        {"b": False, "w": True},
    )
    hole = getattr(library, "MaskedNode", optim.MaskedNode)()

    def weights(tree):
        return {"b": hole, "w": tree["w"]}

    block = curvature.restrict(HESSIAN(PARAMS, BATCH), weights)
    updates, _ = one_update(transform, operator=block)
    _, hessian = logistic_derivatives(vector(PARAMS))
    expected = np.linalg.solve(hessian[1:, 1:], GRADS["w"])
    np.testing.assert_allclose(updates["w"], expected, rtol=1e-4)
    np.testing.assert_array_equal(updates["b"], GRADS["b"])
    with pytest.raises(ValueError, match=r"inside masked needs operator.*1 holes"):
        one_update(transform, batch=BATCH)


def test_inside_inject_hyperparams():
    make = optim.inject_hyperparams(optim.newton, static_args="loss")
    optimizer = make(logistic_loss, learning_rate=0.5, damping=0.3)
    state = optimizer.init(PARAMS)
    assert sorted(state.hyperparams) == ["damping", "learning_rate"]
    updates, _ = one_update(optimizer, batch=BATCH)
    expected, _ = one_update(optim.newton(logistic_loss, 0.5, 0.3), batch=BATCH)
    np.testing.assert_allclose(vector(updates), vector(expected), rtol=1e-4)


def test_through_optax():
    optimizer = optax.chain(
        optax.clip_by_global_norm(1e3),
        interop.to_optax(optim.newton(logistic_loss)),
    )
    updates, _ = one_update(optimizer, batch=BATCH)
    expected, _ = one_update(optim.newton(logistic_loss), batch=BATCH)
    np.testing.assert_allclose(vector(updates), vector(expected), rtol=1e-4)


def test_inside_the_other_wrappers():
    expected, _ = one_update(optim.newton(logistic_loss), batch=BATCH)
    inner = optim.newton(logistic_loss)
    for wrapped in (
        optim.apply_if_finite(inner, 1),
        optim.accumulate(inner, 1),
        optim.partition({"all": inner}, {"b": "all", "w": "all"}),
        optim.chain(inner, optim.polyak_average()),
    ):
        updates, _ = one_update(wrapped, batch=BATCH)
        np.testing.assert_allclose(vector(updates), vector(expected), rtol=1e-4)


@pytest.mark.parametrize("solver", ["minres", "cg"])
def test_vmap_over_the_hyperparameters_equals_a_loop(solver):
    def step(rate, damping, tol, radius):
        bound = {"radius": radius} if solver == "cg" else {}
        optimizer = optim.newton(
            logistic_loss, rate, damping, solver=solver, tol=tol, **bound
        )
        state = optimizer.init(PARAMS)
        return optimizer.update(GRADS, state, PARAMS, batch=BATCH)[0]

    settings = jnp.array([
        [1.0, 0.5, 0.1],
        [0.0, 1.0, 0.2],
        [1e-5, 0.3, 1e-4],
        [0.1, 10.0, 2.0],
    ])
    stacked = jax.vmap(step)(*settings)
    for i, member in enumerate(np.asarray(settings).T):
        got = vector(jax.tree.map(lambda x, i=i: x[i], stacked))
        loop = vector(step(*(float(x) for x in member)))
        np.testing.assert_allclose(got, loop, rtol=1e-3)


# --- Errors --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"damping": -1.0}, r"damping must be in \[0, inf\), got -1.0"),
        ({"damping": np.inf}, r"damping must be in \[0, inf\)"),
        ({"tol": -1e-3}, r"tol must be in \[0, inf\)"),
        ({"radius": 0, "solver": "cg"}, r"radius must be in \(0, inf\], got 0"),
        ({"radius": 1.0}, "radius needs solver='cg', got 1.0 with 'minres'"),
        ({"solver": "lu"}, "solver must be 'minres' or 'cg', got 'lu'"),
        ({"max_iterations": 0}, "max_iterations must be an integer >= 1, got 0"),
    ],
)
def test_a_wrong_hyperparameter_raises(settings, message):
    for make in (
        functools.partial(optim.scale_by_inverse_curvature, HESSIAN),
        functools.partial(optim.newton, logistic_loss),
    ):
        with pytest.raises(ValueError, match=message):
            make(**settings)


def test_an_update_without_what_it_needs_raises():
    transform = optim.scale_by_inverse_curvature(HESSIAN)
    state = transform.init(PARAMS)
    with pytest.raises(ValueError, match=r"got parameters and \['value'\]"):
        transform.update(GRADS, state, PARAMS, value=1.0)
    with pytest.raises(ValueError, match=r"got no parameters and \['batch'\]"):
        transform.update(GRADS, state, batch=BATCH)
    half = jax.tree.map(lambda g: g.astype(jnp.bfloat16), GRADS)
    with pytest.raises(ValueError, match="updates must be a"):
        transform.update(half, state, PARAMS, batch=BATCH)
