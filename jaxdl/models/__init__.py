"""Models as pairs of pure functions, a module each."""

from jaxdl.models import linear, mlp, polynomial, random_features

__all__ = ["linear", "mlp", "polynomial", "random_features"]
