"""Feature visualisation, attribution and factorisation: what a neuron sees and contributes."""

import lazy_loader as _lazy

# So that ``nc.objectives`` is found before anything else of this room is loaded.
__getattr__, __dir__, __all__ = _lazy.attach(__name__, submodules=["objectives"])
