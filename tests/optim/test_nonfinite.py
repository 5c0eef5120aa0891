import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import optim

GRADIENTS = np.float32([1.0, np.nan, np.inf, 2.0, np.nan, np.nan, np.nan, 3.0])


def follow(transform, gradients=GRADIENTS):
    """Updates and states, leaf ``b`` always finite."""
    params = {"a": jnp.zeros(()), "b": jnp.zeros(2), "none": None}
    state, rows = transform.init(params), []
    for g in gradients:
        gradient = {"a": jnp.asarray(g), "b": jnp.ones(2), "none": None}
        updates, state = transform.update(gradient, state, params)
        rows.append((updates, state))
    return rows


def test_skips_and_counts():
    rows = follow(optim.apply_if_finite(optim.sgd(1.0), 2))
    got = [
        (
            float(updates["b"][0]),
            int(state.notfinite_count),
            int(state.total_notfinite),
            bool(state.last_finite),
        )
        for updates, state in rows
    ]
    assert got == [
        (-1, 0, 0, True),
        (0, 1, 1, False),
        (0, 2, 2, False),
        (-1, 0, 2, True),
        (0, 1, 3, False),
        (0, 2, 4, False),
        (-1, 3, 5, False),  # the third in a row is let through
        (-1, 0, 5, True),
    ]
    assert np.isnan(rows[6][0]["a"])


def test_a_skipped_update_leaves_the_inner_state():
    ours = follow(optim.apply_if_finite(optim.adam(0.1), 5))
    clean = follow(optim.adam(0.1), GRADIENTS[np.isfinite(GRADIENTS)])
    kept = [row for row, g in zip(ours, GRADIENTS, strict=True) if np.isfinite(g)]
    for (updates, state), (expected, inner) in zip(kept, clean, strict=True):
        assert updates["none"] is None
        np.testing.assert_allclose(updates["a"], expected["a"], rtol=1e-5)
        np.testing.assert_allclose(state.inner_state[0].mu["a"], inner[0].mu["a"])


def test_optax_inside_and_extra_arguments():
    transform = optim.apply_if_finite(optax.scale_by_polyak(), 1)
    gradient = jnp.array([1.0, 2.0])
    updates, _ = transform.update(
        gradient, transform.init(gradient), gradient, value=0.5
    )
    np.testing.assert_allclose(updates, gradient * 0.1, rtol=1e-6)


def test_vmap_over_gradients_equals_a_loop():
    transform = optim.apply_if_finite(optim.sgd(1.0), 2)

    def update(gradient):
        updates, state = transform.update(gradient, transform.init(gradient))
        return updates, state.total_notfinite

    updates, counts = jax.vmap(update)(GRADIENTS)
    loop = [update(jnp.asarray(g)) for g in GRADIENTS]
    np.testing.assert_array_equal(updates, [u for u, _ in loop])
    np.testing.assert_array_equal(counts, [c for _, c in loop])


@pytest.mark.parametrize("errors", [-1, 1.5])
def test_a_wrong_limit_raises(errors):
    with pytest.raises(ValueError, match="max_consecutive_errors must be an integer"):
        optim.apply_if_finite(optim.sgd(1.0), errors)
