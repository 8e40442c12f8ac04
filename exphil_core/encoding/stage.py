"""Stage encoder: the stage and its moving platforms as a vector.

Replays do not record Randall's position. It is computed from the frame id, and mirrored in mirrored rows.

Legend: B batch, T time, D width.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from exphil_core.config.encoder import EncoderConfig
from exphil_core.encoding.numerics import STAGE_NUMERICS, Normalise
from exphil_core.encoding.players import SelectColumns, known_ids
from exphil_core.melee import stages
from exphil_core.melee.stages import RANDALL_PERIOD, STAGES, randall_position
from exphil_core.replays.columns import Group

STADIUM_EVENTS = 7
"""Number of Stadium transformation events: 0 (finished) to 6 (Slippi specification, "Stadium Transformations")."""
STADIUM_TYPES = 10
"""Size of the Stadium type table: 3 fire, 4 grass, 5 normal, 6 rock, 9 water."""
_STADIUM_WIDTH = 4

_UNKNOWN_EDGE = 75.0
"""Ledge distance assumed for unsupported stages: about the mean of the supported ones."""


class StageEncoder(nn.Module):
    """Encode the stage id, platforms, Randall and Stadium transformations."""

    row: Tensor
    edge: Tensor
    randall: Tensor

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        row = torch.full((256,), len(STAGES))
        edge = torch.full((256,), _UNKNOWN_EDGE)
        for index, stage in enumerate(STAGES):
            row[stage.external_id] = index
            edge[stage.external_id] = stage.edge
        path = torch.tensor([randall_position(frame) for frame in range(RANDALL_PERIOD)])
        self.register_buffer("row", row, persistent=False)
        self.register_buffer("edge", edge, persistent=False)
        self.register_buffer("randall", path, persistent=False)
        self.yoshis_id = stages.by_name("yoshis").external_id
        self.f32 = SelectColumns("f32", "stage", ("fod_left", "fod_right"))
        self.u8 = SelectColumns("u8", "stage", ("stadium_event", "stadium_type"))
        self.normalise = Normalise(STAGE_NUMERICS)
        self.stages = nn.Embedding(len(STAGES) + 1, config.stage_width)
        self.events = nn.Embedding(STADIUM_EVENTS + 1, _STADIUM_WIDTH)
        self.types = nn.Embedding(STADIUM_TYPES + 1, _STADIUM_WIDTH)
        for table in (self.stages, self.events, self.types):
            nn.init.normal_(table.weight, std=table.embedding_dim**-0.5)
        self.width = 2 * len(STAGE_NUMERICS) + config.stage_width + 2 * _STADIUM_WIDTH

    def edge_of(self, stage_B: Tensor) -> Tensor:
        """Distance of each row's ledges from the stage centre [B], in game units."""
        return self.edge[stage_B.to(torch.int64)]

    def forward(
        self, columns: Mapping[Group, Tensor], frame_id_BT: Tensor, stage_B: Tensor, mirror_B: Tensor
    ) -> Tensor:
        """Encode the stage of each frame: [B, T, D].

        Args:
            columns: Columns by dtype group, [B, T, C].
            frame_id_BT: Frame ids, which determine Randall's position.
            stage_B: External stage ids.
            mirror_B: Rows that were reflected.
        """
        platforms = self.f32(columns)
        event, transformation = self.u8(columns).unbind(-1)
        randall = self.randall[frame_id_BT.to(torch.int64) % RANDALL_PERIOD]
        x = torch.where(mirror_B[:, None], -randall[..., 0], randall[..., 0])
        randall = torch.stack((x, randall[..., 1]), dim=-1)
        randall = randall.masked_fill((stage_B != self.yoshis_id)[:, None, None], float("nan"))
        numbers = torch.cat((platforms, randall), dim=-1)
        stage = self.stages(self.row[stage_B.to(torch.int64)])
        return torch.cat(
            (
                self.normalise(numbers),
                numbers.isnan().float(),
                stage[:, None, :].expand(-1, numbers.shape[1], -1),
                self.events(known_ids(event, STADIUM_EVENTS)),
                self.types(known_ids(transformation, STADIUM_TYPES)),
            ),
            dim=-1,
        )
