"""The gauge in the workbench: how it looks in every state, and what it says where there is nothing to measure."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import ClassVar

import pytest
from textual.app import ComposeResult
from textual.geometry import Size

from exphil_tui.app import Workbench
from exphil_tui.glyphs import UNICODE, Glyphs
from exphil_tui.widgets.gauge import Gauge, Reading
from tests.latencies import KINDS, moments, record

Compare = Callable[..., bool]

NOW = datetime(2026, 1, 15, 12, 0, tzinfo=UTC).timestamp()

NONE = Reading(sentence="no pilot: g starts one; it takes about 0.7 of a core")

PANELS = [(80, 8), (81, 9), (80, 22), (120, 37)]
"""Cells of the panel: one of several on a small terminal, beside others on a large one, and the whole of both."""


def read(kind: str) -> Reading:
    if kind == "none":
        return NONE
    if kind == "stale":
        return Reading(
            latency=record("fast"),
            moments=moments("fast"),
            stale="stopped 12 s ago",
            sentence="no pilot: g starts one; it takes about 0.2 of a core",
        )
    return Reading(latency=record(kind), moments=moments(kind))


class GaugeApp(Workbench):
    """The workbench's colours and letters, and nothing but a gauge, in however small a terminal."""

    CSS_PATH = None
    MODES: ClassVar = {}
    DEFAULT_MODE = "_default"

    def __init__(self, shown: Reading, *, glyphs: Glyphs = UNICODE) -> None:
        super().__init__(glyphs=glyphs)
        self._shown = shown

    def compose(self) -> ComposeResult:
        yield Gauge()

    def on_mount(self) -> None:
        self.query_one(Gauge).show(self._shown)

    def _mind_size(self, size: Size) -> None:
        pass


SIZES = pytest.mark.parametrize("size", PANELS, ids=["80x8", "81x9", "80x22", "120x37"])


@SIZES
@pytest.mark.parametrize("kind", [*KINDS, "stale", "none"])
def test_every_state_looks_as_it_did(kind: str, size: tuple[int, int], snap_compare: Compare) -> None:
    assert snap_compare(GaugeApp(read(kind)), terminal_size=size)
