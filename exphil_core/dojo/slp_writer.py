"""Write a dojo match as a Slippi 3.16.0 replay (.slp).

The file is UBJSON, {raw: event bytes, metadata: object}; numbers in events are big-endian. A pre-frame event holds
the controller and the state *before* the frame, a post-frame event the state after it. Empty ports have type 3.
Source: the Slippi replay file specification (project-slippi/slippi-wiki, SPEC.md).
"""

import copy
from collections.abc import Mapping
from struct import Struct, pack
from typing import Final

from exphil_core.dojo.world import Frame, Post, World
from exphil_core.melee.controller import BUTTON_BITS, Controller
from exphil_core.melee.frames import FIRST_FRAME_ID

VERSION: Final = (3, 16, 0)
STARTED_AT: Final = "2001-11-21T00:00:00Z"
"""Constant, so that equal matches give equal bytes."""
PLAYED_ON: Final = "dojo"

_PAYLOAD_SIZES: Final = {0x36: 760, 0x37: 64, 0x38: 84, 0x39: 6, 0x3A: 12, 0x3B: 44, 0x3C: 8}
_POST: Final = "BHfffffBBBBfBBBBBfBHBBBffffffIHH"
_PRE: Final = "iBBIHffffffffIHffbfb"
_FRAME: Final = Struct(f">BiII B{_PRE} B{_PRE} BiBB{_POST} BiBB{_POST} Bii".replace(" ", ""))
_PORTS: Final = 4
_END_GAME, _END_TIME = 2, 1
_START_STOCKS = 4

Value = str | int | Mapping[str, "Value"]


class SlpWriter:
    """Builder of one replay: `add` every frame in order, then `finish`."""

    def __init__(self, world: World, *, random_seed: int, match_id: str) -> None:
        self._world = world
        self._seed = random_seed
        self._ports = tuple(body.port_index for body in world.bodies)
        self._externals = tuple(body.fighter.character.external_id for body in world.bodies)
        self._internals = tuple(body.fighter.character.internal_id for body in world.bodies)
        self._events = bytearray(_payload_sizes())
        self._events += _game_start(world, random_seed, match_id)
        self._last: tuple[Post, Post] | None = None
        self._wires: dict[Controller, tuple[tuple[float | int, ...], int]] = {}

    def copied(self, world: World) -> "SlpWriter":
        """Return a copy that continues with `world`, a copy of this writer's."""
        found = copy.copy(self)
        found._world, found._events = world, self._events[:]
        return found

    def add(self, controllers: tuple[Controller, Controller], frame: Frame, before: Frame | None) -> None:
        """Append one frame: its controllers, the resulting frame, and the frame before (None for the first)."""
        frame_id, posts = frame
        first, second = before.posts if before is not None else posts
        post_0, post_1 = posts
        pressed_0, raw_y_0 = self._wire(controllers[0])
        pressed_1, raw_y_1 = self._wire(controllers[1])
        seed = (self._seed + frame_id * 65536) & 0xFFFFFFFF
        port_0, port_1 = self._ports
        self._events += _FRAME.pack(
            0x3A,
            frame_id,
            seed,
            frame_id - FIRST_FRAME_ID,
            0x37,
            frame_id,
            port_0,
            0,
            seed,
            *first[1:5],
            *pressed_0,
            first.percent,
            raw_y_0,
            0x37,
            frame_id,
            port_1,
            0,
            seed,
            *second[1:5],
            *pressed_1,
            second.percent,
            raw_y_1,
            0x38,
            frame_id,
            port_0,
            0,
            *post_0,
            0x38,
            frame_id,
            port_1,
            0,
            *post_1,
            0x3C,
            frame_id,
            frame_id,
        )
        self._last = posts

    def finish(self, *, dojo: Mapping[str, Value]) -> bytes:
        """Return the file's bytes. `dojo` is stored in the metadata under that name."""
        assert self._last is not None
        self._events += _game_end(self._world, self._ports, self._last)
        players: dict[str, Value] = {
            str(port): {
                "names": {"netplay": "", "code": ""},
                "characters": {str(internal): self._world.frame_id - FIRST_FRAME_ID + 1},
            }
            for port, internal in zip(self._ports, self._internals, strict=True)
        }
        metadata: dict[str, Value] = {
            "startAt": STARTED_AT,
            "lastFrame": self._world.frame_id,
            "players": players,
            "playedOn": PLAYED_ON,
            "dojo": dojo,
        }
        raw = b"{U\x03raw[$U#l" + pack(">i", len(self._events)) + bytes(self._events)
        return raw + _key("metadata") + _ubjson(metadata) + b"}"

    def _wire(self, controller: Controller) -> tuple[tuple[float | int, ...], int]:
        """Return a controller's pre-frame fields, and the raw y byte, which the event stores further back."""
        known = self._wires.get(controller)
        if known is None:
            known = _controller_fields(controller)
            self._wires[controller] = known
        return known


