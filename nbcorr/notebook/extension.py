"""``%load_ext nbcorr`` and ``%unload_ext nbcorr``: the magic and its completions, come and gone."""

from __future__ import annotations

from typing import Any

from nbcorr.notebook.magics import NeurcorrMagics

_MAGIC = "neurcorr"


def load(ip: Any) -> None:
    """Register ``%neurcorr`` and its completions in a shell."""
    unload(ip)
    magics = NeurcorrMagics(ip)
    ip.register_magics(magics)
    ip.Completer.custom_matchers.append(magics.matcher)


def unload(ip: Any) -> None:
    """Take them away again; the shell forgets what was attached, variables stay."""
    magics = ip.magics_manager.registry.pop(NeurcorrMagics.__name__, None)
    if magics is None:
        return
    ip.magics_manager.magics["line"].pop(_MAGIC, None)
    matchers = ip.Completer.custom_matchers
    if magics.matcher in matchers:
        matchers.remove(magics.matcher)
