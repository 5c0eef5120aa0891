"""An ensemble as one program, against a loop over jitted steps of Flax and optax.

64 networks 64-h-10 on 1437 digits, Adam, mini-batches without replacement, trained
from start to end: by `jaxdl.train.fit_ensemble`, and one after the other by two loops.
The lean loop indexes NumPy arrays; the other draws and indexes with JAX, as Flax's
examples do. Times are seconds of the processor for one update of one network, without
compiling, the least of several turns; some members stand for all in the loops. Run with
``taskset -c 0 python -m benchmarks.training`` for one core.
"""

import time
from functools import partial

import flax.linen as nn  # noqa: TID251 - the peer
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl import data, losses, optim, train
from jaxdl.models import mlp

MEMBERS, STEPS, TURNS = 64, 1100, 3
TABLE = data.digits()
X = np.asarray(TABLE.x[:1437], np.float32).reshape(1437, 64)
Y = np.asarray(TABLE.y[:1437], np.int32)
ADAM = optim.adam(1e-3)
LOSS = train.supervised(mlp.apply, losses.cross_entropy)
ROWS_ON_HOST, ROWS_ON_DEVICE = "lean loop", "loop as in Flax's examples"


class Network(nn.Module):
    """One hidden layer."""

    hidden: int

    @nn.compact
    def __call__(self, x):
        """Outputs for a batch."""
        return nn.Dense(10)(nn.relu(nn.Dense(self.hidden)(x)))


def ensemble(hidden, batch_size):
    """All members at once."""
    init = partial(mlp.init, sizes=(64, hidden, 10))
    keys, params = train.restarts(jax.random.key(0), MEMBERS, init)
    run = train.fit_ensemble(
        keys, LOSS, params, ADAM, (X, Y), steps=STEPS, batch_size=batch_size
    )
    jax.block_until_ready(run)
    return MEMBERS


def loop(way, step, network, batch_size, members=2):
    """One member after the other."""
    x, y = (X, Y) if way is ROWS_ON_HOST else (jnp.asarray(X), jnp.asarray(Y))
    per_epoch = len(X) // batch_size
    for seed in range(members):
        key, rng = jax.random.key(seed), np.random.default_rng(seed)
        params = network.init(key, X[:1])
        state = optax.adam(1e-3).init(params)
        for epoch in range(STEPS // per_epoch):
            if way is ROWS_ON_HOST:
                order = rng.permutation(len(X))
            else:
                order = jax.random.permutation(jax.random.fold_in(key, epoch), len(X))
            order = order[: per_epoch * batch_size].reshape(per_epoch, batch_size)
            for batch in range(per_epoch):
                rows = order[batch]
                params, state, _ = step(params, state, x[rows], y[rows])
        jax.block_until_ready(params)
    return members


def step_of(network):
    """The jitted step of a loop."""

    def loss(params, x, y):
        outputs = network.apply(params, x)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(outputs, y))

    def step(params, state, x, y):
        value, grads = jax.value_and_grad(loss)(params, x, y)
        updates, state = optax.adam(1e-3).update(grads, state, params)
        return optax.apply_updates(params, updates), state, value

    return jax.jit(step)


def main():
    """Print one line a setting and way."""
    for hidden, batch_size in ((32, 64), (128, 128)):
        network = Network(hidden)
        step = step_of(network)
        ways = {"ensemble": partial(ensemble, hidden, batch_size)} | {
            way: partial(loop, way, step, network, batch_size)
            for way in (ROWS_ON_HOST, ROWS_ON_DEVICE)
        }
        best = dict.fromkeys(ways, np.inf)
        for turn in range(1 + TURNS):  # the first one compiles
            for way, run in ways.items():
                start = time.process_time()
                members = run()
                seconds = (time.process_time() - start) / members / STEPS
                if turn:
                    best[way] = min(best[way], seconds)
        for way, seconds in best.items():
            print(
                f"hidden {hidden}, batch {batch_size}: {way} {1e6 * seconds:.1f} us, "
                f"{seconds / best['ensemble']:.1f} x the ensemble"
            )


if __name__ == "__main__":
    main()
