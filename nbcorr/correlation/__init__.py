"""Outcomes of the two systems, and the neurons that correlate with them."""
