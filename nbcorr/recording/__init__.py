"""Samples through a model into labelled arrays, and the samples that drive a neuron most."""