def _controller_fields(controller: Controller) -> tuple[tuple[float | int, ...], int]:
    x, y, c_x, c_y = controller.main_x, controller.main_y, controller.c_x, controller.c_y
    trigger = max(controller.trigger_l, controller.trigger_r)
    if controller.buttons & (BUTTON_BITS["L"] | BUTTON_BITS["R"]):
        trigger = 1.0
    processed = controller.buttons
    for pressed, bit in (
        (y > 0.28, 0x10000),
        (y < -0.28, 0x20000),
        (x < -0.28, 0x40000),
        (x > 0.28, 0x80000),
        (c_y > 0.28, 0x100000),
        (c_y < -0.28, 0x200000),
        (c_x < -0.28, 0x400000),
        (c_x > 0.28, 0x800000),
        (trigger > 0.3, 0x80000000),
    ):
        if pressed:
            processed |= bit
    fields = (
        x,
        y,
        c_x,
        c_y,
        trigger,
        processed,
        controller.buttons,
        controller.trigger_l,
        controller.trigger_r,
        round(x * 80),
    )
    return fields, round(y * 80)


def _payload_sizes() -> bytes:
    entries = b"".join(pack(">BH", code, size) for code, size in _PAYLOAD_SIZES.items())
    return bytes((0x35, len(entries) + 1)) + entries


def _game_start(world: World, random_seed: int, match_id: str) -> bytes:
    event = bytearray(_PAYLOAD_SIZES[0x36] + 1)
    event[0] = 0x36
    event[1:4] = bytes(VERSION)
    info = 0x5
    # Game info bit fields of a stock match with tournament rules: stocks, timer, no items, no pause.
    event[info : info + 5] = bytes((0x32, 0x01, 0x8E, 0x4C, 0xC3))
    event[info + 0xB] = 0xFF  # items never
    event[info + 0xC] = 0xFF  # a self-destruct costs a point
    event[info + 0xE : info + 0x10] = pack(">H", world.stage.external_id)
    event[info + 0x10 : info + 0x14] = pack(">I", 480)  # seconds
    event[info + 0x20 : info + 0x28] = b"\xff" * 8  # item switches
    for offset in (0x2C, 0x30, 0x34):
        event[info + offset : info + offset + 4] = pack(">f", 1.0)
    by_port = {body.port_index: body for body in world.bodies}
    for port in range(_PORTS):
        slot = info + 0x60 + 0x24 * port
        body = by_port.get(port)
        event[slot] = 0x15 if body is None else body.fighter.character.external_id
        event[slot + 1] = 3 if body is None else 0
        event[slot + 2] = _START_STOCKS
        event[slot + 3] = 0 if body is None else port % 4
        event[slot + 8] = 9  # handicap, unused
        event[slot + 0xA] = 0x78
        event[slot + 0xC : slot + 0x10] = bytes((0xC0, 0x00, 0x04, 0x01))
        for offset in (0x18, 0x1C, 0x20):  # offence, defence, model scale
            event[slot + offset : slot + offset + 4] = pack(">f", 1.0)
    event[0x13D:0x141] = pack(">I", random_seed)
    for port in range(_PORTS):  # UCF: dash back and shield drop
        event[0x141 + 8 * port : 0x149 + 8 * port] = pack(">II", 1, 1)
    event[0x1A2] = 1  # frozen Pokémon Stadium
    event[0x1A3] = 2  # scene: in game
    event[0x1A4] = 8  # scene: online
    event[0x2BD] = 1  # English
    identifier = match_id.encode("ascii")[:50]
    event[0x2BE : 0x2BE + len(identifier)] = identifier
    event[0x2F1:0x2F5] = pack(">I", 1)
    event[0x2F5:0x2F9] = pack(">I", 0)
    return bytes(event)


def _game_end(world: World, ports: tuple[int, ...], posts: tuple[Post, Post]) -> bytes:
    first, second = posts
    rank = (first.stocks, -first.percent) >= (second.stocks, -second.percent)
    placements = [-1] * _PORTS
    placements[ports[0]], placements[ports[1]] = (0, 1) if rank else (1, 0)
    return pack(">BBbbbbb", 0x39, _END_GAME if world.over else _END_TIME, -1, *placements)


def _key(text: str) -> bytes:
    return b"U" + bytes((len(text),)) + text.encode()


def _ubjson(value: Value) -> bytes:
    if isinstance(value, str):
        encoded = value.encode()
        return b"SU" + bytes((len(encoded),)) + encoded
    if isinstance(value, int):
        return b"l" + pack(">i", value)
    return b"{" + b"".join(_key(key) + _ubjson(item) for key, item in value.items()) + b"}"
