"""Tangent kernels: exact at finite width, at infinite width, and what they predict."""

from jaxdl.ntk import infinite
from jaxdl.ntk.alignment import (
    centered_kernel_alignment,
    kernel_target_alignment,
    relative_change,
)
from jaxdl.ntk.descent import gradient_descent_mse, max_learning_rate
from jaxdl.ntk.empirical import (
    empirical_nngp,
    empirical_ntk,
    empirical_ntk_per_layer,
)
from jaxdl.ntk.ensemble import Moments, ensemble_moments
from jaxdl.ntk.expansions import linearize, scaled_output, taylor_expand
from jaxdl.ntk.explain import Explanation, Service, explain
from jaxdl.ntk.flow import gradient_flow
from jaxdl.ntk.kernels import flatten_kernel
from jaxdl.ntk.low_rank import LowRankNTK, low_rank_ntk
from jaxdl.ntk.mse_flow import gradient_flow_mse
from jaxdl.ntk.operators import ntk_operator, ntk_vector_product
from jaxdl.ntk.posterior import gp_posterior
from jaxdl.ntk.spectra import (
    Projection,
    Spectrum,
    effective_rank,
    participation_ratio,
    project_target,
    spectrum,
)
from jaxdl.ntk.to_file import ntk_to_file

__all__ = [
    "Explanation",
    "LowRankNTK",
    "Moments",
    "Projection",
    "Service",
    "Spectrum",
    "centered_kernel_alignment",
    "effective_rank",
    "empirical_nngp",
    "empirical_ntk",
    "empirical_ntk_per_layer",
    "ensemble_moments",
    "explain",
    "flatten_kernel",
    "gp_posterior",
    "gradient_descent_mse",
    "gradient_flow",
    "gradient_flow_mse",
    "infinite",
    "kernel_target_alignment",
    "linearize",
    "low_rank_ntk",
    "max_learning_rate",
    "ntk_operator",
    "ntk_to_file",
    "ntk_vector_product",
    "participation_ratio",
    "project_target",
    "relative_change",
    "scaled_output",
    "spectrum",
    "taylor_expand",
]
