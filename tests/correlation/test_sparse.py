"""The sparse score against its parts written out: folds, training, penalty, judgement."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logit
from scipy.stats import rankdata
from sklearn.linear_model import Lasso, LogisticRegression
from sklearn.metrics import roc_auc_score

import nbcorr as nc
from nbcorr.correlation import sparse
from nbcorr.correlation.folds import assign_folds, control_task, plan_folds
from nbcorr.correlation.sparse import Fit, cross_validate, judge
from nbcorr.correlation.task import Task
from nbcorr.stats.association import associate
from tests.conftest import planted_recording


def literal_auc(score, y, cells) -> float:
    """Van Elteren's weighting by counting pairs within cells."""
    total = weight = 0.0
    for cell in set(cells.tolist()):
        here = cells == cell
        positive, negative = score[here & y], score[here & ~y]
        if len(positive) and len(negative):
            wins = (positive[:, None] > negative).sum() + 0.5 * (
                positive[:, None] == negative
            ).sum()
            total += wins / (here.sum() + 1)
            weight += len(positive) * len(negative) / (here.sum() + 1)
    return total / weight


def literal_training(x, y, strata):
    """Centred within strata and scaled, with each sample's weight: sample by sample."""
    x = x.astype(np.float64).copy()
    weight = np.empty(len(y))
    for stratum in set(strata.tolist()):
        here = strata == stratum
        x[here] -= x[here].mean(axis=0)
        for i in np.flatnonzero(here):
            weight[i] = (y[here] != y[i]).sum() / (here.sum() + 1)
    scale = x.std(axis=0)
    x /= scale
    x -= (weight[:, None] * x).sum(axis=0) / weight.sum()
    return x, weight, scale


def test_one_outer_fold_equals_scikit_learn_written_out():
    """Training, choice of the penalty and scores of the first fold, from their definitions."""
    recording = planted_recording(n=300, neurons=12, planted=2)
    x, y = recording.activation.values, recording.relative_performance.values.astype(bool)
    task = Task.of(y, recording.label.values)
    found = cross_validate(recording.activation, np.arange(12), task, 4, seed=5)

    folds = assign_folds(task, 4, 5)
    train, test = np.flatnonzero(folds != 0), np.flatnonzero(folds == 0)
    inner = assign_folds(task.among(train), 3, 6)

    def fitted(samples, share):
        z, weight, scale = literal_training(x[samples], y[samples], task.strata[samples])
        largest = np.abs(
            [0.5 * np.sum(weight * np.where(y[samples], 1, -1) * f) for f in z.T]
        ).max()
        model = LogisticRegression(
            C=1 / (share * largest),
            solver="liblinear",
            fit_intercept=False,
            tol=1e-3,
            random_state=0,
            **sparse._l1(),
        ).fit(z, y[samples], sample_weight=weight)
        return model.coef_[0], model.coef_[0] / scale

    reached = []
    for share in sparse.PENALTIES:
        score = np.empty(len(train))
        for k in range(3):
            score[inner == k] = x[train[inner == k]] @ fitted(train[inner != k], share)[1]
        reached.append(literal_auc(score, y[train], inner * 4 + task.strata[train]))
    stop = next((i for i in range(2, 7) if max(reached[i - 1 : i + 1]) <= max(reached[: i - 1])), 6)
    share = sparse.PENALTIES[int(np.argmax(reached[: stop + 1]))]
    assert found.penalties[0] == pytest.approx(share)
    coefficients, slopes = fitted(train, share)
    np.testing.assert_allclose(found.coefficients[0], coefficients, atol=1e-9)

    scores = np.empty(300)
    for k in range(4):
        samples = np.flatnonzero(folds != k)
        scores[folds == k] = x[folds == k] @ fitted(samples, found.penalties[k])[1]
    np.testing.assert_allclose(scores[test], x[test] @ slopes)
    expected = literal_auc(scores, y, folds * 4 + task.strata)
    assert float(found.judged.auc[0]) == pytest.approx(expected, abs=1e-12)


