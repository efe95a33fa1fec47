"""Hand-over from run to run: what a chain comes to, on plain PEFT, merged, continued, resumed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from core.configs.files import resolve
from core.configs.stages import STAGES
from core.data.encode.tokenizer import load_tokenizer
from core.errors import ConfigError, ModelError, RunError, StopRequested
from core.jobs import store
from core.jobs.locks import take_run
from core.jobs.pinning import pin
from core.models.backbone import load_backbone
from core.models.chain import concatenate, read_adapter
from core.models.changes import merge_into
from core.models.hashes import weight_hashes
from core.models.library import register
from core.models.lineage import base_weights, run_weights
from core.models.loading import load_model
from core.models.parents import check_start, offers, resolve_parent
from core.models.weights import inspect
from core.references import RunRef
from core.rundir import RunDir, read_json, write_text
from core.training.trainer import StageTrainer
from core.workspace import Workspace
from tests.chain_tools import IDS, OTHER, backbone_logits, check_chain, logits, losses, peft_logits, train
from tests.conftest import conversations, write_jsonl
from tests.models_tools import make_run


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "chat.jsonl", conversations(24))


# -- a chain of three -------------------------------------------------------------------------------------------------
def test_a_chain_of_three_is_one_adapter_of_the_root(workspace: Workspace, tiny_model: Path, data: Path) -> None:
    first = train(workspace, tiny_model, data)
    second = train(workspace, first.id, data, *OTHER)
    third = train(workspace, second.id, data, "run.seed=3", "lora.rank=4")
    manifests = [run.manifest() for run in (first, second, third)]
    assert [manifest.adapter_root for manifest in manifests] == ["adapter", "adapter-root", "adapter-root"]
    assert [link.run for link in manifests[2].chain] == [first.id, second.id]
    assert [link.scaling for link in manifests[2].chain] == [2.0, 5 / 3]
    assert (manifests[2].parent, manifests[2].parent_adapter) == (second.id, "merged")
    assert manifests[0].parent is None
    for run in (second, third):
        check_chain(workspace, run)
    # each has trained on what the one before it delivered, and its name says so
    parents = [resolve_parent(workspace, run.id) for run in (first, second)]
    assert [parent.backbone_id for parent in parents] == [manifest.backbone_id for manifest in manifests[1:]]
    assert len({manifest.backbone_id for manifest in manifests}) == 3
    config = read_json(third.output / "adapter-root" / "adapter_config.json")
    assert config["base_model_name_or_path"] == str(tiny_model)
    named = read_json(third.output / "adapter" / "adapter_config.json")["base_model_name_or_path"]
    assert named == f"backbone-{manifests[2].backbone_id[:16]}"  # the stage's own adapter belongs on no root


def test_a_child_begins_where_its_parent_ended(workspace: Workspace, tiny_model: Path, data: Path) -> None:
    """A new adapter adds nothing yet: the first loss on the backbone is the parent's loss on the same rows."""
    words = ("schedule.max_steps=1", "schedule.batch_size=24", "optim.learning_rate=1e-9")
    parent = train(workspace, tiny_model, data, "schedule.max_steps=8")
    child = train(workspace, parent.id, data, *words)
    continued = train(workspace, parent.id, data, *words, "lora.start=continue")
    untouched = train(workspace, tiny_model, data, *words)
    assert losses(child)[0] == pytest.approx(losses(continued)[0], abs=1e-4)
    assert losses(child)[0] < losses(untouched)[0] - 0.1


def test_a_backbone_in_sixteen_bits_is_rounded_once(
    workspace: Workspace, tiny_model: Path, data: Path, tmp_path: Path
) -> None:
    """Whatever the root's files are in: the sum is made in fp32, and only then cast."""
    for kept in (torch.float32, torch.bfloat16):
        root = tmp_path / str(kept)
        load_model(tiny_model, dtype=kept, device="cpu").save_pretrained(root)
        load_tokenizer(tiny_model).save_pretrained(root)
        run = train(workspace, root, data)
        parent = resolve_parent(workspace, run.id)
        exact = load_backbone(parent, dtype=torch.float32, device="cpu").state_dict()
        rounded = load_backbone(parent, dtype=torch.bfloat16, device="cpu").state_dict()
        assert all(torch.equal(exact[name].bfloat16(), tensor) for name, tensor in rounded.items())


