"""Class selectivity of neurons."""
