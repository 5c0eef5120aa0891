import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import losses, optim, train
from jaxdl.models import mlp

RNG = np.random.default_rng(0)
X = RNG.normal(size=(10, 4)).astype(np.float32)
Y = RNG.integers(0, 3, size=(3, 10)).astype(np.int32)  # own labels a member
KEYS = jax.random.split(jax.random.key(0), 3)
LOSS = train.supervised(mlp.apply, losses.cross_entropy)
PARAMS = jax.vmap(lambda key: mlp.init(key, (4, 8, 3)))(KEYS)
ADAM = optim.adam(0.02)


def evaluate(params, state, held_out):
    x, label = held_out
    return {"loss_of_one": losses.cross_entropy(mlp.apply(params, x), label)}


OPTIONS = {"steps": 12, "batch_size": 4, "record_every": 3, "evaluate": evaluate}
LABELS = jnp.array([0, 1, 2])


def test_members_equal_runs_of_their_own():
    together = train.fit_ensemble(
        KEYS,
        LOSS,
        PARAMS,
        ADAM,
        (X, Y),
        data_axes=(None, 0),
        held_out=(X[0], LABELS),
        held_out_axes=(None, 0),
        chunk=6,
        **OPTIONS,
    )
    assert together.history["loss"].shape == (3, 4)
    for member in range(3):
        alone = train.fit(
            KEYS[member],
            LOSS,
            jax.tree.map(lambda a, m=member: a[m], PARAMS),
            ADAM,
            (X, Y[member]),
            held_out=(X[0], LABELS[member]),
            **OPTIONS,
        )
        for name, values in alone.history.items():
            np.testing.assert_allclose(
                together.history[name][member], values, rtol=1e-4, atol=1e-6
            )
        for ours, theirs in zip(
            jax.tree.leaves(together.params), jax.tree.leaves(alone.params), strict=True
        ):
            np.testing.assert_allclose(ours[member], theirs, rtol=1e-3, atol=1e-5)


def loss_that_explodes(w, state, batch, key):
    """Not finite from the third step on where the state says so."""
    step, fails = state
    bad = (step >= 2) & fails
    value = jnp.sum(w**2) + jnp.mean(batch) * 0
    return jnp.where(bad, jnp.inf, value), ((step + 1, fails), {})


def test_a_failing_member_stops_alone_and_all_failing_members_stop_the_run():
    weights = jnp.ones((2, 3))
    keys = KEYS[:2]

    def run(fails):
        return train.fit_ensemble(
            keys,
            loss_that_explodes,
            weights,
            optim.sgd(0.1),
            X,
            steps=20,
            chunk=4,
            state=(jnp.zeros(2, jnp.int32), jnp.asarray(fails)),
        )

    one = run([False, True])
    np.testing.assert_array_equal(one.failed_at, [0, 3])
    np.testing.assert_allclose(one.params[1], 0.8**2, rtol=1e-6)
    np.testing.assert_allclose(one.params[0], 0.8**20, rtol=1e-5)
    assert np.isnan(one.history["loss"][1, 2:]).all()
    with pytest.warns(RuntimeWarning, match="update 3 was not finite"):
        both = run([True, True])
    assert len(both.steps) == 4


def test_wrong_calls_say_what_is_wrong():
    with pytest.raises(ValueError, match=r"keys must be \(m,\)"):
        train.fit_ensemble(KEYS[0], LOSS, PARAMS, ADAM, (X, Y[0]), steps=1)
    with pytest.raises(ValueError, match="leading axis of 2 members"):
        train.fit_ensemble(KEYS[:2], LOSS, PARAMS, ADAM, (X, Y[0]), steps=1)
    with pytest.raises(ValueError, match="same number of examples"):
        train.fit_ensemble(
            KEYS, LOSS, PARAMS, ADAM, (X, Y[:, :5]), data_axes=(None, 0), steps=1
        )


HELD_OUT = {"held_out": (X[0], LABELS), "held_out_axes": (None, 0)}
RATES = np.array([0.02, 0.1, 0.3], np.float32)


