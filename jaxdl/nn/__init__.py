"""Layers of one example, activations and initializers."""

from jaxdl.nn.activations import (
    ACTIVATIONS,
    Activation,
    activation,
    identity,
    threshold,
)
from jaxdl.nn.dense import Dense, dense, dense_init
from jaxdl.nn.initializers import (
    Initializer,
    he_normal,
    he_uniform,
    lecun_normal,
    lecun_uniform,
    orthogonal,
    scaled_identity,
    variance_scaling,
    xavier_normal,
    xavier_uniform,
    zeros,
)

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "Dense",
    "Initializer",
    "activation",
    "dense",
    "dense_init",
    "he_normal",
    "he_uniform",
    "identity",
    "lecun_normal",
    "lecun_uniform",
    "orthogonal",
    "scaled_identity",
    "threshold",
    "variance_scaling",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
]
