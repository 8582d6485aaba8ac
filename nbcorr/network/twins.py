"""The untrained twin: the same architecture before it has learnt anything."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

from nbcorr.network.batches import Batch
from nbcorr.network.hooks import device_and_dtype
from nbcorr.network.wrappers import eager, is_wrapper, unwrapped


def untrained_twin(model: nn.Module, seed: int = 0) -> nn.Module:
    """A copy of the model with all its weights drawn anew.

    Modules are re-initialised by their own ``reset_parameters``; parameters that stand in modules
    without one (class tokens, position embeddings) are drawn from a normal distribution with the
    mean and standard deviation of the trained values.

    Parameters
    ----------
    model : torch.nn.Module
        Not changed, nor is torch's global random state. Of a compiled or ``DataParallel`` model
        the twin is plain.
    seed : int

    Raises
    ------
    ValueError
        If the model cannot be copied.
    TypeError
        If the model is none that can be hooked.

    Notes
    -----
    The control of Adebayo et al. 2018 (sanity checks for saliency maps, model parameter
    randomisation), used here for correlates: what an untrained copy tells as well was not learnt.
    """
    model = unwrapped(model)
    device, _ = device_and_dtype(model)
    # Drawn on the CPU, so that the same seed gives the same twin on every device.
    try:
        twin = copy.deepcopy(model).cpu()
    except Exception as error:
        raise ValueError(
            f"no untrained twin can be made of {type(model).__name__}, it cannot be copied "
            f"({error}); twins=0 records without"
        ) from error
    for module in twin.modules():
        # Hooks of the user, or of units switched off, belong to the model and not to its twin.
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()
        # A forward compiled by hand was not copied: it still runs the model's own.
        by_hand = hasattr(vars(module).get("forward"), "_torchdynamo_orig_callable")
        if by_hand and not is_wrapper(module):
            del module.forward
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(_spread_seed(seed))
        for module in twin.modules():
            # It would hand on the reset, and what it holds would be drawn twice.
            if is_wrapper(module):
                continue
            reset = getattr(module, "reset_parameters", None) or getattr(
                module, "_reset_parameters", None
            )
            if callable(reset):
                reset()
                continue
            for parameter in module.parameters(recurse=False):
                _redraw(parameter)
    return twin.to(device).eval()


def _spread_seed(seed: int) -> int:
    """A seed of torch's that nobody trains with: under a plain 0 the twin of a network that was
    built under ``manual_seed(0)`` would be its own initial state, not an independent draw.
    """
    return int(np.random.SeedSequence([seed, 0x7717]).generate_state(1, np.uint64)[0] >> 1)


def calibrate_normalization(model: nn.Module, batch: Batch) -> None:
    """Give the batch normalisations of an untrained copy the statistics of one batch.

    Without it they would normalise nothing, and the control would be a weaker network than an
    untrained one is.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms or len(batch) < 2:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    try:
        with torch.no_grad(), eager():
            batch.run(model)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.eval()
            norm.momentum = momentum


def _redraw(parameter: nn.Parameter) -> None:
    if not parameter.is_floating_point() or parameter.numel() == 0:
        return
    spread = parameter.std(unbiased=False)
    parameter.copy_(torch.randn_like(parameter) * spread + parameter.mean())