def test_a_chain_needs_only_its_newest_run(workspace: Workspace, tiny_model: Path, data: Path) -> None:
    """What a run delivered holds its whole chain: the runs beneath it may be deleted."""
    first = train(workspace, tiny_model, data)
    second = train(workspace, first.id, data, *OTHER)
    before = backbone_logits(workspace, second.id)
    first.path.rename(workspace.path / "elsewhere")
    assert torch.equal(backbone_logits(workspace, second.id), before)
    train(workspace, second.id, data)
    with pytest.raises(ModelError, match=first.id):  # its adapter alone has nothing to stand on any more
        resolve_parent(workspace, second.id, go_on=True)
    assert second.complete_checkpoints()
    with pytest.raises(ModelError, match=first.id):
        resolve_parent(workspace, f"{second.id}:last")


# -- continuing -------------------------------------------------------------------------------------------------------
def test_continuing_trains_the_same_adapter(workspace: Workspace, tiny_model: Path, data: Path) -> None:
    first = train(workspace, tiny_model, data, *OTHER)
    second = train(workspace, first.id, data, "lora.start=continue", "lora.rank=16", "optim.learning_rate=1e-3")
    manifest = second.manifest()
    assert manifest is not None
    assert (manifest.parent, manifest.parent_adapter, manifest.chain) == (first.id, "continued", [])
    assert manifest.adapter_root == manifest.adapter_stage == "adapter"
    assert manifest.backbone_id == first.manifest().backbone_id
    old, new = (read_adapter(run.output / "adapter") for run in (first, second))
    assert old.keys() == new.keys()  # its own targets and rank, whatever the new config says
    assert {factors.a.shape[0] for factors in new.values()} == {3}
    assert all(0 < (new[name].a - old[name].a).abs().max() < 0.01 for name in old)
    # a link in the middle of a chain can be continued, too
    third = train(workspace, second.id, data)
    fourth = train(workspace, third.id, data, "lora.start=continue")
    assert [link.run for link in fourth.manifest().chain] == [second.id]
    check_chain(workspace, fourth)
    fifth = train(workspace, fourth.id, data, "lora.start=continue")
    assert fifth.manifest().chain == fourth.manifest().chain
    check_chain(workspace, fifth)


def test_what_cannot_be_continued_says_so(workspace: Workspace, tiny_model: Path, data: Path) -> None:
    whole = train(workspace, tiny_model, data, "tuning.method=full", "schedule.max_steps=1")
    for base in (str(tiny_model), whole.id):
        with pytest.raises(ModelError, match=r"lora\.start=new"):
            train(workspace, base, data, "lora.start=continue")
    with pytest.raises(ConfigError) as error:
        resolve("sft", overrides=["model.base=x", "data.train=y", "tuning.method=full", "lora.start=continue",
                                  "quantization.kind=nf4"])  # fmt: skip
    assert {problem.key for problem in error.value.problems} == {"lora.start", "quantization.kind"}


# -- whole models in a chain ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("words", [("tuning.method=full",), ("tuning.method=freeze", "tuning.trainable_layers=1")])
def test_a_whole_model_in_the_middle_is_a_new_root(
    workspace: Workspace, tiny_model: Path, data: Path, words: tuple[str, ...]
) -> None:
    first = train(workspace, tiny_model, data)
    middle = train(workspace, first.id, data, *words, "optim.learning_rate=1e-3")
    manifest = middle.manifest()
    assert manifest is not None
    assert (manifest.kind, manifest.parent, manifest.parent_adapter) == ("model", first.id, "merged")
    assert [link.run for link in manifest.chain] == [first.id]
    folder = middle.output / "model"
    assert (backbone_logits(workspace, middle.id) - backbone_logits(workspace, first.id)).abs().max() > 1e-3
    last = train(workspace, middle.id, data)
    parent = resolve_parent(workspace, last.id)
    assert (parent.folder, [link.run for link in parent.chain]) == (folder, [last.id])
    assert last.manifest().backbone_id == manifest.backbone_id
    after = train(workspace, last.id, data, *OTHER)
    check_chain(workspace, after)


def test_trained_embeddings_make_a_whole_model(workspace: Workspace, tiny_model: Path, data: Path) -> None:
    """New rows of the embeddings are no product of factors: the run writes a model, and is its own root."""
    first = train(workspace, tiny_model, data)
    run = train(workspace, first.id, data, "lora.embeddings=yes", "optim.optimizer=adamw_8bit", *OTHER)
    manifest = run.manifest()
    assert (manifest.kind, manifest.adapter_root, manifest.model_folder) == ("model", None, "model")
    before, after = (load_file(folder / "model.safetensors") for folder in (tiny_model, run.output / "model"))
    assert set(before) == set(after)  # the tied head stays tied
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert {"model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight"} <= moved
    # the checkpoint, laid on the backbone as plain PEFT does it, is what was written
    from peft import PeftModel

    backbone = load_backbone(resolve_parent(workspace, first.id), dtype=torch.float32, device="cpu")
    laid = PeftModel.from_pretrained(backbone, str(run.output / "adapter"))
    assert (logits(laid) - backbone_logits(workspace, run.id)).abs().max() < 1e-4
    resumed = train(workspace, first.id, data, "lora.embeddings=yes", "optim.optimizer=adamw_8bit", *OTHER, run=run)
    assert resumed.manifest().backbone_id == manifest.backbone_id
    assert train(workspace, run.id, data).manifest().kind == "adapter"


