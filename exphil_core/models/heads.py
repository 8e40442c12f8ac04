"""Autoregressive controller head: a distribution over whole controllers, factored over the codec's components.

Component k depends on the features, the previous controller and the tokens of the components before k (targets when
scoring, samples when sampling), so the sum of the nats is exactly -log p of the controller.

Legend: B batch, T time, D width, K components, H hidden width; `...` any leading shape.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from exphil_core.encoding.codecs import Codec

EMBEDDING_SCALE = 0.3
"""Initial standard deviation of the token embeddings."""
OUTPUT_SCALE = 0.01
"""Initial standard deviation of the logit weights: small, so that a new policy starts from `last_token`."""


class ComponentHead(nn.Module):
    """Logits of one component: a row of `last_token` for its previous token, plus an MLP of the hidden features."""

    def __init__(self, size: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden)
        self.inner = nn.Linear(hidden, hidden)
        self.dropout = nn.Dropout(dropout)
        self.logits = nn.Linear(hidden, size)
        nn.init.normal_(self.logits.weight, std=OUTPUT_SCALE)
        nn.init.zeros_(self.logits.bias)
        # Explicit zeros, so that initialisation draws no random numbers.
        self.last_token = nn.Embedding(size, size, _weight=torch.zeros(size, size))

    def forward(self, hidden: Tensor, last: Tensor) -> Tensor:
        """Compute logits [..., size] given the component's previous token `last`; float32 also under autocast."""
        logits: Tensor = self.logits(self.dropout(functional.gelu(self.inner(self.norm(hidden)))))
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        conditioned: Tensor = logits + self.last_token(last)
        return conditioned


class ControllerHead(nn.Module):
    """Score or sample controllers, one component after the other."""

    def __init__(self, codec: Codec, width_in: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.sizes = tuple(component.size for component in codec.components)
        self.enter = nn.Linear(width_in, hidden)
        self.previous = _embeddings(self.sizes, hidden)
        self.tokens = _embeddings(self.sizes[:-1], hidden)
        # Cast, because mypy types a ModuleList's items as Module.
        self.components = cast(
            "list[ComponentHead]", nn.ModuleList(ComponentHead(size, hidden, dropout) for size in self.sizes)
        )

    @torch.no_grad()
    def start_from_tables(self, tables: Sequence[Tensor]) -> None:
        """Initialise the logits with log-probabilities [previous token, token] of each component.

        With the tables of the Markov baseline, a new policy starts at about the baseline's loss.
        """
        for component, table in zip(self.components, tables, strict=True):
            component.last_token.weight.copy_(table)

    def log_probs(self, y: Tensor, previous: Tensor, tokens: Tensor) -> list[Tensor]:
        """Compute log-probabilities [..., size] per component, given the tokens of the components before it.

        Args:
            y: Features [..., D] from the backbone.
            previous: Tokens [..., K] of the ego's controller in the observed frame.
            tokens: Tokens [..., K] to condition on; the last component's token is not used.
        """
        hidden = self._enter(y, previous)
        found = []
        for k, component in enumerate(self.components):
            found.append(component(hidden, previous[..., k]).log_softmax(dim=-1))
            if k < len(self.tokens):
                hidden = hidden + self.tokens[k](tokens[..., k])
        return found

    def nll(self, y_BTD: Tensor, previous_BTK: Tensor, tokens_BTK: Tensor) -> Tensor:
        """Compute nats [B, T, K] of the tokens in float32, without smoothing, weights or mask."""
        return nats(self.log_probs(y_BTD, previous_BTK, tokens_BTK), tokens_BTK)

    def sample(self, y_BD: Tensor, previous_BK: Tensor, uniform_BK: Tensor, temperature: Tensor) -> Tensor:
        """Sample tokens [B, K], each given the ones before it. A pure function: every runtime draws the same.

        Args:
            y_BD: Features from the backbone.
            previous_BK: Tokens of the ego's controller in the observed frame.
            uniform_BK: Uniform random numbers in [0, 1), the only source of randomness.
            temperature: Scalar tensor above 0; 1 samples the learned distribution.
        """
        hidden = self._enter(y_BD, previous_BK)
        drawn: list[Tensor] = []
        for k, component in enumerate(self.components):
            below_BV = (component(hidden, previous_BK[:, k]) / temperature).softmax(dim=-1).cumsum(dim=-1)
            # Scale by the rounded total, so that no number falls beyond the last token.
            reached_B1 = uniform_BK[:, k : k + 1] * below_BV[:, -1:]
            drawn.append((below_BV <= reached_B1).sum(dim=-1).clamp(max=self.sizes[k] - 1))
            if k < len(self.tokens):
                hidden = hidden + self.tokens[k](drawn[k])
        return torch.stack(drawn, dim=-1)

    def _enter(self, y: Tensor, previous: Tensor) -> Tensor:
        hidden: Tensor = self.enter(y)
        for embedding, token in zip(self.previous, previous.unbind(-1), strict=True):
            hidden = hidden + embedding(token)
        return hidden


def nats(log_probs: list[Tensor], tokens: Tensor) -> Tensor:
    """Compute -log p of tokens [..., K] from each component's log-probabilities [..., size], in nats: [..., K]."""
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