def test_without_strata_a_fold_is_judged_by_the_plain_auc():
    rng = np.random.default_rng(0)
    y, score = rng.random(90) < 0.4, rng.integers(0, 9, 90).astype(float)
    task = Task.of(y, None)
    one = judge(score[None], task, np.zeros(90, dtype=int))
    assert one.auc[0] == pytest.approx(roc_auc_score(y, score), abs=1e-12)


def test_the_interval_is_that_of_given_scores_with_twice_the_variance():
    """Of 200 signals that nothing tells (n = 200, 5 folds) the plain one misses .5 for 37."""
    rng = np.random.default_rng(0)
    y, folds = rng.random(90) < 0.4, np.arange(90) % 3
    score = y + rng.normal(size=90)
    found = judge(score[None], Task.of(y, None), folds)
    plain = associate(score[None], y, folds)
    for end in ("auc_low", "auc_high"):
        reach = logit(getattr(plain, end)) - logit(plain.auc)
        np.testing.assert_allclose(
            logit(getattr(found, end)) - logit(found.auc), np.sqrt(2) * reach, rtol=1e-9
        )


def test_a_continuous_signal_is_fitted_by_the_lasso_on_ranks():
    rng = np.random.default_rng(0)
    x, label = rng.normal(size=(400, 20)), rng.integers(0, 3, 400)
    margin = np.exp(2 * (x[:, 4] - x[:, 7]) + rng.normal(size=400)) + 50 * label
    recording = nc.from_arrays(x, layer="a", label=label, margin=margin)
    result = nc.probe(recording, "margin", controls=(), progress=False)
    assert result.attrs["statistic"] == "CMA"
    assert "n_positive" not in result.attrs
    assert result["auc_low"] > 0.75
    assert (result["selected"][[4, 7]] == 1).all()

    task = Task.of(margin, label)
    fit = Fit(recording.activation.values, task, np.arange(400), np.arange(20))
    z, ranks = recording.activation.values.astype(np.float64), rankdata(margin)
    for stratum in range(3):
        here = label == stratum
        z[here] -= z[here].mean(axis=0)
        ranks[here] -= ranks[here].mean()
    z /= z.std(axis=0)
    twin = Lasso(0.3 * np.abs(z.T @ ranks).max() / 400, fit_intercept=False).fit(z, ranks)
    np.testing.assert_allclose(fit.weights(0.3), twin.coef_, rtol=1e-6, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(20, 90),
    strata=st.integers(1, 5),
    n_folds=st.integers(2, 6),
    seed=st.integers(0, 99),
)
def test_folds_share_out_every_kind(n, strata, n_folds, seed):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3 == 0
    task = Task.of(y, rng.integers(0, strata, n) if strata > 1 else None)
    folds = assign_folds(task, n_folds, seed)
    np.testing.assert_array_equal(folds, assign_folds(task, n_folds, seed))
    for kind in (y, ~y):
        sizes = np.bincount(folds[kind], minlength=n_folds)
        assert sizes.max() - sizes.min() <= 2


def test_the_control_task_permutes_within_strata():
    task = Task.of(np.arange(60) % 4 == 0, np.arange(60) % 3)
    drawn = task.permuted(1)
    assert (drawn.signal != task.signal).any()
    for stratum in range(3):
        here = task.strata == stratum
        assert sorted(drawn.signal[here]) == sorted(task.signal[here])
    np.testing.assert_array_equal(task.permuted(1).signal, drawn.signal)


def runs_of(signal, groups):
    return [tuple(signal[groups == g].tolist()) for g in np.unique(groups)]


