"""Ranks, normalised scores and the choice of results, compared with numbers made by hand."""

import numpy as np
import pytest
import table_scores
from table_rows import fit

S = np.array([[0.1, 0.2, 0.2], [0.3, 0.1, 0.2], [0.5, 0.5, 0.5]])
MODELS = ["hist-gb", "realmlp-td", "sklearn-mlp"]


def test_models_with_equal_scores_share_their_rank() -> None:
    expected = [[1, 2.5, 2.5], [3, 1, 2], [2, 2, 2]]
    np.testing.assert_array_equal(table_scores.ranks(S), expected)


def test_normalised_scores() -> None:
    expected = [[1, 0, 0], [0, 1, 0.5], [1, 1, 1]]
    np.testing.assert_allclose(table_scores.normalised(S), expected, atol=1e-12)


def test_wins_ties_and_losses() -> None:
    expected = [[0, 3, 0], [1, 1, 1], [1, 1, 1]]
    np.testing.assert_array_equal(table_scores.wins_and_losses(S, 0), expected)


def test_critical_difference_of_a_published_example() -> None:
    """Demsar's example: 4 classifiers on 14 data sets."""
    assert table_scores.critical_difference(14, 4) == pytest.approx(1.25, abs=0.005)


def test_friedman_needs_differences() -> None:
    assert table_scores.friedman(S[2:]) is None
    assert table_scores.friedman(np.full((4, 3), 0.5)) is None
    order = np.tile([0.1, 0.2, 0.3], (20, 1))
    assert table_scores.friedman(order) < 1e-6


def test_cliques_are_the_largest_intervals() -> None:
    found = table_scores.cliques(np.array([3.0, 1.0, 1.8, 2.4, 9.0]), 1.5)
    assert found == [(1.0, 2.4), (1.8, 3.0)]
    assert table_scores.cliques(np.array([1.0, 2.0]), 0.5) == []


def test_geometric_mean() -> None:
    assert table_scores.geometric_mean(np.array([1.0, 4.0, 16.0])) == pytest.approx(4)


def test_splits_that_all_models_have_are_compared(rows) -> None:
    found = table_scores.compare(rows, "error", ["banana", "letter"], [*MODELS, "xgboost"])
    assert found.models == MODELS
    assert found.splits == [("banana", 0), ("banana", 1), ("letter", 0)]
    np.testing.assert_allclose(found.by_table(found.scores), [[0.15, 0.25, 0.25], [0.3, 0.1, 0.2]])
    only = table_scores.compare(rows, "error", ["letter"], ["hist-gb", "realmlp-td"])
    assert only.splits == [("letter", 0)]


def test_no_comparison_without_common_splits(rows) -> None:
    assert table_scores.compare(rows, "rmse", ["banana"], MODELS) is None
    assert table_scores.compare(rows, "error", ["banana"], ["hist-gb"]) is None
    assert table_scores.compare(rows, "error", ["banana"], MODELS, threads=2) is None
    rows = [fit("banana", 0, "hist-gb", error=0.1), fit("banana", 1, "xgboost", error=0.1)]
    assert table_scores.compare(rows, "error", ["banana"], ["hist-gb", "xgboost"]) is None


def test_the_last_result_of_a_fit_counts(rows) -> None:
    rows.append(fit("banana", 0, "hist-gb", error=0.9, loaded=True))
    found = table_scores.compare(rows, "error", ["banana"], MODELS)
    assert found.scores[0, 0] == 0.9
    assert found.loaded == 1


def test_failures_that_were_repeated_with_success_do_not_count(rows) -> None:
    failed = [
        fit("chile", 0, "xgboost", failed="ValueError"),
        fit("banana", 0, "xgboost", failed="ValueError"),
        fit("banana", 0, "xgboost", error=0.1),
    ]
    tables = ["banana", "chile"]
    assert table_scores.failures(rows + failed, tables, ["xgboost"], 1) == ["xgboost on chile"]
    assert table_scores.failures(rows + failed, tables, ["xgboost"], 2) == []


def test_comparisons_of_two_metrics_are_joined_for_common_models(rows) -> None:
    rows += [
        fit("boston", 0, model, rmse=rmse) for model, rmse in (("hist-gb", 3.0), ("xgboost", 4))
    ]
    rows += [fit("boston", 0, "sklearn-mlp", rmse=5.0)]
    models = [*MODELS, "xgboost"]
    one = table_scores.compare(rows, "error", ["banana", "letter"], models)
    other = table_scores.compare(rows, "rmse", ["boston"], models)
    both = table_scores.join(one, other)
    assert both.models == ["hist-gb", "sklearn-mlp"]
    assert both.tables == ["banana", "boston", "letter"]
    np.testing.assert_allclose(both.by_table(both.scores), [[0.15, 0.25], [3.0, 5.0], [0.3, 0.2]])
    assert table_scores.join(one, None) is None