def test_a_grown_vocabulary_trains_its_embeddings_by_itself(workspace: Workspace, tiny_model: Path, data: Path) -> None:
    grown = train(workspace, tiny_model, data, "tuning.method=full", "schedule.max_steps=1")
    named = workspace.runs_dir / grown.id.replace("sft-", "vocabulary-")
    grown.path.rename(named)  # a model folder made by the stage vocabulary
    run = train(workspace, named.name, data)
    assert run.manifest().model_folder == "model"
    assert train(workspace, named.name, data, "lora.embeddings=no").manifest().adapter_root == "adapter"
    assert train(workspace, run.id, data).manifest().adapter_root == "adapter"  # they have been trained by now


# -- resuming, checkpoints, serving -----------------------------------------------------------------------------------
@pytest.mark.parametrize("words", [("quantization.kind=nf4",), ("lora.start=continue",), ("lora.embeddings=yes",)])
def test_a_resumed_link_equals_an_uninterrupted_one(
    workspace: Workspace, tiny_model: Path, data: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    words = (*words, "schedule.max_steps=5", "lora.dropout=0.1")
    first = train(workspace, tiny_model, data)
    whole = train(workspace, first.id, data, *words)
    run = RunDir.create(workspace.runs_dir, "sft")
    monkeypatch.setattr(StageTrainer, "agreed_to_stop", lambda self: self.state.global_step == 2)
    with pytest.raises(StopRequested):
        train(workspace, first.id, data, *words, run=run)
    monkeypatch.undo()
    train(workspace, first.id, data, *words, run=run)
    assert losses(run) == losses(whole)
    assert run.manifest().backbone_id == whole.manifest().backbone_id
    one, other = (weight_hashes(each.output / "adapter") for each in (run, whole))
    assert one == other


def test_checkpoints_of_a_chained_run_can_be_served_and_started_from(
    workspace: Workspace, tiny_model: Path, data: Path
) -> None:
    from core.serving.registry import Registry

    first = train(workspace, tiny_model, data)
    second = train(workspace, first.id, data, "saving.steps=1", *OTHER)
    early = f"{second.id}:step-1"
    registry = Registry(base_weights(workspace, str(tiny_model)), dtype=torch.float32, device="cpu")
    for text in (early, f"{second.id}:last", second.id):
        weights = run_weights(workspace, RunRef.parse(text))
        assert len(weights.below) == (0 if text == second.id else 1)
        served = registry.add(weights)
        said = served.body.forward(IDS.tolist(), [served.adapter], served.body.state())
        assert (said - backbone_logits(workspace, text)[:, -1]).abs().max() < 1e-4
    child = train(workspace, early, data)
    assert [link.run for link in child.manifest().chain] == [first.id, second.id]
    check_chain(workspace, child)


# -- what may be started from -----------------------------------------------------------------------------------------
def test_offers_say_what_cannot_be_and_why(workspace: Workspace, tiny_model: Path, data: Path) -> None:
    adapter = train(workspace, tiny_model, data, "run.name=fever")
    whole = train(workspace, tiny_model, data, "tuning.method=full", "schedule.max_steps=1")
    unfinished = RunDir.create(workspace.runs_dir, "sft")
    write_text(unfinished.config_json, "{}")
    reward = train(workspace, tiny_model, data, "schedule.max_steps=1")
    manifest = json.loads(reward.manifest_file.read_text())
    write_text(reward.manifest_file, json.dumps({**manifest, "kind": "reward"}))
    imported = RunDir.create(workspace.runs_dir, "import")
    write_text(imported.config_json, "{}")

    def codes(stage: str) -> dict[str, str]:
        return {offer.value: "" if offer.reason is None else offer.reason.code for offer in offers(workspace, stage)}

    assert codes("sft") == {
        reward.id: "parent.scores_only", unfinished.id: "parent.undelivered", whole.id: "", adapter.id: "",
    }  # fmt: skip
    assert codes("score")[adapter.id] == "parent.scores_nothing"
    assert codes("score")[reward.id] == ""
    assert (codes("merge")[whole.id], codes("merge")[adapter.id]) == ("parent.nothing_to_merge", "")
    assert {offer.name for offer in offers(workspace, "sft") if offer.legal} >= {"fever"}
    for offer in offers(workspace, "reward"):
        assert offer.legal == (offer.reason is None)
        if not offer.legal:
            assert offer.value in offer.reason.message
            with pytest.raises(ModelError) as error:
                check_start(workspace, "reward", offer.value)
            assert error.value.code == offer.reason.code
    assert check_start(workspace, "sft", "fever") == adapter.id
    assert check_start(workspace, "sft", "fever:last") == f"{adapter.id}:last"


def test_a_moved_workspace_offers_its_runs(workspace: Workspace, tiny_model: Path, tmp_path: Path) -> None:
    workspace.models_dir.mkdir(parents=True, exist_ok=True)
    card = register(workspace, tiny_model, "tiny", source="own/tiny", weights=weight_hashes(tiny_model))
    run = make_run(workspace, card.folder(workspace))
    moved = Workspace(workspace.path.rename(tmp_path / "elsewhere"))
    assert [offer.reason for offer in offers(moved, "sft") if offer.value == run.id] == [None]
    assert check_start(moved, "sft", run.id) == run.id
    assert resolve_parent(moved, run.id).folder.is_relative_to(moved.path)


def test_a_start_is_pinned_to_the_run_it_means(workspace: Workspace, tiny_model: Path, data: Path) -> None:
    run = train(workspace, tiny_model, data, "run.name=fever")
    words = [f"data.train={data}", "devices.use=[cpu]"]
    config = pin(workspace, STAGES["sft"], resolve("sft", overrides=["model.base=fever", *words]))
    assert config.model.base == run.id
    assert config.run.name == "tiny-llama sft chat"  # named after the model at the bottom
    with pytest.raises(ConfigError) as error:
        pin(
            workspace,
            STAGES["sft"],
            resolve("sft", overrides=[f"model.base={tiny_model}", "lora.start=continue", *words]),
        )
    assert [(problem.key, problem.code) for problem in error.value.problems] == [
        ("model.base", "parent.nothing_to_continue")
    ]


def test_a_run_that_a_live_one_starts_from_is_not_deleted(workspace: Workspace, tiny_model: Path) -> None:
    parent = make_run(workspace, tiny_model)
    child = RunDir.create(workspace.runs_dir, "sft")
    write_text(child.config_json, json.dumps({"model": {"base": f"{parent.id}:last"}}))
    lock = take_run(child)
    assert lock is not None
    with pytest.raises(RunError, match=child.id):
        store.delete(workspace, parent)
    os.close(lock)
    store.delete(workspace, parent)
    assert not parent.path.exists()


# -- adapters that other tools made -----------------------------------------------------------------------------------
def test_only_plain_lora_is_joined(tmp_path: Path, tiny_model: Path) -> None:
    from peft import LoraConfig, get_peft_model

    def made(name: str, **settings: object) -> Path:
        config = LoraConfig(**{"r": 4, "target_modules": ["q_proj"], "init_lora_weights": False, **settings})
        model = load_model(tiny_model, dtype=torch.float32, device="cpu")
        get_peft_model(model, config).save_pretrained(tmp_path / name)
        return tmp_path / name

    odd = [made("dora", use_dora=True), made("bias", bias="lora_only"), made("whole", modules_to_save=["lm_head"])]
    for folder in odd:
        with pytest.raises(ModelError, match="plain LoRA"):
            read_adapter(folder)
    # what is plain all the same: √rank scaling, ranks and scales by layer, targets by pattern
    fancy = made("fancy", use_rslora=True, target_modules=r".*layers\.1\.(self_attn\.[qv]_proj|mlp\.up_proj)",
                 rank_pattern={"up_proj": 2}, alpha_pattern={"v_proj": 3})  # fmt: skip
    concatenate([fancy, made("plain", target_modules=["q_proj", "lm_head"])], tmp_path / "both", base=str(tiny_model))
    merged = load_model(tiny_model, dtype=torch.float32, device="cpu")
    merge_into(merged, [fancy, tmp_path / "plain"])
    assert (logits(merged) - peft_logits(tiny_model, tmp_path / "both")).abs().max() < 1e-4
    # the head was tied to the embeddings; with an adapter of its own it is not any more, on disk neither
    merged.save_pretrained(tmp_path / "written")
    again = load_model(tmp_path / "written", dtype=torch.float32, device="cpu")
    assert torch.equal(logits(again), logits(merged))
    assert inspect(tmp_path / "written").parameters > inspect(tiny_model).parameters
