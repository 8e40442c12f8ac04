"""GRU and LSTM backbones: pre-norm residual recurrent layers.

A chunk runs through the fused `nn.GRU` or `nn.LSTM`, split at the frames where any row resets; a step uses the same
parameters with `torch.gru_cell` or `torch.lstm_cell`. Layers do not handle resets: `RecurrentBackbone` clears rows.

Legend: B batch, T time, D width, N layers.
"""

from collections.abc import Callable, Iterable
from typing import Generic, NamedTuple, Protocol, TypeVar, cast

import torch
from torch import Tensor, nn

from exphil_core.config.backbones import GruConfig, LstmConfig
from exphil_core.models.state import clear_rows, pieces


class GruState(NamedTuple):
    """Hidden state of every GRU layer."""

    hidden_BND: Tensor


class LstmState(NamedTuple):
    """Hidden and cell state of every LSTM layer."""

    hidden_BND: Tensor
    cell_BND: Tensor


StateT = TypeVar("StateT", GruState, LstmState)

Memory = tuple[Tensor, ...]
"""State of one layer, each [B, D]: (hidden,) for a GRU, (hidden, cell) for an LSTM."""

Face = Callable[[Tensor, Memory], tuple[Tensor, Memory]]


class Layer(Protocol):
    """A module in a `RecurrentBackbone`; a call processes x_BTD, `step` one frame."""

    def __call__(self, x_BTD: Tensor, memory: Memory) -> tuple[Tensor, Memory]: ...

    def step(self, x_BD: Tensor, memory: Memory) -> tuple[Tensor, Memory]: ...


class RecurrentLayer(nn.Module):
    """Pre-norm residual GRU or LSTM layer. The residual passes the encoder's features to the head unchanged."""

    def __init__(self, kind: type[nn.GRU] | type[nn.LSTM], width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.rnn = kind(width, width, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        # Remember by default: a gate near sigmoid(1) holds a value for several frames. It is the second gate in
        # both: a GRU's update gate and an LSTM's forget gate.
        _, _, input_bias, _ = self.rnn.all_weights[0]
        with torch.no_grad():
            input_bias[width : 2 * width].fill_(1.0)

    def forward(self, x_BTD: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        # Under autocast this runs in bfloat16, also on a CPU, where it is faster: forward and backward of six layers
        # at [16, 120] take 0.62 (LSTM, width 624) and 0.90 (GRU, width 720) of the float32 time.
        before = tuple(part[None].contiguous() for part in memory)
        if isinstance(self.rnn, nn.LSTM):
            out_BTD, after = self.rnn(self.norm(x_BTD), before)
        else:
            out_BTD, *after = self.rnn(self.norm(x_BTD), *before)
        return x_BTD + self.dropout(out_BTD), tuple(part[0] for part in after)

    def step(self, x_BD: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        weights = self.rnn.all_weights[0]
        if isinstance(self.rnn, nn.LSTM):
            memory = torch.lstm_cell(self.norm(x_BD), memory, *weights)
        else:
            memory = (torch.gru_cell(self.norm(x_BD), *memory, *weights),)
        return x_BD + self.dropout(memory[0]), memory


class RecurrentBackbone(nn.Module, Generic[StateT]):
    """Stack of recurrent layers with a final norm; clears rows at resets."""

    def __init__(self, width: int, layers: Iterable[nn.Module], state: type[StateT]) -> None:
        super().__init__()
        self.width = width
        # Cast, because mypy types a ModuleList's items as Module.
        self.layers = cast("list[Layer]", nn.ModuleList(layers))
        self.norm = nn.LayerNorm(width)
        self.state: type[StateT] = state

    def initial_state(self, batch_size: int, device: torch.device, dtype: torch.dtype) -> StateT:
        shape = (batch_size, len(self.layers), self.width)
        return self.state(*[torch.zeros(shape, device=device, dtype=dtype) for _ in self.state._fields])

    def forward(self, x_BTD: Tensor, reset_BT: Tensor, state: StateT | None = None) -> tuple[Tensor, StateT]:
        if state is None:
            # Half precision is too coarse for a state that accumulates over a game.
            dtype = torch.promote_types(x_BTD.dtype, torch.float32)
            state = self.initial_state(x_BTD.shape[0], x_BTD.device, dtype)
        outs = []
        for start, end in pieces(reset_BT):
            cleared = clear_rows(state, reset_BT[:, start])
            out_BTD, state = self._run(self.layers, x_BTD[:, start:end], cleared)
            outs.append(out_BTD)
        return torch.cat(outs, dim=1), state

    def step(self, x_BD: Tensor, reset_B: Tensor, state: StateT) -> tuple[Tensor, StateT]:
        return self._run([layer.step for layer in self.layers], x_BD, clear_rows(state, reset_B))

    def _run(self, faces: Iterable[Face], x: Tensor, state: StateT) -> tuple[Tensor, StateT]:
        """Run every layer through its `forward` or `step`; the state keeps its dtype."""
        memories = []
        for face, *memory in zip(faces, *[part.unbind(1) for part in state], strict=True):
            x, after = face(x, tuple(memory))
            memories.append(after)
        parts = zip(state, zip(*memories, strict=True), strict=True)
        return self.norm(x), self.state(*[torch.stack(new, dim=1).to(old.dtype) for old, new in parts])


def build_gru(config: GruConfig) -> RecurrentBackbone[GruState]:
    """Build a GRU backbone with fresh weights."""
    layers = (RecurrentLayer(nn.GRU, config.width, config.dropout) for _ in range(config.layers))
    return RecurrentBackbone(config.width, layers, GruState)


def build_lstm(config: LstmConfig) -> RecurrentBackbone[LstmState]:
    """Build an LSTM backbone with fresh weights."""
    layers = (RecurrentLayer(nn.LSTM, config.width, config.dropout) for _ in range(config.layers))
    return RecurrentBackbone(config.width, layers, LstmState)
