"""Images that a neuron responds to most, made by optimisation."""
