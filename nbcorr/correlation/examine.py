"""Every statistic of a block of neurons, read once: what runs for each, here or on a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nbcorr.correlation.question import Question
from nbcorr.stats.association import Association, associate, associate_many
from nbcorr.stats.bootstrap import block_bootstrap
from nbcorr.stats.nulls import BlockNull, NullPlan
from nbcorr.stats.partial import PartialDesign
from nbcorr.stats.pearson import pearson
from nbcorr.stats.permutation import max_t_plan

# With groups p is counted over permutations: so many, unless more were asked for.
GROUP_PERMUTATIONS = 9_999

_KEPT = (
    "auc",
    "auc_low",
    "auc_high",
    "rank_biserial",
    "rho",
    "rho_max",
    "p",
    "p_unstratified",
    "zeros",
    "dead",
)


class Examined(NamedTuple):
    """What a block of neurons answered to one question.

    Attributes
    ----------
    columns : dict of arrays, shape (n_neurons,)
    null : BlockNull or None
        Of the permutations, for family-wise p-values over all blocks.
    counts : dict of int
        ``n``, ``n_informative`` and, for a binary signal, those that are positive.
    """

    columns: dict[str, np.ndarray]
    null: BlockNull | None
    counts: dict[str, int]


@dataclass(frozen=True)
class RankTest:
    """A rank test that knows whether samples hang together.

    With groups the p-value is counted over draws of whole groups, permuted or their signs flipped
    (``permutations.method`` says which); without it is the asymptotic one of `associate`.
    """

    question: Question
    permutations: NullPlan | None

    def associate(self, block: np.ndarray) -> tuple[Association, np.ndarray]:
        """The association and its p-value."""
        association = associations(block, [self.question])[0]
        return association, self.p_of(association, self.null(block))

    def null(self, block: np.ndarray) -> BlockNull | None:
        """What the permutations give, where there are any."""
        return None if self.permutations is None else self.permutations.block(block)

    def p_of(self, association: Association, null: BlockNull | None) -> np.ndarray:
        """Counted where samples hang together, asymptotic where they do not."""
        if self.permutations is None or null is None or self.question.groups is None:
            return association.p
        return self.permutations.finish([null]).p


def make_test(question: Question, permutations: int, seed: int) -> RankTest:
    """The test of a question; ``permutations`` more than 0 for a family-wise p as well."""
    count = permutations
    if question.groups is not None:
        count = max(permutations, GROUP_PERMUTATIONS)
    plan = None
    if count:
        plan = max_t_plan(
            question.signal, question.strata, question.groups, n_permutations=count, seed=seed
        )
    return RankTest(question, plan)


@dataclass(frozen=True)
class Half:
    """A question among half of the samples.

    With covariates the p-value is that of what they leave.
    """

    samples: np.ndarray
    test: RankTest
    partial: PartialDesign | None

    def associate(self, block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The AUC and the p-value."""
        part = block[:, self.samples]
        association, p = self.test.associate(part)
        return association.auc, p if self.partial is None else self.partial.correlate(part).p


@dataclass(frozen=True)
class Examination:
    """All that is asked of a block by one question.

    Attributes
    ----------
    test : RankTest
    plain : RankTest or None
        Of all samples together; None where it is undecided.
    halves : pair of Half, or ()
        Selection and held-out half of the samples.
    partial : PartialDesign or None
    linear : bool
        Whether Pearson's r is asked for.
    """

    test: RankTest
    plain: RankTest | None
    halves: tuple[Half, ...]
    partial: PartialDesign | None
    linear: bool
    seed: int

    def of(self, block: np.ndarray, association: Association) -> Examined:
        """Examine neurons, shape (n_neurons, n_samples), of which the association is known."""
        null = self.test.null(block)
        p = self.test.p_of(association, null)
        columns = {name: getattr(association, name) for name in _KEPT} | {"p": p}
        question = self.test.question
        if question.groups is not None:
            columns["auc_low"], columns["auc_high"] = block_bootstrap(
                block, question.signal, question.strata, question.groups, seed=self.seed
            )
            columns["p_unstratified"] = np.full(len(block), np.nan)
            if self.plain is not None:
                columns["p_unstratified"] = (
                    p if self.plain is self.test else self.plain.associate(block)[1]
                )
        if self.linear:
            columns["pearson"] = pearson(block, question.signal)
        if self.partial is not None:
            partial = self.partial.correlate(block)
            columns |= {"rho_partial": partial.rho, "p_partial": partial.p}
        for name, half in zip(("selection", "heldout"), self.halves, strict=False):
            columns[f"auc_{name}"], columns[f"p_{name}"] = half.associate(block)
        return Examined(columns, null, _counts(association))


