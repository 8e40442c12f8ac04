"""The recurrent backbones: pre-norm residual layers of gated recurrent units, or of long short-term memory.

In: `x_BTD`. Out: `y_BTD` and what every layer remembers. A chunk runs through the fused `nn.GRU` or `nn.LSTM`, cut
at the columns where any row resets: cheap where only the first frame resets (training), exact everywhere. A step
takes the same parameters through `torch.gru_cell` or `torch.lstm_cell`.

Residual layers rather than a plain stack: the encoder's features reach the head from the first step on, and
each layer learns what memory adds to them.

What a reader gets wrong: a layer knows nothing of resets. `RecurrentBackbone` clears the rows before it calls one.

Legend: B batch, T time, D width, N layers.
"""

from collections.abc import Callable, Iterable
from typing import Generic, NamedTuple, Protocol, TypeVar, cast

import torch
from torch import Tensor, nn

from exphil_core.config.backbones import GruConfig, LstmConfig
from exphil_core.models.state import clear_rows, pieces


class GruState(NamedTuple):
    hidden_BND: Tensor


class LstmState(NamedTuple):
    hidden_BND: Tensor
    cell_BND: Tensor


StateT = TypeVar("StateT", GruState, LstmState)

Memory = tuple[Tensor, ...]
"""One layer's part of a state, each [B, D]: (hidden,) of a GRU, (hidden, cell) of an LSTM."""

Face = Callable[[Tensor, Memory], tuple[Tensor, Memory]]


class Layer(Protocol):
    """An `nn.Module` of a `RecurrentBackbone`: called, it takes `x_BTD`."""

    def __call__(self, x_BTD: Tensor, memory: Memory) -> tuple[Tensor, Memory]: ...

    def step(self, x_BD: Tensor, memory: Memory) -> tuple[Tensor, Memory]: ...


class RecurrentLayer(nn.Module):
    def __init__(self, kind: type[nn.GRU] | type[nn.LSTM], width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.rnn = kind(width, width, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        # Remembering is the default: a gate near sigmoid(1) holds a value for several frames. It is the second
        # in both, a GRU's update gate and an LSTM's forget gate.
        _, _, input_bias, _ = self.rnn.all_weights[0]
        with torch.no_grad():
            input_bias[width : 2 * width].fill_(1.0)

    def forward(self, x_BTD: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        # Under autocast this runs in bfloat16, on a CPU too, where that is faster: forward and backward of six layers
        # at [16, 120] take 0.62 (LSTM, width 624) and 0.90 (GRU, width 720) of float32's time.
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
    def __init__(self, width: int, layers: Iterable[nn.Module], state: type[StateT]) -> None:
        super().__init__()
        self.width = width
        # A cast because mypy sees a ModuleList's items as any module.
        self.layers = cast("list[Layer]", nn.ModuleList(layers))
        self.norm = nn.LayerNorm(width)
        self.state: type[StateT] = state

    def initial_state(self, batch_size: int, device: torch.device, dtype: torch.dtype) -> StateT:
        shape = (batch_size, len(self.layers), self.width)
        return self.state(*[torch.zeros(shape, device=device, dtype=dtype) for _ in self.state._fields])

    def forward(self, x_BTD: Tensor, reset_BT: Tensor, state: StateT | None = None) -> tuple[Tensor, StateT]:
        if state is None:
            # Half precision would be too coarse for what adds up over a game.
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
        """Through the same face of every layer; the state keeps its precision."""
        memories = []
        for face, *memory in zip(faces, *[part.unbind(1) for part in state], strict=True):
            x, after = face(x, tuple(memory))
            memories.append(after)
        parts = zip(state, zip(*memories, strict=True), strict=True)
        return self.norm(x), self.state(*[torch.stack(new, dim=1).to(old.dtype) for old, new in parts])


def build_gru(config: GruConfig) -> RecurrentBackbone[GruState]:
    layers = (RecurrentLayer(nn.GRU, config.width, config.dropout) for _ in range(config.layers))
    return RecurrentBackbone(config.width, layers, GruState)


def build_lstm(config: LstmConfig) -> RecurrentBackbone[LstmState]:
    layers = (RecurrentLayer(nn.LSTM, config.width, config.dropout) for _ in range(config.layers))
    return RecurrentBackbone(config.width, layers, LstmState)
