from exphil_core.encoding.players import PLAYER_BITS
from exphil_core.melee import flags
from exphil_core.replays.columns import POST_COLUMNS


def test_a_viewer_and_a_policy_see_the_same_bits() -> None:
    names = {
        "fastfalling": flags.FASTFALLING,
        "defender in hitlag": flags.STRUCK,
        "shield active": flags.SHIELDING,
        "in hitstun": flags.HITSTUN,
        "offscreen": flags.OFFSCREEN,
    }
    bits = {bit.name: bit for bit in PLAYER_BITS}
    for name, flag in names.items():
        assert (bits[name].column, bits[name].mask, bits[name].value) == (flag.column, flag.bit, flag.bit)
        assert flag.column in {column.name for column in POST_COLUMNS}
