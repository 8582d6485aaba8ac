"""Numbers in, numbers out: NumPy and SciPy only, no torch, no xarray."""

from nbcorr.stats.association import Association, associate
from nbcorr.stats.live import Effects, RankedNeurons
from nbcorr.stats.multiple import fdr
from nbcorr.stats.outcomes import mcnemar
from nbcorr.stats.partial import Partial, partial_spearman
from nbcorr.stats.permutation import Permutation, max_t
from nbcorr.stats.ranks import midranks, tie_term
from nbcorr.stats.selectivity import Selectivity, selectivity_index
from nbcorr.stats.split import stratified_halves

__all__ = [
    "Association",
    "Effects",
    "Partial",
    "Permutation",
    "RankedNeurons",
    "Selectivity",
    "associate",
    "fdr",
    "max_t",
    "mcnemar",
    "midranks",
    "partial_spearman",
    "selectivity_index",
    "stratified_halves",
    "tie_term",
]
