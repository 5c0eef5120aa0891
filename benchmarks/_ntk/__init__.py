"""The tangent-kernel benchmark: networks, reference, and a module for each tool."""
