"""FDR, McNemar, selectivity and halves, each against a twin or the trusted library."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar
from statsmodels.stats.multitest import multipletests

from nbcorr.stats import fdr, mcnemar, selectivity_index, stratified_halves


@pytest.mark.parametrize(("method", "name"), [("bh", "fdr_bh"), ("by", "fdr_by")])
def test_fdr_equals_statsmodels_and_steps_over_nan(method, name):
    p = np.random.default_rng(0).random((4, 25)) ** 3
    p[1, 3:9] = np.nan
    tested = ~np.isnan(p)
    expected = multipletests(p[tested], method=name)[1]
    found = fdr(p, method)
    assert found.shape == p.shape
    np.testing.assert_allclose(found[tested], expected, rtol=1e-12)
    assert np.isnan(found[~tested]).all()


def test_fdr_of_nothing_and_of_nonsense():
    assert np.isnan(fdr(np.full(3, np.nan))).all()
    assert fdr(np.array([])).shape == (0,)
    with pytest.raises(ValueError, match="expected 'bh' or 'by'"):
        fdr(np.array([0.1]), "holm")
    with pytest.raises(ValueError, match="1 of 1 p-values lie outside"):
        fdr(np.array([1.5]))


@pytest.mark.parametrize(("a", "b"), [(0, 1), (5, 5), (17, 4), (120, 90), (0, 30)])
def test_mcnemar_equals_statsmodels(a, b):
    expected = reference_mcnemar([[50, a], [b, 9]], exact=True).pvalue
    assert mcnemar(a, b) == pytest.approx(expected, rel=1e-10)


def test_mcnemar_without_differences():
    assert mcnemar(0, 0) == 1
    with pytest.raises(ValueError, match="expected none below 0"):
        mcnemar(-1, 3)


def literal_selectivity(means):
    preferred = max(range(len(means)), key=lambda c: means[c])
    others = [mean for c, mean in enumerate(means) if c != preferred]
    average = sum(others) / len(others)
    return (means[preferred] - average) / (means[preferred] + average + 1e-7), preferred


def test_selectivity_equals_its_definition():
    means = np.maximum(np.random.default_rng(0).normal(size=(60, 7)), 0)
    found = selectivity_index(means)
    for i, row in enumerate(means.tolist()):
        index, preferred = literal_selectivity(row)
        assert found.selectivity[i] == pytest.approx(index, abs=1e-12)
        assert found.preferred_class[i] == preferred


def test_selectivity_at_its_ends():
    found = selectivity_index(np.array([[0, 3.0, 0], [2, 2, 2], [0, 0, 0], [1, np.nan, 0]]))
    assert found.selectivity[:2] == pytest.approx([1, 0], abs=1e-6)
    assert np.isnan(found.selectivity[2:]).all()
    assert found.preferred_class.tolist() == [1, 0, -1, -1]
    with pytest.raises(ValueError, match="1 of 2 neurons have a class mean below 0"):
        selectivity_index(np.array([[0.0, 1], [-1, 2]]))
    with pytest.raises(ValueError, match="2 classes or more"):
        selectivity_index(np.ones((3, 1)))


def test_halves_are_alike_and_seeded():
    rng = np.random.default_rng(3)
    strata = rng.integers(0, 8, 601)
    y = rng.random(601) < 0.1
    half = stratified_halves(y, strata, seed=5)
    assert np.array_equal(half, stratified_halves(y, strata, seed=5))
    assert not np.array_equal(half, stratified_halves(y, strata, seed=6))
    for code in range(8):
        for value in (False, True):
            cell = (strata == code) & (y == value)
            assert abs(half[cell].sum() - cell.sum() / 2) < 1
    assert abs(half[y].sum() - y.sum() / 2) < 1
    third = stratified_halves(y, strata, fraction=1 / 3)
    assert abs(third.sum() - 601 / 3) < 2


def test_single_samples_fall_into_either_half():
    y = np.array([1, 0, 0, 0, 0])
    fell = {bool(stratified_halves(y, seed=seed)[0]) for seed in range(20)}
    assert fell == {True, False}


def test_halves_of_a_real_signal_split_within_strata():
    strata = np.repeat(["a", "b"], 50)
    half = stratified_halves(np.random.default_rng(0).normal(size=100), strata)
    assert (half[:50].sum(), half[50:].sum()) == (25, 25)


@pytest.mark.parametrize("fraction", [0.5, 0.3])
@pytest.mark.parametrize("real", [False, True])
def test_pairs_stay_whole_and_fall_at_random(fraction, real):
    strata = np.r_[np.repeat(np.arange(400), 2), 400 + np.arange(300) % 3]
    y = np.r_[np.tile([0, 1], 400), np.arange(300) % 5 == 0]
    signal = y + np.random.default_rng(6).random(1100) if real else y
    halves = np.array([stratified_halves(signal, strata, fraction, seed) for seed in range(40)])
    pairs = halves[:, :800].reshape(40, 400, 2)
    assert np.array_equal(pairs[..., 0], pairs[..., 1])
    assert (abs(pairs[..., 0].sum(axis=1) - 400 * fraction) < 1).all()
    assert (abs(halves[:, 800:].sum(axis=1) - 300 * fraction) < 1 + (not real)).all()
    # No two neighbours share their fate, and every pair falls into either half.
    alike = np.mean(pairs[:, 1:, 0] == pairs[:, :-1, 0])
    assert alike == pytest.approx(fraction**2 + (1 - fraction) ** 2, abs=0.02)
    assert 0 < pairs[..., 0].mean(axis=0).min() < pairs[..., 0].mean(axis=0).max() < 1


def literal_deal(y, strata, groups, order, fraction, draws):
    """Each group in turn to the half that leaves the smaller sum of squared relative surpluses."""
    cells = [np.ones(len(y), bool)]
    cells += [y == value for value in np.unique(y)]
    cells += [strata == code for code in np.unique(strata)]
    cells += [a & b for a in cells[1:3] for b in cells[3:]]
    dealt, chosen = [], []
    for group in order:
        imbalance = {}
        for taken in (True, False):
            within = chosen + [group] * taken
            surplus = [
                np.isin(groups[c], within).sum()
                - fraction * np.isin(groups[c], [*dealt, group]).sum()
                for c in cells
            ]
            imbalance[taken] = sum(
                s**2 / c.sum() for s, c in zip(surplus, cells, strict=True) if c.any()
            )
        dealt.append(group)
        if imbalance[True] < imbalance[False] - 1e-9 or (
            abs(imbalance[True] - imbalance[False]) < 1e-9 and next(draws) < fraction
        ):
            chosen.append(group)
    return np.isin(groups, chosen)


@pytest.mark.parametrize("fraction", [0.5, 0.3])
def test_groups_are_dealt_as_the_literal_twin_deals_them(fraction):
    rng = np.random.default_rng(4)
    groups = rng.integers(0, 25, 400)
    strata, y = rng.integers(0, 3, 25)[groups], rng.random(400) < 0.2
    twin = np.random.default_rng(7)
    order = np.lexsort((twin.random(25), -np.bincount(groups)))
    draws = iter(twin.random(25))
    expected = literal_deal(y, strata, groups, order, fraction, draws)
    assert np.array_equal(stratified_halves(y, strata, fraction, 7, groups), expected)


@pytest.mark.parametrize("kind", ["binary", "real"])
def test_whole_groups_go_to_halves_that_are_alike(kind):
    rng = np.random.default_rng(5)
    groups = rng.integers(0, 300, 3000)
    strata = rng.integers(0, 6, 300)[groups]
    level = rng.random(300)[groups]
    y = rng.random(3000) < 0.3 * level if kind == "binary" else level + rng.normal(size=3000)
    half = stratified_halves(y, strata, seed=1, groups=groups)
    assert all(len(np.unique(half[groups == group])) == 1 for group in set(groups))
    assert abs(half.mean() - 0.5) < 0.01
    assert all(abs(half[strata == code].mean() - 0.5) < 0.03 for code in range(6))
    high = y if kind == "binary" else y > np.quantile(y, 0.75)
    assert abs(half[high].mean() - 0.5) < 0.03
    assert np.array_equal(half, stratified_halves(y, strata, seed=1, groups=groups))
    assert not np.array_equal(half, stratified_halves(y, strata, seed=2, groups=groups))


@pytest.mark.parametrize("fraction", [0.05, 0.5, 0.95])
def test_two_groups_are_enough(fraction):
    groups = np.repeat(["patient a", "patient b"], [3, 9])
    for seed in range(10):
        half = stratified_halves(np.arange(12) % 2, None, fraction, seed, groups)
        assert sorted({half[:3].mean(), half[3:].mean()}) == [0, 1]


def test_halves_name_what_does_not_fit():
    with pytest.raises(ValueError, match="all 2 samples are of one group"):
        stratified_halves(np.array([0, 1]), groups=["a", "a"])
    with pytest.raises(ValueError, match="the groups have 1 values"):
        stratified_halves(np.array([0, 1]), groups=["a"])
    with pytest.raises(ValueError, match="one value per sample"):
        stratified_halves(np.array([]))
    with pytest.raises(ValueError, match="expected a share between 0 and 1"):
        stratified_halves(np.array([0, 1]), fraction=1.5)
    with pytest.raises(ValueError, match="the strata have 1 values"):
        stratified_halves(np.array([0, 1]), np.array([1]))
