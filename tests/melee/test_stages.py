"""Both numberings of stages, and their measures, against libmelee."""

import pytest

from exphil_core.melee.stages import STAGES, by_external_id, by_internal_id, by_name, is_supported

melee = pytest.importorskip("melee")


def test_ids_are_libmelees() -> None:
    for stage in STAGES:
        theirs = melee.enums.to_internal_stage(stage.external_id)
        assert theirs.value == stage.internal_id, stage.name
        assert by_external_id(stage.external_id) is stage
        assert by_internal_id(stage.internal_id) is stage


def test_the_six_stages_have_the_ids_of_replays() -> None:
    ids = {stage.name: stage.external_id for stage in STAGES}
    assert ids == {
        "fountain": 2,
        "stadium": 3,
        "yoshis": 8,
        "dreamland": 28,
        "battlefield": 31,
        "finaldestination": 32,
    }
    assert not is_supported(4)


def test_edges_and_blast_lines_are_libmelees() -> None:
    for stage in STAGES:
        theirs = melee.enums.to_internal_stage(stage.external_id)
        assert stage.edge == pytest.approx(melee.stages.EDGE_POSITION[theirs], abs=5.0), stage.name
        left, right, bottom, top = melee.stages.BLASTZONES[theirs]
        assert stage.blast == pytest.approx((left, right, *sorted((bottom, top))), abs=1.0), stage.name


def test_wrong_names_and_ids_are_sentences() -> None:
    assert by_name("Pokémon Stadium").name == "stadium"
    with pytest.raises(ValueError, match="did you mean 'battlefield'"):
        by_name("batlefield")
    with pytest.raises(ValueError, match="expected one of"):
        by_external_id(4)
