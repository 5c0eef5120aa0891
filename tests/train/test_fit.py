import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import losses, optim, train

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 3))
W = RNG.normal(size=(3, 2))
Y = X @ W
DATA = (X.astype(np.float32), Y.astype(np.float32))
KEY = jax.random.key(0)


def apply(w, x):
    return x @ w


LOSS = train.supervised(apply, losses.squared_error, norm=lambda y, _: jnp.sum(y**2))
ZERO = jnp.zeros((3, 2))
ADAM = optim.adam(0.1)


def test_full_batch_gradient_descent_equals_numpy():
    with jax.enable_x64(True):
        run = train.fit(
            KEY, LOSS, np.zeros((3, 2)), optim.sgd(0.1), (X, Y), steps=30, chunk=10
        )
        w, expected = np.zeros((3, 2)), []
        for _ in range(30):
            residual = X @ w - Y
            expected.append(np.sum(residual**2) / 24)
            w = w - 0.1 * X.T @ residual / 12
        np.testing.assert_allclose(run.params, w, rtol=1e-12)
        np.testing.assert_allclose(run.history["loss"], expected, rtol=1e-12)
        np.testing.assert_array_equal(run.steps, np.arange(1, 31))
        assert int(run.failed_at) == 0


def test_a_record_is_the_mean_over_its_steps_and_evaluation_comes_after():
    def evaluate(w, state, held_out):
        return {"distance": jnp.sum((w - held_out) ** 2)}

    kwargs = {"steps": 12, "evaluate": evaluate, "held_out": jnp.asarray(W, "float32")}
    every = train.fit(KEY, LOSS, ZERO, optim.sgd(0.1), DATA, **kwargs)
    fourth = train.fit(KEY, LOSS, ZERO, optim.sgd(0.1), DATA, record_every=4, **kwargs)
    np.testing.assert_array_equal(fourth.steps, [4, 8, 12])
    for name in ("loss", "norm"):
        np.testing.assert_allclose(
            fourth.history[name], every.history[name].reshape(3, 4).mean(1), rtol=1e-6
        )
    np.testing.assert_allclose(
        fourth.history["distance"], every.history["distance"][3::4], rtol=1e-6
    )


@pytest.mark.parametrize("chunk", [1, 7, 100])
def test_how_often_the_host_looks_changes_nothing(chunk):
    def run(chunk):
        return train.fit(
            KEY, LOSS, ZERO, optim.adam(0.05), DATA, steps=14, batch_size=5, chunk=chunk
        )

    np.testing.assert_array_equal(run(chunk).params, run(14).params)
    np.testing.assert_array_equal(run(chunk).history["loss"], run(14).history["loss"])


def test_mini_batches_reach_the_solution_and_depend_on_the_key():
    def run(key):
        return train.fit(
            key, LOSS, ZERO, optim.momentum(0.1, 0.5), DATA, steps=400, batch_size=4
        ).params

    np.testing.assert_allclose(run(KEY), W, atol=1e-3)
    first = train.fit(KEY, LOSS, ZERO, optim.sgd(0.1), DATA, steps=2, batch_size=4)
    other = train.fit(
        jax.random.key(1), LOSS, ZERO, optim.sgd(0.1), DATA, steps=2, batch_size=4
    )
    assert not np.allclose(first.params, other.params)


def test_optax_transforms_are_accepted_as_they_are():
    ours = train.fit(KEY, LOSS, ZERO, optim.adam(0.05), DATA, steps=20).params
    theirs = train.fit(KEY, LOSS, ZERO, optax.adam(0.05), DATA, steps=20).params
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_a_model_with_state_and_a_loss_with_noise():
    """The state counts the steps; the key differs from step to step."""

    def loss(w, seen, batch, key):
        value, _ = LOSS(w, None, batch, key)
        noise = jax.random.normal(key)
        return value, (seen + len(batch[0]), {"noise": noise})

    run = train.fit(
        KEY, loss, ZERO, optim.sgd(0.1), DATA, steps=6, batch_size=4, state=0
    )
    assert int(run.state) == 24
    assert len(np.unique(run.history["noise"])) == 6


def test_batches_and_the_loss_draw_from_keys_of_their_own():
    """No key that the loss gets draws the batch of a step."""

    def loss(w, state, batch, key):
        value, _ = LOSS(w, None, batch, key)
        return value, (state, {"key": jax.random.key_data(key).astype(float)})

    run = train.fit(KEY, loss, ZERO, optim.sgd(0.1), DATA, steps=4, batch_size=4)
    got = {tuple(row) for row in np.asarray(run.history["key"])}
    batch_key, _ = jax.random.split(KEY)
    for parent in (KEY, batch_key):
        for step in range(4):
            data = jax.random.key_data(jax.random.fold_in(parent, step))
            assert tuple(np.asarray(data.astype(float))) not in got
    assert len(got) == 4


def test_large_finite_parameters_are_finite():
    def loss(w, state, batch, key):
        return jnp.mean(batch[0]), (state, {})

    for start in (jnp.full((2, 2), 2e38), jnp.full((300, 300), 1.0, jnp.float16)):
        run = train.fit(KEY, loss, start, optim.sgd(0.1), DATA, steps=1)
        assert int(run.failed_at) == 0