@pytest.mark.parametrize("sizes", [[6] * 30, list(range(1, 31))])
def test_a_signal_that_is_constant_within_groups_stays_so(sizes):
    """Whole groups change values, within strata, however unequal they are."""
    groups = np.repeat(np.arange(30), sizes)
    strata = groups % 2
    task = Task.of(groups % 3 == 0, strata, groups)
    drawn = task.permuted(1)
    assert (drawn.signal != task.signal).any()
    per_group = [set(run) for run in runs_of(drawn.signal, groups)]
    assert all(len(kinds) == 1 for kinds in per_group)
    for stratum in range(2):
        own = range(stratum, 30, 2)
        assert sum(per_group[g] == {1} for g in own) == sum(g % 3 == 0 for g in own)
    np.testing.assert_array_equal(task.permuted(1).signal, drawn.signal)


def test_groups_of_one_size_hand_on_their_signal_in_its_order():
    groups = np.repeat(np.arange(12), 5)
    signal = np.arange(60.0)
    drawn = Task.of(signal, None, groups).permuted(0).signal
    assert sorted(drawn) == sorted(signal)
    owners = drawn.reshape(12, 5) // 5
    assert (owners == owners[:, :1]).all()
    # One after the other from some place on, the first again after the last.
    assert (np.diff(drawn.reshape(12, 5), axis=1) % 5 == 1).all()


def test_every_group_may_get_every_signal():
    groups = np.repeat(np.arange(3), 4)
    task = Task.of(np.repeat([0.0, 1.0, 2.0], 4), None, groups)
    rng = np.random.default_rng(0)
    drawn = np.array([task.permuted(rng).signal[::4] for _ in range(600)])
    orders, counts = np.unique(drawn, axis=0, return_counts=True)
    assert len(orders) == 6
    assert abs(counts - 100).max() < 4.5 * np.sqrt(600 * 5 / 36)


def test_a_group_alone_in_its_stratum_changes_the_places_of_its_values():
    """Matched pairs: each is turned over or not, by chance."""
    pair, signal = np.arange(400) // 2, np.arange(400) % 2
    drawn = Task.of(signal, pair, pair).permuted(0).signal
    np.testing.assert_array_equal(np.bincount(pair, drawn), np.ones(200))
    assert abs(int((drawn != signal).sum()) / 2 - 100) < 4.5 * np.sqrt(50)


def test_a_control_task_that_no_fold_can_judge_is_drawn_again(monkeypatch):
    # One large group holds most positives: a smaller one that takes them over loses them.
    groups = np.repeat(np.arange(8), [2, 2, 2, 2, 2, 2, 30, 30])
    signal = np.zeros(72)
    signal[[0, 2, 4]] = 1
    signal[12:72:15] = 1
    task = Task.of(signal, None, groups)
    drawn = control_task(task, 2, 0)
    plan_folds(drawn, 2, 0)
    monkeypatch.setattr(Task, "permuted", lambda self, rng: replace(self, signal=0 * signal))
    with pytest.raises(ValueError, match="of 20 permutations none fits the folds"):
        control_task(task, 2, 0)


def test_screening_takes_the_strongest_of_each_training_set(monkeypatch):
    monkeypatch.setattr(sparse, "MOST_FEATURES", 5)
    monkeypatch.setattr(sparse, "SCREENED", 3)
    monkeypatch.setattr("nbcorr.recording.blocks._VALUES_PER_BLOCK", 600 * 7)
    recording = planted_recording(neurons=30)
    y, label = recording.relative_performance.values.astype(bool), recording.label.values
    alive = np.arange(1, 30)
    training = [np.arange(0, 400), np.arange(200, 600)]
    got = sparse._columns(recording.activation, alive, Task.of(y, label), training)
    for samples, columns in zip(training, got, strict=True):
        x = recording.activation.values[samples].T
        distance = np.abs(associate(x, y[samples], label[samples]).auc - 0.5)
        distance[0] = -1
        assert columns.tolist() == sorted(np.argsort(-distance)[:3].tolist())
