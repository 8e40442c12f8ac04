"""The recurrent backbone: pre-norm residual layers of gated recurrent units.

In: `x_BTD`. Out: `y_BTD` and the hidden vector of every layer. A chunk runs through the fused `nn.GRU`, cut
at the columns where any row resets: cheap where only the first frame resets (training), exact everywhere.

Residual layers rather than a plain stack: the encoder's features reach the head from the first step on, and
each layer learns what memory adds to them.

Legend: B batch, T time, D width, N layers.
"""

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from exphil_core.config.backbones import GruConfig
from exphil_core.models.state import clear_rows, reset_columns


class GruState(NamedTuple):
    hidden_BND: Tensor


class GruLayer(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.gru = nn.GRU(width, width, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        # Remembering is the default: an update gate near sigmoid(1) holds a value for several frames.
        _, _, input_bias, _ = self.gru.all_weights[0]
        with torch.no_grad():
            input_bias[width : 2 * width].fill_(1.0)

    def forward(
        self, x_BTD: Tensor, reset_BT: Tensor, cuts: list[int], hidden_BD: Tensor
    ) -> tuple[Tensor, Tensor]:
        normed = self.norm(x_BTD)
        starts = sorted({0, *cuts})
        outs = []
        for start, end in zip(starts, [*starts[1:], x_BTD.shape[1]], strict=True):
            hidden_BD = hidden_BD.masked_fill(reset_BT[:, start, None], 0)
            out, last = self.gru(normed[:, start:end], hidden_BD[None].contiguous())
            hidden_BD = last[0]
            outs.append(out)
        out_BTD = outs[0] if len(outs) == 1 else torch.cat(outs, dim=1)
        return x_BTD + self.dropout(out_BTD), hidden_BD

    def step(self, x_BD: Tensor, hidden_BD: Tensor) -> tuple[Tensor, Tensor]:
        """The recurrence of `nn.GRU` with the same parameters, one frame at a time."""
        hidden_BD = torch.gru_cell(self.norm(x_BD), hidden_BD, *self.gru.all_weights[0])
        return x_BD + self.dropout(hidden_BD), hidden_BD


class GruBackbone(nn.Module):
    def __init__(self, config: GruConfig) -> None:
        super().__init__()
        self.width = config.width
        # A cast because mypy sees a ModuleList's items as any module.
        self.layers = cast(
            "list[GruLayer]",
            nn.ModuleList(GruLayer(config.width, config.dropout) for _ in range(config.layers)),
        )
        self.norm = nn.LayerNorm(config.width)

    def initial_state(self, batch_size: int, device: torch.device, dtype: torch.dtype) -> GruState:
        shape = (batch_size, len(self.layers), self.width)
        return GruState(hidden_BND=torch.zeros(shape, device=device, dtype=dtype))

    def forward(
        self, x_BTD: Tensor, reset_BT: Tensor, state: GruState | None = None
    ) -> tuple[Tensor, GruState]:
        state = state or self.initial_state(x_BTD.shape[0], x_BTD.device, x_BTD.dtype)
        cuts = reset_columns(reset_BT)
        hidden = []
        for layer, hidden_BD in zip(self.layers, state.hidden_BND.unbind(1), strict=True):
            x_BTD, hidden_BD = layer(x_BTD, reset_BT, cuts, hidden_BD)
            hidden.append(hidden_BD)
        return self.norm(x_BTD), GruState(hidden_BND=torch.stack(hidden, dim=1).to(state.hidden_BND.dtype))

    def step(self, x_BD: Tensor, reset_B: Tensor, state: GruState) -> tuple[Tensor, GruState]:
        state = clear_rows(state, reset_B)
        hidden = []
        for layer, hidden_BD in zip(self.layers, state.hidden_BND.unbind(1), strict=True):
            x_BD, hidden_BD = layer.step(x_BD, hidden_BD)
            hidden.append(hidden_BD)
        return self.norm(x_BD), GruState(hidden_BND=torch.stack(hidden, dim=1).to(state.hidden_BND.dtype))
