"""The transformer: scikit-learn's own checks of estimators, and users that stay one row each."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

import tastevec as tv
from tastevec import UserEmbedder
from tastevec.errors import DataError, MissingExtraError, SettingsError

HISTORIES = [[(1, 5), (3, 4)], [(12, 1)], [], [7, 8, (3, 2.5, 1_000_000_000)]]
_ROWS = "a history has any length: there is no number of columns to compare"
_IDS = "cells are item IDs, which may be anything that is no number"
# Checks of matrices that a list of histories is not, each with its reason.
OF_MATRICES = {
    "check_n_features_in_after_fitting": _ROWS,
    "check_n_features_in": _ROWS,
    "check_transformer_general": _ROWS,
    "check_fit1d": "one number is a history of one item",
    "check_fit2d_predict1d": "as check_fit1d",
    "check_complex_data": _IDS,
    "check_dtype_object": _IDS,
    "check_estimators_nan_inf": _IDS,
    "check_estimators_empty_data_messages": "no users have no vectors, which is no error",
    "check_estimator_sparse_tag": "a sparse matrix is no list of histories",
    "check_estimator_sparse_array": "as check_estimator_sparse_tag",
    "check_estimator_sparse_matrix": "as check_estimator_sparse_tag",
}


class OfMatrix(UserEmbedder):
    """Takes a matrix, as the checks make it: a row is a history of the items of these numbers."""

    def fit(self, X, y=None):  # noqa: N803  scikit-learn's
        return super().fit(self.read(X), y)

    def transform(self, X):  # noqa: N803  scikit-learn's
        return super().transform(self.read(X))

    def read(self, matrix):
        return [[1 + int(abs(cell) * 10) % 20 for cell in np.ravel(row)] for row in np.asarray(matrix)]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        return tags


@pytest.fixture(scope="module", name="model")
def _model(bundle_folder):
    return tv.load(bundle_folder)


@pytest.fixture(scope="module", name="tastes")
def _tastes():
    """Histories of two kinds of users, and their kind."""
    rng = np.random.default_rng(0)
    kinds = np.arange(120) % 2
    return [
        [(int(item) + 12 * int(kind), 1 + int(item) % 5) for item in rng.permutation(12)[:6]]
        for kind in kinds
    ], kinds


@pytest.mark.filterwarnings("ignore:Estimator OfMatrix does not inherit:UserWarning")
@pytest.mark.filterwarnings("ignore::tastevec.TastevecWarning")
def test_checks_of_scikit_learn_pass_but_those_of_matrices(model):
    found = check_estimator(OfMatrix(model), expected_failed_checks=OF_MATRICES, on_skip=None, on_fail=None)
    statuses = {
        status: {one["check_name"] for one in found if one["status"] == status}
        for status in ("failed", "xfail", "passed")
    }
    assert statuses["failed"] == set(), [str(one["exception"]) for one in found if one["status"] == "failed"]
    assert statuses["xfail"] == set(OF_MATRICES)
    assert len(statuses["passed"]) > 25


def test_pipeline_trained_on_some_users_classifies_held_out_users(tastes):
    histories, kinds = tastes
    pipeline = make_pipeline(
        UserEmbedder(settings={"epochs": 0, "tune": False, "dim": 8}), LogisticRegression(C=100)
    )
    pipeline.fit(histories[:80], kinds[:80])
    assert pipeline.score(histories[80:], kinds[80:]) > 0.9
    assert pipeline[0].get_feature_names_out().tolist() == [f"userembedder{n}" for n in range(8)]
    assert repr(pipeline[0].model_).startswith("Recommender(24 items, 8 dimensions, explicit")


@pytest.mark.filterwarnings("ignore::tastevec.TastevecWarning")
def test_cross_validation_of_a_trained_model_has_each_user_in_its_row(model, tastes):
    histories, kinds = tastes
    assert (
        len(cross_val_score(make_pipeline(UserEmbedder(model), LogisticRegression()), histories, kinds, cv=3))
        == 3
    )
    found = UserEmbedder(model, unknown="ignore").fit_transform(histories)
    for row in (0, 57, 119):
        np.testing.assert_allclose(
            found[row], model.encode(histories[row], unknown="ignore"), rtol=1e-4, atol=1e-5
        )


@pytest.mark.filterwarnings("ignore:interactions.*no rating:tastevec.TastevecWarning")
def test_transform_returns_a_row_per_history_and_horizon(model, bundle_folder):
    for trained in (model, bundle_folder, str(bundle_folder)):
        embedder = clone(UserEmbedder(trained, horizon="next", dislike_weight=0.0)).fit(HISTORIES)
        found = embedder.transform(HISTORIES)
        assert (found.shape, found.dtype) == ((4, 8), np.float32)
        expected = model.encode(HISTORIES[3], horizon="next", dislike_weight=0.0)
        np.testing.assert_allclose(found[3], expected, rtol=1e-5, atol=1e-6)
    assert embedder.transform([]).shape == (0, 8)
    with pytest.raises(tv.UnknownItemError):
        embedder.set_params(unknown="raise").transform([["new"]])


@pytest.mark.filterwarnings("ignore:interactions.*no rating:tastevec.TastevecWarning")
def test_columns_of_pandas_and_polars_and_arrays_are_histories(model):
    rated = [[(1, 5.0), (3, 4.0)], [(12, 1.0), (7, 2.0)]]
    column = pd.Series(rated, index=["anna", "boris"])
    embedder = UserEmbedder(model).set_output(transform="pandas").fit(column)
    found = embedder.transform(column)
    assert (found.index.tolist(), found.columns[-1]) == (["anna", "boris"], "userembedder7")
    ids = np.array([[1, 3], [12, 7]])
    for same in (pl.Series(ids.tolist()), ids, ids.tolist(), [*ids]):
        vectors = UserEmbedder(model).fit_transform(same)
        np.testing.assert_allclose(vectors[1], model.encode([12, 7]), rtol=1e-5)


@pytest.mark.parametrize(
    "table", [pd.DataFrame({"user_id": [1], "item_id": [2]}), pl.DataFrame({"a": [1]}), {"anna": [1]}]
)
def test_table_of_interactions_is_refused(model, table):
    with pytest.raises(
        DataError, match=r"X: \w+\. Expected a list with the history of each user\. Group a table"
    ):
        UserEmbedder(model).fit(table).transform(table)


def test_transform_before_fit_is_refused(model):
    with pytest.raises(NotFittedError, match="UserEmbedder instance is not fitted yet"):
        UserEmbedder(model).transform(HISTORIES)


def test_settings_with_a_model_are_refused(model):
    with pytest.raises(SettingsError, match="settings: given with a model"):
        UserEmbedder(model, settings={"epochs": 1}).fit(HISTORIES)
    with pytest.raises(SettingsError, match=r"epoch: unknown setting\. Expected epochs"):
        UserEmbedder(settings={"epoch": 1}).fit(HISTORIES)


def test_interaction_of_four_parts_names_its_row():
    with pytest.raises(DataError, match=r"X\[1\]\[0\]: 4 parts"):
        UserEmbedder().fit([[1], [(1, 2, 3, 4)]])


def test_missing_scikit_learn_names_the_extra(monkeypatch):
    def absent(_module):
        raise ModuleNotFoundError(name="sklearn")

    monkeypatch.delitem(vars(tv), "UserEmbedder", raising=False)
    monkeypatch.setattr(tv, "import_module", absent)
    with pytest.raises(MissingExtraError, match=r"scikit-learn is not installed\. Expected the extra prep"):
        tv.UserEmbedder  # noqa: B018  the access is the test
