"""The zoo: embedded models and labelled images, with their licences, to try nbcorr on.

Nothing is downloaded unless asked for: ``python -m nbcorr.zoo list`` shows what there is,
``python -m nbcorr.zoo fetch cifar10`` is the only thing that needs the network.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
