"""Networks of infinite width: their covariance (NNGP) and tangent kernel (NTK).

Each factory here makes a `Layer` ``(init, apply, kernel)``: a network of finite width,
and the kernels it has on average as its widths grow, in closed form. Put layers
together with `serial`; images are ``(height, width, channels)``.

Kernels are computed in the dtype of the inputs. Where an activation has a kink, as
`relu`, the tangent kernel of two examples that nearly coincide depends on the angle
between them, which is known to the square root of the rounding error: about 3e-4 in
float32 and 1e-8 in float64. It is exact for an example with itself in the kernel of
one batch, not where it is in both of two batches. A float32 kernel of many examples
has negative eigenvalues of the size of rounding errors; use float64 before a solve.

Attention is left out: softmax attention has no closed form that is known to us. For
it, and for any other network, there is `monte_carlo_kernel`.
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
