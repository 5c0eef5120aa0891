"""Time of an optimizer's step, jaxdl against optax, in one process and in turns.

A step is ``update`` and ``apply_updates``, compiled, with its state donated, on a
network of a million parameters and on a tree of 500 leaves of 20. Also timed is the
same step without ``jit``. Ratios are medians over rounds of paired ratios; each round
starts with another of the two. For one core:
``taskset -c 0 python -m benchmarks.optimizers``.
"""

import argparse
import itertools
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl import optim, tree
from jaxdl.progress import bar

OPTIMIZERS = {
    "sgd": (optim.sgd(0.1), optax.sgd(0.1)),
    "momentum": (optim.momentum(0.1, 0.9), optax.sgd(0.1, 0.9)),
    "adam": (optim.adam(1e-3), optax.adam(1e-3)),
    "adamw": (optim.adamw(1e-3), optax.adamw(1e-3)),
    "clip, adamw": (
        optim.chain(optim.clip_by_global_norm(1.0), optim.adamw(1e-3)),
        optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3)),
    ),
}


def problems():
    """Parameters by name, float32."""
    rng = np.random.default_rng(0)
    sizes = (784, 900, 300, 100, 10)
    pairs = itertools.pairwise(sizes)

    def draw(*shape):
        return jnp.asarray(rng.normal(size=shape).astype(np.float32))

    return {
        "network": [{"w": draw(a, b), "b": draw(b)} for a, b in pairs],
        "500 leaves": [draw(20) for _ in range(500)],
    }


def step(optimizer, apply_updates, params, state, grads):
    """One update, and the parameters after it."""
    updates, state = optimizer.update(grads, state, params)
    return apply_updates(params, updates), state


class Side:
    """One of the two, with what it has to go on from."""

    def __init__(self, optimizer, apply_updates, params, grads, compiled):
        """Start from a copy: buffers are donated."""
        self.step = partial(step, optimizer, apply_updates)
        if compiled:
            self.step = jax.jit(self.step, donate_argnums=(0, 1))
        self.params = jax.tree.map(jnp.copy, params)
        self.state = optimizer.init(self.params)
        self.grads = grads

    def seconds(self, calls):
        """Of the processor, for one step."""
        begin = time.process_time()
        for _ in range(calls):
            self.params, self.state = self.step(self.params, self.state, self.grads)
        jax.block_until_ready((self.params, self.state))
        return (time.process_time() - begin) / calls


def compare(sides, calls, rounds):
    """Seconds ``(rounds, 2)`` of both, in turns."""
    found = np.zeros((rounds, 2))
    for number in range(-1, rounds):  # one round to compile and warm up
        for which in (0, 1) if number % 2 else (1, 0):
            taken = sides[which].seconds(calls)
            if number >= 0:
                found[number, which] = taken
    return found


def main():
    """Print a line for each problem, optimizer and way."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.optimizers",
        description=(__doc__ or "").split("\n\n")[0],
    )
    parser.add_argument(
        "--rounds", type=int, default=15, help="how often to time each (default: 15)"
    )
    rounds = parser.parse_args().rounds
    if rounds < 1:
        parser.error(f"argument --rounds: must be positive, got {rounds}")
    device = jax.devices()[0]
    print(
        f"float32 on {device.device_kind}, JAX {jax.__version__}, optax "
        f"{optax.__version__}, {rounds} rounds; processor time of jaxdl over optax\n"
    )
    print("| problem | optimizer | way | jaxdl us | optax us | ratio |")
    print("|---|---|---|---:|---:|---:|")
    made = problems()
    with bar(2 * len(made) * len(OPTIMIZERS), "optimizers") as drawn:
        for problem, params in made.items():
            grads = tree.scale(1e-3, params)
            for name, pair in OPTIMIZERS.items():
                for way, compiled in (("compiled", True), ("eager", False)):
                    appliers = optim.apply_updates, optax.apply_updates
                    sides = [
                        Side(optimizer, apply, params, grads, compiled)
                        for optimizer, apply in zip(pair, appliers, strict=True)
                    ]
                    found = compare(sides, 20 if compiled else 2, rounds)
                    ours, theirs = 1e6 * np.median(found, axis=0)
                    ratio = np.median(found[:, 0] / found[:, 1])
                    print(
                        f"| {problem} | {name} | {way} | {ours:.0f} | {theirs:.0f} "
                        f"| {ratio:.2f} |",
                        flush=True,
                    )
                    drawn.update(1)


if __name__ == "__main__":
    main()