def make_half(question: Question, samples: np.ndarray, seed: int) -> Half:
    """The test of a question among some of the samples.

    Raises
    ------
    ValueError
        If it cannot be decided there.
    """
    part = question.among(samples)
    return Half(samples, make_test(part, 0, seed), _partial(part))


def make_examination(
    question: Question,
    halves: tuple[Half, ...],
    *,
    linear: bool,
    permutations: int,
    seed: int,
) -> Examination:
    """Draw the permutations and fit the covariates of a question, once for all blocks."""
    test = make_test(question, permutations, seed)
    return Examination(test, _plain(question, test, seed), halves, _partial(question), linear, seed)


def _plain(question: Question, test: RankTest, seed: int) -> RankTest | None:
    """The test of all samples together: with draws of its own; None where it is undecided."""
    if question.groups is None or question.strata is None:
        return test
    try:
        return make_test(question.unstratified(), 0, seed)
    except ValueError:
        return None


def _partial(question: Question) -> PartialDesign | None:
    if question.covariates is None:
        return None
    return PartialDesign(
        question.signal,
        question.covariates,
        question.strata,
        question.groups,
        names=question.covariate_names,
    )


def examine(block: np.ndarray, examinations: list[Examination]) -> list[Examined]:
    """A block's answers to every question."""
    found = associations(block, [examination.test.question for examination in examinations])
    return [one.of(block, known) for one, known in zip(examinations, found, strict=True)]


def joined(parts: list[Examined], examination: Examination) -> Examined:
    """The answers of all blocks to one question, with its family-wise p-values."""
    names = parts[0].columns
    columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in names}
    permutations = examination.test.permutations
    if permutations is not None:
        nulls = [part.null for part in parts if part.null is not None]
        columns["p_familywise"] = permutations.finish(nulls).p_familywise
    return Examined(columns, None, parts[0].counts)


def smallest_p(examination: Examination) -> float:
    """The p-value of a neuron that ranks the samples just as the signal does: none has less."""
    order = np.argsort(examination.test.question.signal, kind="stable")
    perfect = np.empty(len(order))
    perfect[order] = np.arange(len(order))
    return float(examination.test.associate(perfect[None])[1][0])


def effects(block: np.ndarray, questions: list[Question]) -> np.ndarray:
    """The AUC alone, (n_questions, n_neurons): for what is only compared with."""
    return np.array([found.auc for found in associations(block, questions)])


def associations(block: np.ndarray, questions: list[Question]) -> list[Association]:
    """The association with each question's signal; questions share their strata.

    The binary ones together, so that every neuron is sorted once for all of them.
    """
    binary = [i for i, asked in enumerate(questions) if asked.signal.dtype == bool]
    found: dict[int, Association] = {}
    if binary:
        signals = np.array([questions[i].signal for i in binary])
        together = associate_many(block, signals, questions[0].strata)
        found |= dict(zip(binary, together, strict=True))
    for i, asked in enumerate(questions):
        if i not in found:
            found[i] = associate(block, asked.signal, asked.strata)
    return [found[i] for i in range(len(questions))]


def _counts(association: Association) -> dict[str, int]:
    counts = {"n": association.n, "n_informative": association.n_informative}
    if association.n_positive is not None:
        counts["n_positive"] = association.n_positive
        counts["n_positive_informative"] = int(association.n_positive_informative or 0)
    return counts
