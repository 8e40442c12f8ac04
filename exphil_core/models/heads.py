"""The controller head: a distribution over whole controllers, factored over the codec's components in order.

In: features `y`, the tokens of the controller that the ego held in the observed frame, and, to be scored, the
tokens that came. Out: nats per component, or sampled tokens. Component k sees y, the previous controller and
the tokens of the components before k (the ones that came when scoring, its own samples when sampling), so the
sum of the nats is exactly -log p of the controller.

What a reader gets wrong: what is scored and what is sampled is the same function; only where the tokens of
the earlier components come from differs. The last component's token conditions nothing.

Legend: B batch, T time, D width, K components, H hidden width; `...` any leading shape.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from exphil_core.encoding.codecs import Codec

EMBEDDING_SCALE = 0.3
OUTPUT_SCALE = 0.01
"""Of the first weights of the logits: small, so that a new policy says what `last_token` does."""


class ComponentHead(nn.Module):
    """One component's logits: a row of `last_token` for its own last value, and what the residual stream adds."""

    def __init__(self, size: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden)
        self.inner = nn.Linear(hidden, hidden)
        self.dropout = nn.Dropout(dropout)
        self.logits = nn.Linear(hidden, size)
        nn.init.normal_(self.logits.weight, std=OUTPUT_SCALE)
        nn.init.zeros_(self.logits.bias)
        # Given its first weights, so that no random number is drawn for them.
        self.last_token = nn.Embedding(size, size, _weight=torch.zeros(size, size))

    def forward(self, stream: Tensor, last: Tensor) -> Tensor:
        """Logits [..., size] where the component's last value was `last`; float32 whatever the products have."""
        logits: Tensor = self.logits(self.dropout(functional.gelu(self.inner(self.norm(stream)))))
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return logits + self.last_token(last)


class ControllerHead(nn.Module):
    def __init__(self, codec: Codec, width_in: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.sizes = tuple(component.size for component in codec.components)
        self.enter = nn.Linear(width_in, hidden)
        self.previous = _embeddings(self.sizes, hidden)
        self.tokens = _embeddings(self.sizes[:-1], hidden)
        # A cast because mypy sees a ModuleList's items as any module.
        self.components = cast(
            "list[ComponentHead]", nn.ModuleList(ComponentHead(size, hidden, dropout) for size in self.sizes)
        )

    @torch.no_grad()
    def start_from_tables(self, tables: Sequence[Tensor]) -> None:
        """Take log-probabilities [last value, value] of each component as first logits.

        With those of the markov baseline, a new policy's loss is about markov's, and all it learns is beyond it.
        """
        for component, table in zip(self.components, tables, strict=True):
            component.last_token.weight.copy_(table)

    def log_probs(self, y: Tensor, previous: Tensor, tokens: Tensor) -> list[Tensor]:
        """Per component log-probabilities [..., size] given the tokens of the components before it."""
        stream = self._enter(y, previous)
        found = []
        for k, component in enumerate(self.components):
            found.append(component(stream, previous[..., k]).log_softmax(dim=-1))
            if k < len(self.tokens):
                stream = stream + self.tokens[k](tokens[..., k])
        return found

    def nll(self, y_BTD: Tensor, previous_BTK: Tensor, tokens_BTK: Tensor) -> Tensor:
        """Plain nats [B, T, K] of the tokens, in float32: no smoothing, no weights, no mask."""
        return nats(self.log_probs(y_BTD, previous_BTK, tokens_BTK), tokens_BTK)

    def sample(self, y_BD: Tensor, previous_BK: Tensor, uniform_BK: Tensor, temperature: Tensor) -> Tensor:
        """Tokens [B, K], each drawn given the ones drawn before it.

        A pure function, so that every runtime draws the same: `uniform_BK` in [0, 1) is all the chance there is,
        and `temperature` (above 0; 1 samples what was learned) is a tensor without dimensions.
        """
        stream = self._enter(y_BD, previous_BK)
        drawn: list[Tensor] = []
        for k, component in enumerate(self.components):
            below_BV = (component(stream, previous_BK[:, k]) / temperature).softmax(dim=-1).cumsum(dim=-1)
            # Scaled by the sum as it was rounded, so that no chance falls behind the last token.
            reached_B1 = uniform_BK[:, k : k + 1] * below_BV[:, -1:]
            drawn.append((below_BV <= reached_B1).sum(dim=-1).clamp(max=self.sizes[k] - 1))
            if k < len(self.tokens):
                stream = stream + self.tokens[k](drawn[k])
        return torch.stack(drawn, dim=-1)

    def _enter(self, y: Tensor, previous: Tensor) -> Tensor:
        stream: Tensor = self.enter(y)
        for embedding, token in zip(self.previous, previous.unbind(-1), strict=True):
            stream = stream + embedding(token)
        return stream


def nats(log_probs: list[Tensor], tokens: Tensor) -> Tensor:
    """-log p of tokens [..., K], given the log-probabilities [..., size] of each component."""
    picked = [
        part.gather(-1, token[..., None])[..., 0]
        for part, token in zip(log_probs, tokens.unbind(-1), strict=True)
    ]
    return -torch.stack(picked, dim=-1)


def _embeddings(sizes: tuple[int, ...], hidden: int) -> nn.ModuleList:
    tables = nn.ModuleList(nn.Embedding(size, hidden) for size in sizes)
    for table in tables.parameters():
        nn.init.normal_(table, std=EMBEDDING_SCALE)
    return tables
