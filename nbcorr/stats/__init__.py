"""Numbers in, numbers out: NumPy and SciPy only, no torch, no xarray."""

from nbcorr.stats.association import Association, associate
from nbcorr.stats.multiple import fdr
from nbcorr.stats.outcomes import mcnemar
from nbcorr.stats.ranks import midranks, tie_term
from nbcorr.stats.selectivity import Selectivity, selectivity_index
from nbcorr.stats.split import stratified_halves

__all__ = [
    "Association",
    "Selectivity",
    "associate",
    "fdr",
    "mcnemar",
    "midranks",
    "selectivity_index",
    "stratified_halves",
    "tie_term",
]
