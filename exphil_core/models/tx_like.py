"""slippi-ai's tx-like backbone: transformer blocks with an LSTM in place of attention.

Each block is an LSTM followed by a feed-forward part, both pre-norm and residual.

Legend: B batch, T time, D width.
"""

from torch import Tensor, nn

from exphil_core.config.backbones import TxLikeConfig
from exphil_core.models.mlp import FeedForward
from exphil_core.models.recurrent import LstmState, Memory, RecurrentBackbone, RecurrentLayer


class TxLikeLayer(nn.Module):
    """Residual LSTM, then residual feed-forward part."""

    def __init__(self, config: TxLikeConfig) -> None:
        super().__init__()
        self.lstm = RecurrentLayer(nn.LSTM, config.width, config.dropout)
        self.feed_forward = FeedForward(config.width, round(config.ffn_factor * config.width), config.dropout)

    def forward(self, x_BTD: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        x_BTD, memory = self.lstm(x_BTD, memory)
        return x_BTD + self.feed_forward(x_BTD), memory

    def step(self, x_BD: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        x_BD, memory = self.lstm.step(x_BD, memory)
        return x_BD + self.feed_forward(x_BD), memory


def build_tx_like(config: TxLikeConfig) -> RecurrentBackbone[LstmState]:
    """Build a tx-like backbone with fresh weights."""
    return RecurrentBackbone(config.width, (TxLikeLayer(config) for _ in range(config.layers)), LstmState)
