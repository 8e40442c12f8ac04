"""What the tests of training share."""

import pytest

from exphil_core.models.heads import ControllerHead


@pytest.fixture
def from_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a head knows of the last controller from the start would hide what is learned."""
    monkeypatch.setattr(ControllerHead, "start_from_tables", lambda self, tables: None)
