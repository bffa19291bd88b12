import gc

import pytest


@pytest.fixture(scope="session", autouse=True)
def _nothing_imported_is_garbage():
    """The Trainer collects garbage at each run, which takes longer than these small runs."""
    import tastevec.training.fit  # noqa: PLC0415  here, so that test collection does not import torch

    assert tastevec.training.fit
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
