"""Words for neurons from the samples' own labels, by pointwise mutual information."""

from __future__ import annotations

import numpy as np


def vocabulary_scores(
    exemplar_words: np.ndarray, word_counts: np.ndarray, smoothing: float = 1.0
) -> np.ndarray:
    """Pointwise mutual information of each word with each neuron's exemplars.

    ``pmi(d; E) = log p(d | E) - log p(d)`` (MILAN: Hernandez et al. 2022, section 3, with the
    words the samples carry in the place of a captioner). ``p(d | E)`` is smoothed towards
    ``p(d)`` by ``smoothing`` pseudo-exemplars, so that a word that few samples carry does not win
    by one hit.

    Parameters
    ----------
    exemplar_words : array of int, shape (n_neurons, k)
        Which word, as an index, each exemplar carries.
    word_counts : array of int, shape (n_words,)
        How many samples of the whole data carry each word.

    Returns
    -------
    array of float64, shape (n_neurons, n_words), in nats
    """
    n_neurons, k = exemplar_words.shape
    prior = word_counts / word_counts.sum()
    hits = np.zeros((n_neurons, len(word_counts)))
    np.add.at(hits, (np.arange(n_neurons)[:, None], exemplar_words), 1)
    given_exemplars = (hits + smoothing * prior) / (k + smoothing)
    return np.log(given_exemplars) - np.log(prior)
