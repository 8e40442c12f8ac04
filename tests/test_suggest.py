"""Error messages name the nearest known name, or what there is."""

from exphil_core.suggest import nearest_name, suggestion

KNOWN = ("mamba", "lstm", "attention")


def test_the_most_similar_name_is_suggested() -> None:
    assert nearest_name("mmaba", KNOWN) == "mamba"
    assert suggestion("mmaba", KNOWN) == "did you mean 'mamba'?"
    assert suggestion("mmaba", KNOWN, otherwise="there are three") == "did you mean 'mamba'?"


def test_without_a_similar_name_all_are_named_in_the_order_given() -> None:
    assert nearest_name("xyz", KNOWN) is None
    assert suggestion("xyz", iter(KNOWN)) == "expected one of mamba, lstm, attention"
    assert suggestion("xyz", KNOWN, otherwise="there are three") == "there are three"
