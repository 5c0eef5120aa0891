"""matfree, on products by ``linearize``."""

# pyright: reportMissingImports=false

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from matfree import decomp, eig, stochtrace

from benchmarks._curvature import with_jax
from benchmarks._curvature.with_jax_linearize import prepare

__all__ = ["PACKAGES", "ROWS", "ladders", "prepare"]

PACKAGES = ("matfree", "jax", "jaxlib", "numpy")


def ladders(row, facts):
    """Steps of Lanczos, or probes; XTrace takes two products a probe."""
    ways = with_jax.ladders(row, facts)
    if row == "eigenpairs":
        return {"Lanczos": [{"steps": m} for m in with_jax.lanczos_steps()]}
    if row == "trace":
        ways["XTrace"] = [{"xtrace": n} for n in with_jax.sketch_sizes()]
    return ways


def _eigenpairs(prepared, setting):
    product, params, _, _ = prepared
    key = jax.random.key(setting["seed"])

    def work():
        return jax.block_until_ready(_top(product, params, key, setting["steps"]))

    def collect(found):
        order = np.argsort(-np.asarray(found[0]))[:5]
        return {"values": found[0][order], "vectors": np.asarray(found[1])[order]}

    return work, collect


def _trace(prepared, setting):
    product, params, _, _ = prepared
    key = jax.random.key(setting["seed"])

    def work():
        if "xtrace" in setting:
            found = _xtrace(product, params, key, setting["xtrace"])
        else:
            found = _hutchinson(product, params, key, setting["probes"])
        return jax.block_until_ready(found)

    return work, lambda found: {"trace": np.asarray(found)}


def _density(prepared, setting):
    product, params, _, _ = prepared
    key = jax.random.key(setting["seed"])

    def work():
        return jax.block_until_ready(
            _quadrature(product, params, key, setting["steps"])
        )

    return work, lambda found: {"nodes": found[0], "weights": found[1]}


ROWS = {"eigenpairs": _eigenpairs, "trace": _trace, "density": _density}


def _flat(params):
    flat_params, unravel = ravel_pytree(params)

    def multiply(v, product):
        return ravel_pytree(product(unravel(v)))[0]

    return flat_params, multiply


@partial(jax.jit, static_argnums=3)
def _top(product, params, key, steps):
    flat_params, multiply = _flat(params)
    start = jax.random.normal(key, flat_params.shape)
    # Without custom_vjp, which would trace the product in a way that costs time.
    tridiagonal = decomp.tridiag_sym(steps, custom_vjp=False)
    values, vectors = eig.eigh_partial(tridiagonal)(multiply, start, product)
    return values, vectors


@partial(jax.jit, static_argnums=3)
def _quadrature(product, params, key, steps):
    flat_params, multiply = _flat(params)
    start = jax.random.normal(key, flat_params.shape)
    tridiagonal = decomp.tridiag_sym(steps, custom_vjp=False)
    values, rotation = jnp.linalg.eigh(tridiagonal(multiply, start, product).J_small)
    return values, jnp.square(rotation[0])


@partial(jax.jit, static_argnums=3)
def _hutchinson(product, params, key, probes):
    flat_params, multiply = _flat(params)
    # A few probes at a time, as its documentation does for large operators.
    chunk = 10
    sampler = stochtrace.sampler_signs(flat_params, num=chunk)
    estimate = stochtrace.estimator_monte_carlo(stochtrace.monte_carlo_trace(), sampler)
    keys = jax.random.split(key, -(-probes // chunk))
    return jnp.mean(jax.lax.map(lambda key: estimate(multiply, key, product), keys))


@partial(jax.jit, static_argnums=3)
def _xtrace(product, params, key, probes):
    flat_params, multiply = _flat(params)
    sampler = stochtrace.sampler_normal(flat_params, num=probes)
    integrand = stochtrace.leave_one_out_xtrace()
    estimate = stochtrace.estimator_leave_one_out(integrand, sampler)
    return estimate(multiply, key, product)
