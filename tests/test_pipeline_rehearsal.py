"""A rehearsal from end to end, on the command line: real runs, handed over, ending in the report and the chat."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from urllib.parse import parse_qs, unquote

import pytest

from core.__main__ import main
from core.configs.sections import Devices
from core.configs.stages import SFTConfig
from core.data.bring.samples import SAMPLES
from core.models.library import find_model
from core.pipeline import rehearsal
from core.pipeline.plan import Step
from core.records_report import TaxReport
from core.rundir import State, state_of
from core.workspace import Workspace

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def own_device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GALEN_LOCK_DIR", str(tmp_path / "locks"))


def test_the_samples_are_rehearsed_with_the_tiny_model(workspace: Workspace, capfd: pytest.CaptureFixture[str]) -> None:
    place = ["--workspace", str(workspace.path), "--json"]
    assert main(["rehearse", "--stages", "sft,reward,ppo,evaluate", *place]) == 0
    told = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert [(run["stage"], run["state"]) for run in told["runs"]] == [
        (stage, "succeeded") for stage in ("sft", "reward", "ppo", "evaluate")
    ]
    sft, reward, ppo, evaluate = (workspace.run(run["id"]) for run in told["runs"])
    assert sft.config()["model"]["base"] == rehearsal.TINY
    assert find_model(workspace, rehearsal.TINY).parameters < 200_000
    manifests = {run.stage: run.manifest() for run in (reward, ppo)}
    assert [manifest.parent for manifest in manifests.values() if manifest is not None] == [sft.id, sft.id]
    assert ppo.config()["rewards"]["models"] == [f"{reward.id}: 1"]
    config = evaluate.config()
    assert config["models"]["runs"] == [rehearsal.TINY, sft.id, ppo.id], "the chain, as it was when it started"
    assert (config["models"]["chain"], config["judging"]["reward"]) == (None, reward.id)
    assert all(run.config()["run"]["after"] == [] for run in (reward, ppo, evaluate))

    report = TaxReport.model_validate(told["report"])
    assert [line.name for line in report.lines] == [rehearsal.TINY, "rehearsal sft", "rehearsal ppo"]
    assert [block.role for block in report.blocks][:2] == ["domain", "general"]
    assert "reward" in report.blocks[1].measures
    assert told["chat"] == f"?tab=chat&panes={rehearsal.TINY},{ppo.id}"

    assert main(["jobs", "list", *place]) == 0
    assert json.loads(capfd.readouterr().out)["runs"] == [], "rehearsals are listed apart"
    assert main(["jobs", "list", "--rehearsals", *place]) == 0
    assert len(json.loads(capfd.readouterr().out)["runs"]) == 4
    assert main(["rehearse", "--delete", *place]) == 0
    assert workspace.runs() == []


def test_a_run_of_many_devices_is_rehearsed_on_one() -> None:
    shared = {"strategy": "fsdp", "hosts": 2, "rendezvous": "10.0.0.1:29500"}
    usual = {"model": {"base": "m"}, "data": {"train": "d"}, "devices": {"use": ["cuda:0"]}}
    config = SFTConfig.model_validate({**usual, "distributed": shared})
    (step,) = rehearsal.limited([Step("sft", "sft", config)])
    assert isinstance(step.config, SFTConfig)
    assert (step.config.distributed.strategy, step.config.distributed.hosts) == ("ddp", 1)
    two = config.model_copy(update={"devices": Devices(use=["cuda:0", "cuda:1"])})
    (step,) = rehearsal.limited([Step("sft", "sft", two)])
    assert isinstance(step.config, SFTConfig)
    assert step.config.distributed.strategy == "fsdp"


def test_the_address_of_the_chat_holds_any_name() -> None:
    names = ("Qwen+med", "/a, b&c#d/模型")
    address = rehearsal.Outcome(base=names[0], tuned=names[1]).chat
    (panes,) = parse_qs(address.removeprefix("?"))["panes"]
    assert tuple(map(unquote, panes.split(","))) == names


@pytest.mark.long
def test_the_whole_chain_is_rehearsed_within_three_minutes(
    workspace: Workspace, capfd: pytest.CaptureFixture[str]
) -> None:
    start = time.monotonic()
    assert main(["rehearse", "--workspace", str(workspace.path), "--json"]) == 0
    seconds = time.monotonic() - start
    told = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert [(run["stage"], run["state"]) for run in told["runs"]] == [
        (stage, "succeeded") for stage in ("pretrain", "sft", "reward", "ppo", "dpo", "merge", "evaluate")
    ]
    pretrain, sft, reward, ppo, dpo, merge, evaluate = (workspace.run(run["id"]) for run in told["runs"])
    starts = [run.config()["model"]["base"] for run in (pretrain, sft, reward, ppo, dpo, merge)]
    assert starts == [rehearsal.TINY, pretrain.id, sft.id, sft.id, sft.id, ppo.id]
    merged = merge.manifest()
    assert merged is not None
    assert (merged.kind, merged.parent) == ("merged", ppo.id)
    assert evaluate.config()["judging"]["reward"] == reward.id

    report = TaxReport.model_validate(told["report"])
    assert [line.name for line in report.lines] == [
        rehearsal.TINY, *(f"rehearsal {stage}" for stage in ("pretrain", "sft", "ppo", "dpo"))
    ]  # fmt: skip
    assert [block.role for block in report.blocks][:2] == ["domain", "general"]
    assert "reward" in report.blocks[1].measures
    assert told["chat"] == f"?tab=chat&panes={rehearsal.TINY},{ppo.id}"
    assert seconds < 180, f"it took {seconds:.0f} s"


def test_a_rehearsal_says_which_stage_fails_and_why(
    workspace: Workspace, tiny_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """No prompt is short enough: PPO finds nothing to ask, and what waits for it is ended."""
    prompts = SAMPLES / "ppo" / "en.jsonl"
    words = ["ppo", f"ppo.data.train={prompts}", "ppo.data.max_length=9", "ppo.rewards.rules=[length low=1 high=9]",
             "ppo.data.bad_rows=drop", "evaluate", f"evaluate.data.prompts={prompts}",
             f"model.base={tiny_model}"]  # fmt: skip
    assert main(["rehearse", "--workspace", str(workspace.path), *words]) == 2
    said = capfd.readouterr()
    assert re.search(r"^ppo +failed ", said.out, re.MULTILINE)
    assert re.search(r"^ppo: \w.+", said.out, re.MULTILINE), "and why"
    runs = {run.stage: run for run in workspace.runs()}
    assert f"Held: it waits for {runs['ppo'].id}, which failed." in said.err
    assert state_of(runs["evaluate"]) is State.STOPPED
    assert "side by side" not in said.out