@pytest.mark.parametrize(
    "hyperparameters",
    [
        (RATES, np.array([0.9, 0.5, 0.0], np.float32)),
        {"b1": np.array([0.9, 0.5, 0.0], np.float32), "learning_rate": RATES},
    ],
)
def test_members_have_hyperparameters_of_their_own(hyperparameters):
    together = train.fit_ensemble(
        KEYS,
        LOSS,
        PARAMS,
        optim.adam,
        (X, Y),
        data_axes=(None, 0),
        hyperparameters=hyperparameters,
        **HELD_OUT,
        **OPTIONS,
    )
    for member, (rate, b1) in enumerate(zip(RATES, (0.9, 0.5, 0.0), strict=True)):
        alone = train.fit(
            KEYS[member],
            LOSS,
            jax.tree.map(lambda a, m=member: a[m], PARAMS),
            optim.adam(float(rate), b1),
            (X, Y[member]),
            held_out=(X[0], LABELS[member]),
            **OPTIONS,
        )
        for name, values in alone.history.items():
            np.testing.assert_allclose(
                together.history[name][member], values, rtol=1e-4, atol=1e-5
            )


def test_hyperparameters_are_checked_and_programs_found_again():
    traces = []

    def loss(w, state, batch, key):
        traces.append(1)
        return jnp.sum(w**2) + 0 * jnp.mean(batch), (state, {})

    def run(rates):
        return train.fit_ensemble(
            KEYS,
            loss,
            jnp.ones((3, 2)),
            optim.sgd,
            X,
            steps=4,
            chunk=2,
            hyperparameters=(rates,),
        )

    first = run(RATES)
    np.testing.assert_allclose(first.params[:, 0], (1 - 2 * RATES) ** 4, rtol=1e-5)
    once = len(traces)
    np.testing.assert_allclose(run(RATES / 2).params[:, 0], (1 - RATES) ** 4, rtol=1e-5)
    assert len(traces) == once
    with pytest.raises(ValueError, match=r"learning_rate must .* -0\.5"):
        run(np.array([0.1, 0.1, -0.5], np.float32))
    with pytest.raises(ValueError, match="hyperparameters must have a leading axis"):
        run(RATES[:2])
    under_jit = jax.jit(lambda rates: run(rates).params)(RATES)
    np.testing.assert_allclose(under_jit, first.params, rtol=1e-6)


def test_networks_of_masked_widths_train_as_one_program():
    """Each is the narrow network; early stopping, bagging and rates go with it."""
    widths = jnp.array([2, 5, 8])
    params = jax.vmap(lambda key, w: mlp.init(key, (4, 8, 3), widths=(w,)))(
        KEYS, widths
    )
    rows = np.stack([np.arange(10), np.arange(10)[::-1], np.repeat([1, 3], 5)])
    run = train.fit_ensemble(
        KEYS,
        LOSS,
        params,
        optim.adam,
        (X, Y),
        data_axes=(None, 0),
        rows=rows,
        hyperparameters=(RATES,),
        early_stopping=train.EarlyStopping("loss_of_one", 2),
        **HELD_OUT,
        **OPTIONS,
    )
    for member, width in enumerate([2, 5, 8]):
        hidden, last = jax.tree.map(lambda a, m=member: a[m], params)
        narrow = (
            hidden._replace(kernel=hidden.kernel[:, :width], bias=hidden.bias[:width]),
            last._replace(kernel=last.kernel[:width]),
        )
        alone = train.fit(
            KEYS[member],
            LOSS,
            narrow,
            optim.adam(float(RATES[member])),
            (X, Y[member]),
            rows=rows[member],
            held_out=(X[0], LABELS[member]),
            early_stopping=train.EarlyStopping("loss_of_one", 2),
            **OPTIONS,
        )
        assert int(run.best_step[member]) == int(alone.best_step)
        np.testing.assert_allclose(
            run.params[1].kernel[member, :width],
            alone.params[1].kernel,
            rtol=1e-3,
            atol=1e-5,
        )
        np.testing.assert_array_equal(run.params[0].kernel[member, :, width:], 0)
