"""Numbers in, numbers out: NumPy and SciPy only, no torch, no xarray."""

from nbcorr.stats.association import Association, associate, associate_many
from nbcorr.stats.bootstrap import block_bootstrap
from nbcorr.stats.flips import SignFlips
from nbcorr.stats.live import Effects, RankedNeurons
from nbcorr.stats.multiple import fdr
from nbcorr.stats.nulls import BlockNull, NullPlan, Permutation
from nbcorr.stats.outcomes import mcnemar
from nbcorr.stats.partial import Partial, PartialDesign, partial_spearman
from nbcorr.stats.pearson import pearson
from nbcorr.stats.permutation import MaxT, max_t, max_t_plan
from nbcorr.stats.preview import Approximate, Histograms
from nbcorr.stats.ranks import midranks, tie_term
from nbcorr.stats.selectivity import Selectivity, selectivity_index
from nbcorr.stats.similarity import similar_groups
from nbcorr.stats.split import stratified_halves

__all__ = [
    "Approximate",
    "Association",
    "BlockNull",
    "Effects",
    "Histograms",
    "MaxT",
    "NullPlan",
    "Partial",
    "PartialDesign",
    "Permutation",
    "RankedNeurons",
    "Selectivity",
    "SignFlips",
    "associate",
    "associate_many",
    "block_bootstrap",
    "fdr",
    "max_t",
    "max_t_plan",
    "mcnemar",
    "midranks",
    "partial_spearman",
    "pearson",
    "selectivity_index",
    "similar_groups",
    "stratified_halves",
    "tie_term",
]