def test_divergence_stops_with_the_step_named_and_the_last_finite_parameters():
    with jax.enable_x64(True):
        w, step = np.zeros((3, 2)), 0
        with np.errstate(over="ignore", invalid="ignore"):
            while True:
                step += 1
                new = w - 1e100 * X.T @ (X @ w - Y) / 12
                if not np.isfinite([*new.ravel(), np.sum((X @ w - Y) ** 2)]).all():
                    break
                w = new
        with pytest.warns(RuntimeWarning, match=rf"update {step} was not finite"):
            run = train.fit(
                KEY, LOSS, np.zeros((3, 2)), optim.sgd(1e100), (X, Y), steps=8, chunk=4
            )
        assert int(run.failed_at) == step
        np.testing.assert_allclose(run.params, w, rtol=1e-9)
        assert step > 1
        assert len(run.steps) == 4
        assert np.isnan(run.history["loss"][step - 1 :]).all()
        assert np.isfinite(run.history["loss"][: step - 1]).all()


def test_it_works_under_vmap_and_a_failing_member_leaves_the_others_alone():
    rates = jnp.array([0.1, 1e30, 0.05])

    def run(rate):
        return train.fit(KEY, LOSS, ZERO, optim.sgd(rate), DATA, steps=10, batch_size=4)

    together = jax.jit(jax.vmap(run))(rates)
    assert together.history["loss"].shape == (3, 10)
    assert int(together.failed_at[1]) > 0
    assert np.isfinite(together.params).all()
    for i in (0, 2):
        np.testing.assert_allclose(
            together.params[i], run(float(rates[i])).params, rtol=1e-5
        )


def test_it_works_under_vmap_over_keys_alone():
    def run(key):
        return train.fit(key, LOSS, ZERO, optim.sgd(0.1), DATA, steps=3, batch_size=4)

    keys = jax.random.split(KEY, 2)
    together = jax.vmap(run)(keys)
    np.testing.assert_allclose(together.params[1], run(keys[1]).params, rtol=1e-6)


@pytest.mark.parametrize("settings", [{}, {"batch_size": 4, "record_every": 2}])
@pytest.mark.parametrize("steps", [40, 42])
def test_programs_are_compiled_at_most_twice(settings, steps):
    """One stretch is one program; a rest that is shorter is another."""
    traces = []

    def loss(w, state, batch, key):
        traces.append(1)
        return LOSS(w, state, batch, key)

    def run(chunk):
        train.fit(
            KEY, loss, ZERO, optim.adam(0.1), DATA, steps=steps, chunk=chunk, **settings
        )

    run(steps)
    once = len(traces)
    traces.clear()
    train.fit(KEY, loss, ZERO, ADAM, DATA, steps=steps, chunk=4, **settings)
    assert 0 < len(traces) <= 2 * once
    traces.clear()
    train.fit(KEY, loss, ZERO, ADAM, DATA, steps=steps, chunk=4, **settings)
    assert traces == []


@pytest.mark.parametrize(
    "sampler", [train.epoch_batches, train.random_batches], ids=["epochs", "random"]
)
@pytest.mark.parametrize("record_every", [1, 5])
def test_single_examples(sampler, record_every):
    """Each update sees the example that the sampler says."""

    def loss(w, state, batch, key):
        return jnp.sum(w * 0), (state, {"seen": batch[0] * 1.0})

    run = train.fit(
        KEY,
        loss,
        jnp.zeros(()),
        optim.sgd(0.1),
        np.arange(12),
        steps=30,
        batch_size=1,
        sampler=sampler,
        record_every=record_every,
        chunk=10,
    )
    batch_key, _ = jax.random.split(KEY)
    rows = np.asarray(sampler(batch_key, 0, 30, 12, 1)).reshape(-1, record_every)
    np.testing.assert_allclose(run.history["seen"], rows.mean(1), rtol=1e-6)


def test_row_numbers_are_drawn_in_parts_where_there_are_many():
    """As under a `jit` of the caller, where the whole run is one stretch."""

    def run(key):
        return train.fit(
            key,
            lambda w, state, batch, key: (w * 0, (state, {"seen": batch[0] * 1.0})),
            jnp.zeros(()),
            optim.sgd(0.1),
            np.arange(12),
            steps=70,
            batch_size=2**13,
            sampler=train.random_batches,
        ).history["seen"]

    batch_key, _ = jax.random.split(KEY)
    rows = train.random_batches(batch_key, 0, 70, 12, 2**13)
    np.testing.assert_array_equal(jax.jit(run)(KEY), rows[:, 0])


def test_progress_is_told_every_step():
    done = []
    train.fit(
        KEY, LOSS, ZERO, optim.sgd(0.1), DATA, steps=20, chunk=5, progress=done.append
    )
    assert done == [5, 5, 5, 5]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps must be a positive integer"),
        ({"steps": 10, "record_every": 3}, "record_every must divide steps=10"),
        ({"steps": 10, "batch_size": 13}, r"batch_size must lie in 1\.\.12, got 13"),
        ({"steps": 10, "batch_size": 0}, "batch_size must lie in"),
        ({"steps": 10, "data": (X, Y[:5])}, "same number of examples"),
        ({"steps": 10, "data": (X[:0], Y[:0])}, "at least one"),
        ({"steps": 10, "data": ()}, "same number of examples"),
        ({"steps": 10, "sampler": train.random_batches}, "batch_size must be given"),
        ({"steps": 10, "rows": np.ones((2, 3), int)}, r"rows must be \(r,\) integers"),
        ({"steps": 10, "rows": np.arange(3), "batch_size": 4}, r"lie in 1\.\.3, got 4"),
    ],
)
def test_wrong_calls_say_what_is_wrong(change, message):
    arguments = {"data": DATA, **change}
    data = arguments.pop("data")
    with pytest.raises(ValueError, match=message):
        train.fit(KEY, LOSS, ZERO, optim.sgd(0.1), data, **arguments)
