"""Matching two networks with layers 784-512-512-512-10: jaxdl against plain NumPy.

The plain program is coordinate descent as published by Ainsworth et al. (2023): from
the identity, layers in random order until none improves, assignment by SciPy. A start
of jaxdl is one of those of ``match_weights``; both take float32 and end where no layer
can improve. The networks are two that learned digits enlarged to 28 x 28 from different
seeds; and one of them against a copy with planted permutations and noise. Times are of
the processor, a start, medians over rounds in turns. For one
core: ``taskset -c 0 python -m benchmarks.matching``.
"""

import argparse
import itertools
import time

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from scipy.optimize import linear_sum_assignment

from jaxdl import data, losses, optim, train, tree
from jaxdl.landscape import act, match_weights, mlp_symmetry, random_element
from jaxdl.models import mlp
from jaxdl.progress import bar

SIZES = (784, 512, 512, 512, 10)


def plain(params_a, params_b, rng):
    """Coordinate descent in NumPy and SciPy; permutations and their objective."""
    a = [(np.asarray(layer.kernel), np.asarray(layer.bias)) for layer in params_a]
    b = [(np.asarray(layer.kernel), np.asarray(layer.bias)) for layer in params_b]
    orders = [np.arange(len(bias)) for _, bias in b]  # the last stays as it is
    inputs = np.arange(len(b[0][0]))
    improved = True
    while improved:
        improved = False
        for layer in rng.permutation(len(a) - 1):
            before = inputs if layer == 0 else orders[layer - 1]
            into = a[layer][0].T @ b[layer][0][before]
            out = a[layer + 1][0] @ b[layer + 1][0][:, orders[layer + 1]].T
            scores = into + out + np.outer(a[layer][1], b[layer][1])
            rows, order = linear_sum_assignment(scores, maximize=True)
            old = scores[rows, orders[layer]].sum()
            improved |= bool(scores[rows, order].sum() > old + 1e-6 * abs(old))
            orders[layer] = order
    value = 0.0
    for layer, (kernel, bias) in enumerate(b):
        before = inputs if layer == 0 else orders[layer - 1]
        value += np.vdot(a[layer][0], kernel[before][:, orders[layer]])
        value += np.vdot(a[layer][1], bias[orders[layer]])
    return value


def networks(sizes, steps):
    """Two networks that learned the same digits from different seeds."""
    table = data.digits()
    x = np.kron(table.x.reshape(-1, 8, 8), np.ones((1, 3, 3)))
    x = np.pad(x, ((0, 0), (2, 2), (2, 2))).reshape(-1, 784).astype(np.float32)
    batch = jnp.asarray(x), jnp.asarray(table.y.astype(np.int32))
    supervised = train.supervised(mlp.apply, losses.cross_entropy)
    return [
        train.fit(
            jax.random.key(seed),
            supervised,
            mlp.init(jax.random.key(seed), sizes),
            optim.adam(1e-3),
            batch,
            steps=steps,
            batch_size=100,
        ).params
        for seed in (1, 2)
    ]


def problems(sizes, steps):
    """Pairs of networks by name."""
    first, second = networks(sizes, steps)
    # Of a ReLU network, without its scales: as the plain program.
    symmetry = mlp_symmetry(first, "gelu")
    noise = tree.random_like(jax.random.key(3), first)
    noisy = jax.tree.map(lambda w, e: w + jnp.std(w) * e, first, noise)
    planted = act(symmetry, random_element(jax.random.key(4), symmetry), noisy)
    return symmetry, {"two seeds": (first, second), "planted": (first, planted)}


def compare(symmetry, pair, rounds):
    """Seconds a start ``(rounds, 2)``, jaxdl's matching, objectives of the other."""
    params_a, params_b = pair
    seconds, theirs = np.zeros((rounds, 2)), []
    found = match_weights(symmetry, params_a, params_b)
    for number in range(rounds):
        for which in (0, 1) if number % 2 else (1, 0):
            begin = time.process_time()
            if which == 0:
                found = match_weights(symmetry, params_a, params_b)
            else:
                theirs.append(plain(params_a, params_b, np.random.default_rng(number)))
            starts = len(found.starts) if which == 0 else 1
            seconds[number, which] = (time.process_time() - begin) / starts
    return seconds, found, theirs


def main():
    """Print a line for each pair of networks."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.matching",
        description=(__doc__ or "").split("\n\n")[0],
    )
    parser.add_argument("--rounds", type=int, default=5, help="(default: 5)")
    parser.add_argument("--steps", type=int, default=300, help="updates (default: 300)")
    parser.add_argument("--width", type=int, default=512, help="(default: 512)")
    arguments = parser.parse_args()
    for name in ("rounds", "steps", "width"):
        if getattr(arguments, name) < 1:
            parser.error(f"argument --{name}: must be positive")
    sizes = (784, *[arguments.width] * 3, 10)
    print(
        f"{'-'.join(map(str, sizes))}, float32 on the host, NumPy {np.__version__}, "
        f"SciPy {scipy.__version__}, {arguments.rounds} rounds\n"
    )
    print(
        "| networks | jaxdl ms a start | plain ms a start | ratio | jaxdl, default "
        "starts | plain, median | plain, best |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|")
    symmetry, pairs = problems(sizes, arguments.steps)
    details = []
    with bar(len(pairs), "matching") as drawn:
        for name, pair in pairs.items():
            seconds, found, theirs = compare(symmetry, pair, arguments.rounds)
            ours, plains = 1e3 * np.median(seconds, axis=0)
            ratio = np.median(seconds[:, 0] / seconds[:, 1])
            print(
                f"| {name} | {ours:.0f} | {plains:.0f} | {ratio:.2f} | "
                f"{found.objective:.2f} | {np.median(theirs):.2f} | {max(theirs):.2f} |"
            )
            starts = (
                f"{start.name} {start.objective:.2f} in {start.sweeps}"
                for start in found.starts
            )
            details.append(f"{name}: {', '.join(starts)} sweeps")
            drawn.update(1)
    print("\n" + "\n".join(itertools.chain(["Each start:"], details)))


if __name__ == "__main__":
    main()
