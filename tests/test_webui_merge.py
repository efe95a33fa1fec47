"""What the Merge tab makes of a proof: what was compared is said, and what was not."""

from __future__ import annotations

from typing import Any

import pytest

from core.records_merge import Probe, Verification, Weights, verification_file
from core.rundir import RunDir, write_record, write_text
from core.workspace import Workspace
from webui import views_merge
from webui.figures import esc
from webui.text import t
from webui.views import Snapshot, snapshot

SCRIPT = "<script>alert(1)</script>"
ANSWERS: dict[str, Any] = {
    "computed_in": "float32", "positions": 7, "difference": 0.5, "kl": 0.01, "same": 1.0, "allowed": 0.1,
    "probes": [Probe(prompt=SCRIPT, before=" a", after="\n", difference=0.5, kl=0.01)],
}  # fmt: skip


def numbers(passed: bool = True, places: float | None = 0.5) -> Weights:
    return Weights(tensors=21, changed=14, places=places, passed=passed)


def shot_with(workspace: Workspace, **fields: Any) -> Snapshot:
    run = RunDir.create(workspace.runs_dir, "merge")
    write_text(run.config_json, "{}")
    run.output.mkdir()
    write_record(verification_file(run.output), Verification(**{"dtype": "bfloat16", **fields}))
    return snapshot(run)


def said(lang: str, *keys: str) -> list[str]:
    apart = t("merge.apart_kl", lang, kl="0.01", allowed="0.1", same="100.0 %", difference="0.5")
    sizes = {"tensors": "21", "changed": "14", "others": "7"}
    return [esc(t(key, lang, positions="7", dtype="bfloat16", apart=apart, **sizes)) for key in keys]


def test_the_bound_is_that_of_what_decided(workspace: Workspace) -> None:
    exact = {**ANSWERS, "dtype": "float32", "difference": 1e-5, "allowed": 0.01}
    drawn = views_merge.verification(shot_with(workspace, passed=True, agrees=True, **exact), "en")
    assert "rounding to float32: a single output differs by 1e-5 at most (allowed: 0.01)." in drawn
    scores = {**ANSWERS, "kl": None, "same": None}
    drawn = views_merge.verification(shot_with(workspace, passed=True, agrees=True, **scores), "en")
    assert "a single output differs by 0.5 at most (allowed: 0.1)." in drawn


@pytest.mark.parametrize(
    ("fields", "tone", "keys"),
    [
        ({"passed": True, "weights": numbers(), "agrees": True, **ANSWERS}, "good", ["agrees", "numbers_agree"]),
        ({"passed": False, "weights": numbers(), "agrees": False, **ANSWERS}, "bad", ["disagrees", "numbers_agree"]),
        ({"passed": False, "weights": numbers(False, 3.0), "agrees": True, **ANSWERS}, "bad",
         ["numbers_differ", "agrees"]),
        ({"passed": True, "weights": numbers(), "unasked": "memory"}, "good", ["numbers_agree", "unasked_memory"]),
        ({"passed": True, "weights": numbers(), "unasked": "config"}, "good", ["numbers_agree", "unasked_config"]),
        ({"passed": False, "weights": numbers(False, None), "unasked": "config"}, "bad",
         ["numbers_differ", "unasked_config"]),
        ({"passed": True, "agrees": True, "merging": 1e-6, **ANSWERS}, "good", ["agrees", "was_in_memory"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_proof_of_a_merge(
    workspace: Workspace, fields: dict[str, Any], tone: str, keys: list[str], lang: str
) -> None:
    drawn = views_merge.verification(shot_with(workspace, **fields), lang)
    assert f"notice {tone}" in drawn
    places = [drawn.index(sentence) for sentence in said(lang, *(f"merge.{key}" for key in keys))]
    assert places == sorted(places)  # what decides stands first
    every = {
        "agrees",
        "disagrees",
        "numbers_agree",
        "numbers_differ",
        "unasked_memory",
        "unasked_config",
        "was_in_memory",
    }
    assert not [key for key in every - set(keys) if said(lang, f"merge.{key}")[0] in drawn]
    assert ("14 of 21" in drawn or "14 / 21" in drawn) == ("weights" in fields)
    assert ("␣a" in drawn and "⏎" in drawn) == ("probes" in fields)
    assert "<script>" not in drawn


def test_a_merge_without_a_proof_and_an_older_one(workspace: Workspace) -> None:
    run = RunDir.create(workspace.runs_dir, "merge")
    write_text(run.config_json, "{}")
    assert "chart-empty" in views_merge.verification(snapshot(run), "zh")
    older = (
        '{"computed_in":"float32","dtype":"bfloat16","positions":7,"merging":1e-5,"difference":0.5,"kl":0.01,'
        '"same":1.0,"allowed":0.1,"passed":true,"probes":[]}'
    )
    run.output.mkdir()
    write_text(verification_file(run.output), older)
    assert said("en", "merge.agrees")[0] in views_merge.verification(snapshot(run), "en")
