"""Tangent kernels: what a wide network learns, and when."""

from jaxdl.ntk.descent import gradient_descent_mse, max_learning_rate
from jaxdl.ntk.ensemble import Moments, ensemble_moments
from jaxdl.ntk.flow import gradient_flow
from jaxdl.ntk.mse_flow import gradient_flow_mse
from jaxdl.ntk.posterior import gp_posterior

__all__ = [
    "Moments",
    "ensemble_moments",
    "gp_posterior",
    "gradient_descent_mse",
    "gradient_flow",
    "gradient_flow_mse",
    "max_learning_rate",
]
