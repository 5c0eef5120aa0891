"""Tangent kernels of any function: exact at finite width, streamed, on disk."""

from jaxdl.ntk.empirical import (
    empirical_nngp,
    empirical_ntk,
    empirical_ntk_per_layer,
)

__all__ = [
    "empirical_nngp",
    "empirical_ntk",
    "empirical_ntk_per_layer",
]
