"""Networks of infinite width: their covariance (NNGP) and tangent kernel (NTK).

Each name here makes a `Layer` ``(init, apply, kernel)``: a network of finite width,
and the kernels it has on average as its widths grow, in closed form.
"""

from jaxdl.ntk.infinite.activations import (
    absolute,
    erf,
    gelu,
    leaky_relu,
    rbf,
    relu,
    sine,
)
from jaxdl.ntk.infinite.blocks import diagonal, in_blocks
from jaxdl.ntk.infinite.combinators import (
    fan_in_sum,
    fan_out,
    identity,
    parallel,
    serial,
)
from jaxdl.ntk.infinite.convolution import conv
from jaxdl.ntk.infinite.dense import Affine, dense
from jaxdl.ntk.infinite.kernels import Kernels, inputs
from jaxdl.ntk.infinite.layer import Layer
from jaxdl.ntk.infinite.monte_carlo import MonteCarloKernels, monte_carlo_kernel
from jaxdl.ntk.infinite.normalization import dropout, layer_norm
from jaxdl.ntk.infinite.pooling import avg_pool, flatten, global_avg_pool

__all__ = [
    "Affine",
    "Kernels",
    "Layer",
    "MonteCarloKernels",
    "absolute",
    "avg_pool",
    "conv",
    "dense",
    "diagonal",
    "dropout",
    "erf",
    "fan_in_sum",
    "fan_out",
    "flatten",
    "gelu",
    "global_avg_pool",
    "identity",
    "in_blocks",
    "inputs",
    "layer_norm",
    "leaky_relu",
    "monte_carlo_kernel",
    "parallel",
    "rbf",
    "relu",
    "serial",
    "sine",
]
