"""nbcorr: which neurons of your network know what the baseline does not.

The whole public surface is the verbs below; each is loaded on first use, so that importing
nbcorr costs nothing and pulls in neither torch nor IPython (SPEC 1, lazy loading of submodules).
"""

import lazy_loader as _lazy

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)


def load_ipython_extension(ipython: object) -> None:
    """Register ``%neurcorr`` and its completions (called by ``%load_ext nbcorr``)."""
    from nbcorr.notebook import extension

    extension.load(ipython)


def unload_ipython_extension(ipython: object) -> None:
    """Take ``%neurcorr`` and its completions away again (``%unload_ext nbcorr``)."""
    from nbcorr.notebook import extension

    extension.unload(ipython)
