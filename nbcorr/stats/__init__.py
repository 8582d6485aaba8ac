"""Numbers in, numbers out: NumPy and SciPy only, no torch, no xarray."""
