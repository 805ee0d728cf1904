from __future__ import annotations

import datetime

from toolkit.preflight.known import load_known


def test_every_fact_has_a_source_and_a_day() -> None:
    known = load_known()
    assert datetime.date.fromisoformat(known.checked) >= datetime.date(2026, 11, 24)
    assert all(fact.source for fact in (*known.features, *known.packages, *known.drivers))
    assert len({feature.id for feature in known.features}) == len(known.features)


def test_features_of_a_bundle() -> None:
    known = load_known()
    found = known.features_for("GptOssForCausalLM", "nvfp4")
    assert [feature.attribute for feature in found] == ["load_nvfp4_weights"]
    assert known.features_for("GptOssForCausalLM", "mxfp4") == ()
    assert known.features_for("LlamaForCausalLM", "nvfp4") == ()
