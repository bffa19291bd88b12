import gc

import pytest


@pytest.fixture(scope="session", autouse=True)
def _nothing_imported_is_garbage():
    """Each run of the Trainer looks through all objects for garbage, which takes longer than these runs themselves."""
    import tastevec.training.fit  # noqa: PLC0415  here, so that collecting the tests imports no torch

    assert tastevec.training.fit
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
