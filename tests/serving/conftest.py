"""What the tests of the stored people share."""

import pytest

from databases import postgres


@pytest.fixture(scope="session", name="server")
def _server():
    with postgres() as server:
        yield server
