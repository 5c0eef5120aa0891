"""Tangent kernels of any function, and the training dynamics they predict."""

from jaxdl.ntk import infinite
from jaxdl.ntk.descent import gradient_descent_mse, max_learning_rate
from jaxdl.ntk.empirical import (
    empirical_nngp,
    empirical_ntk,
    empirical_ntk_per_layer,
)
from jaxdl.ntk.ensemble import Moments, ensemble_moments
from jaxdl.ntk.flow import gradient_flow
from jaxdl.ntk.mse_flow import gradient_flow_mse
from jaxdl.ntk.posterior import gp_posterior
from jaxdl.ntk.to_file import ntk_to_file

__all__ = [
    "Moments",
    "empirical_nngp",
    "empirical_ntk",
    "empirical_ntk_per_layer",
    "ensemble_moments",
    "gp_posterior",
    "gradient_descent_mse",
    "gradient_flow",
    "gradient_flow_mse",
    "infinite",
    "max_learning_rate",
    "ntk_to_file",
]
