"""The problem of `benchmarks.curvature`, and each tool's way to do its rows."""
