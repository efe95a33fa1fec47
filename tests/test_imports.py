"""Adapters, differences and published checkpoints brought in by a fetch run, and offered where runs and models are."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from core.children import run_child
from core.cli import model_convert
from core.configs.files import resolve
from core.configs.stages import STAGES
from core.errors import ConfigError, GalenError, ModelError
from core.jobs import store
from core.jobs.pinning import pin
from core.models import disk_use, library
from core.models.card import model_card
from core.models.chain import PREFIX, read_adapter
from core.models.families import check_type
from core.models.library import find_model, read_card, write_card
from core.models.lineage import run_weights
from core.models.loading import load_model
from core.models.looking import looked_at
from core.models.parents import check_start, offers, resolve_parent
from core.models.sources import DIFFERENCE, Source, base_of, holds_adapter, is_difference
from core.models.weights import ADAPTER, ADAPTER_CONFIG, check_folder, weight_files
from core.recipes import fetch, merge
from core.references import RunRef
from core.report import Report, RunContext
from core.rundir import RunDir, write_json
from core.system import folder_size
from core.workspace import Workspace
from tests.models_tools import local_hub, make_adapter
from tests.test_conversions import baichuan, chatglm2, publish
from webui import views
from webui.app import App

IDS = torch.tensor([[1, 2, 3, 4, 5, 6]])


def bring(workspace: Workspace, source: Path | str, **settings: Any) -> RunDir:
    """Run `fetch` as a submitted run would be run, its config pinned."""
    values = {"model.source": str(source), **{f"model.{key}": value for key, value in settings.items()}}
    config = pin(workspace, STAGES["fetch"], resolve("fetch", values=values, workspace=workspace))
    run = RunDir.create(workspace.runs_dir, "fetch")
    write_json(run.config_json, config.model_dump(mode="json"))
    fetch.main(RunContext(run, workspace, config, Report(run)))
    return run


@pytest.fixture
def base(workspace: Workspace, tiny_model: Path) -> Path:
    """The tiny model as `tiny` in the workspace, from the hub id own/tiny."""
    (workspace.models_dir / "tiny").mkdir()
    card = library.describe(tiny_model, "tiny", "folder", str(tiny_model), weights=[], points_to=str(tiny_model), origin="own/tiny")  # fmt: skip  # noqa: E501
    library.write_card(workspace.models_dir / "tiny", card)
    return tiny_model


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Path:
    folder = make_adapter(base, tmp_path / "ziya-medical-lora")
    change(folder, base_model_name_or_path="/root/autodl/models/tiny")
    return folder


def change(folder: Path, **values: Any) -> None:
    config = json.loads((folder / ADAPTER_CONFIG).read_text()) | values
    (folder / ADAPTER_CONFIG).write_text(json.dumps(config))


def as_bin(folder: Path, **renamed: str) -> None:
    """The adapter as PEFT wrote it in 2023: a `.bin` file."""
    tensors = load_file(folder / ADAPTER)
    torch.save({renamed.get(name, name): tensor for name, tensor in tensors.items()}, folder / "adapter_model.bin")
    (folder / ADAPTER).unlink()


def logits(base: Path, adapter: Path) -> torch.Tensor:
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(adapter)).eval()
    with torch.no_grad():
        return model(IDS).logits


# -- adapters ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("form", ["safetensors", "bin", "named"])
def test_an_adapter_becomes_a_run(workspace: Workspace, base: Path, adapter: Path, form: str, tmp_path: Path) -> None:
    expected = logits(base, adapter)
    if form == "bin":
        as_bin(adapter)
    if form == "named":  # as some scripts wrote it: with the adapter's name in each tensor's
        names = load_file(adapter / ADAPTER)
        as_bin(adapter, **{name: name.replace(".weight", ".default.weight") for name in names})
    run = bring(workspace, adapter)
    made = run.output / "adapter"
    torch.testing.assert_close(logits(base, made), expected)
    manifest = run.manifest()
    assert manifest is not None
    assert (manifest.kind, manifest.name, manifest.adapter_root) == ("adapter", "ziya-medical-lora", "adapter")
    assert run.config()["model"]["base"] == "tiny"
    assert resolve_parent(workspace, "ziya-medical-lora").adapters == (made,)
    for stage in ("sft", "reward", "ppo", "merge", "evaluate"):
        offer = next(offer for offer in offers(workspace, stage) if offer.value == run.id)
        assert offer.legal, stage
        check_start(workspace, stage, run.id)
    weights = run_weights(workspace, RunRef(run=run.id))
    assert weights.adapter == made
    assert library.dependents(workspace, "tiny") == [run.id]


def test_an_imported_adapter_is_merged(workspace: Workspace, base: Path, adapter: Path) -> None:
    run = bring(workspace, adapter)
    config = pin(workspace, STAGES["merge"], resolve("merge", values={"model.base": run.id}, workspace=workspace))
    merged = RunDir.create(workspace.runs_dir, "merge")
    merge.main(RunContext(merged, workspace, config, Report(merged)))
    model = AutoModelForCausalLM.from_pretrained(merged.output / "model").eval()
    with torch.no_grad():
        torch.testing.assert_close(model(IDS).logits, logits(base, adapter), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("written", "expected"), [({}, 16 / 4), ({"use_rslora": True}, 16 / 2), ({"lora_alpha": None}, 8 / 4)]
)
def test_the_scaling_that_is_shown_is_the_one_that_counts(
    workspace: Workspace, base: Path, adapter: Path, written: dict[str, Any], expected: float
) -> None:
    change(adapter, **written)
    if written.get("lora_alpha", 0) is None:
        config = json.loads((adapter / ADAPTER_CONFIG).read_text())
        del config["lora_alpha"]
        (adapter / ADAPTER_CONFIG).write_text(json.dumps(config))
    run = bring(workspace, adapter)
    assert [link.scaling for link in resolve_parent(workspace, run.id).chain] == [expected]
    assert {factors.scaling for factors in read_adapter(run.output / "adapter").values()} == {expected}


def test_the_tokenizer_that_came_with_it_counts(workspace: Workspace, base: Path, adapter: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = "{{ 'own' }}"
    tokenizer.save_pretrained(adapter)
    run = bring(workspace, adapter)
    assert AutoTokenizer.from_pretrained(run.output / "adapter").chat_template == "{{ 'own' }}"
    tokenizer.add_tokens([f"词{number}" for number in range(20)])
    tokenizer.save_pretrained(adapter)
    refused(workspace, adapter, "adapter.tokens")


def test_what_is_left_of_an_old_tokenizer_beside_it_is_converted(
    workspace: Workspace, base: Path, adapter: Path
) -> None:
    corpus = adapter.parent / "corpus.txt"
    corpus.write_text("ba be bi bo bu\nda de di do du\n" * 50)
    SentencePieceTrainer.train(
        input=str(corpus), model_prefix=str(adapter / "tokenizer"), vocab_size=24, model_type="bpe", minloglevel=2
    )
    (adapter / "tokenizer_config.json").write_text(json.dumps({"auto_map": {"AutoTokenizer": ["own.Own", None]}}))
    run = bring(workspace, adapter)
    made = AutoTokenizer.from_pretrained(run.output / "adapter")
    judge = SentencePieceProcessor(model_file=str(adapter / "tokenizer.model"))
    assert made("ba  du", add_special_tokens=False)["input_ids"] == judge.encode("ba  du")


def test_a_card_says_whose_work_it_is(workspace: Workspace, base: Path, adapter: Path) -> None:
    card = model_card(workspace, bring(workspace, adapter))
    assert "the adapter ziya-medical-lora, whose licence is not known here, which others have trained" in card
    assert "Trained by" not in card
    assert str(adapter) not in card


def test_nobody_relicenses_what_others_have_trained(workspace: Workspace, base: Path, adapter: Path) -> None:
    card = read_card(workspace, "tiny")
    assert card is not None
    write_card(workspace.models_dir / "tiny", card.model_copy(update={"licence": "apache-2.0"}))
    unknown = bring(workspace, adapter)
    (adapter / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n# x\n")
    known = bring(workspace, adapter)
    text = model_card(workspace, unknown)
    assert "license:" not in text.split("---")[1]
    assert "No licence is named at the top" in text
    text = model_card(workspace, known)
    assert "license: cc-by-nc-4.0\n" in text.split("---")[1]
    assert "No licence is named" not in text
    config = pin(workspace, STAGES["merge"], resolve("merge", values={"model.base": known.id}, workspace=workspace))
    merged = RunDir.create(workspace.runs_dir, "merge")
    merge.main(RunContext(merged, workspace, config, Report(merged)))
    text = model_card(workspace, merged)  # the base's weights are in it as well
    assert "license:" not in text.split("---")[1]
    assert "tiny: apache-2.0; ziya-medical-lora: cc-by-nc-4.0" in text


@pytest.mark.parametrize(("stabilised", "scaling"), [(False, "scaling 4 (alpha / rank)"), (True, "scaling 8 (rank-")])
def test_what_an_adapter_is_scaled_by_is_told(
    workspace: Workspace, base: Path, adapter: Path, stabilised: bool, scaling: str
) -> None:
    change(adapter, use_rslora=stabilised)
    run = bring(workspace, adapter)
    said = model_card(workspace, run)
    assert f"rank 4, alpha 16, {scaling}" in said
    shown = views.result(views.snapshot(run), "en")
    assert "rank 4, alpha 16, scaling " in shown
    assert "q_proj" in shown
    assert ("rank-stabilised" in shown) == stabilised


def test_a_base_that_is_published_in_another_form_has_no_id(workspace: Workspace, tmp_path: Path) -> None:
    config, weights = baichuan(False)
    bring(workspace, publish(tmp_path / "Baichuan-7B", config, weights))
    folder = find_model(workspace, "Baichuan-7B").folder(workspace)
    run = bring(workspace, make_adapter(folder, tmp_path / "lora"), base="Baichuan-7B")
    card = model_card(workspace, run)
    assert "converted by Galen to the class LlamaForCausalLM" in card
    assert "has no id on Hugging Face" in card


def test_a_reward_adapter_keeps_its_head(workspace: Workspace, base: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = LoraConfig(r=4, target_modules=["q_proj"], task_type="SEQ_CLS", init_lora_weights=False)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    get_peft_model(model, config).save_pretrained(tmp_path / "rm")
    change(tmp_path / "rm", base_model_name_or_path="own/tiny")
    head = next(tensor for name, tensor in load_file(tmp_path / "rm" / ADAPTER).items() if "score" in name)
    run = bring(workspace, tmp_path / "rm")
    manifest = run.manifest()
    assert manifest is not None
    assert manifest.kind == "reward"
    torch.testing.assert_close(load_file(run.output / "adapter" / ADAPTER)[f"{PREFIX}score.weight"], head)
    check_start(workspace, "score", run.id)
    with pytest.raises(ModelError) as error:
        check_start(workspace, "sft", run.id)
    assert error.value.code == "parent.scores_only"


def test_a_value_head_beside_the_adapter_is_a_reward_model(workspace: Workspace, base: Path, adapter: Path) -> None:
    width = json.loads((base / "config.json").read_text())["hidden_size"]
    head = torch.randn(1, width)
    save_file({"v_head.summary.weight": head, "v_head.summary.bias": torch.ones(1)}, adapter / "value_head.safetensors")
    run = bring(workspace, adapter)
    assert run.manifest().kind == "reward"  # type: ignore[union-attr]
    torch.testing.assert_close(load_file(run.output / "adapter" / ADAPTER)[f"{PREFIX}score.weight"], head)


@pytest.mark.parametrize(
    "settings",
    [
        {"modules_to_save": ["embed_tokens", "lm_head"]},
        {"modules_to_save": ["embed_tokens"]},  # the tiny model ties it to the head, which stays what it was
        {"modules_to_save": ["norm"], "bias": "all"},
        {"target_modules": ["q_proj", "embed_tokens"]},
        {"target_modules": ["embed_tokens"], "ensure_weight_tying": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("named", [False, True])
def test_an_adapter_with_more_than_factors_becomes_a_model(
    workspace: Workspace, base: Path, tmp_path: Path, settings: dict[str, Any], named: bool
) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    made = {"r": 4, "target_modules": ["q_proj", "v_proj"], "init_lora_weights": False, **settings}
    tuned = get_peft_model(model, LoraConfig(**made))
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if parameter.requires_grad and "lora_" not in name:
                parameter.mul_(1.5)
    tuned.save_pretrained(tmp_path / "pt-lora")
    if named:  # as some scripts wrote it
        file = tmp_path / "pt-lora" / ADAPTER
        tensors = {re.sub(r"(lora_embedding_[AB])$", r"\1.default", name): t for name, t in load_file(file).items()}
        save_file({re.sub(r"(lora_[AB])\.", r"\1.default.", name): t for name, t in tensors.items()}, file)
    with torch.no_grad():
        expected = tuned.eval()(IDS).logits
    run = bring(workspace, tmp_path / "pt-lora", base="tiny")
    manifest = run.manifest()
    assert manifest is not None
    assert (manifest.kind, manifest.adapter_root, manifest.model_folder) == ("model", None, "model")
    whole = AutoModelForCausalLM.from_pretrained(run.output / "model").eval()
    with torch.no_grad():
        torch.testing.assert_close(whole(IDS).logits, expected, atol=1e-4, rtol=1e-4)
    check_folder(run.output / "model")
    check_start(workspace, "sft", run.id)


def test_from_a_hub(workspace: Workspace, base: Path, adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_bin(adapter)
    with local_hub(adapter) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        run = bring(workspace, "own/tiny", folder="from hub")
    assert library.dependents(workspace, "tiny") == [run.id]  # which base it is was not known when it was asked for
    manifest = run.manifest()
    assert manifest is not None
    assert manifest.origin == {"source": "own/tiny", "commit": "c" * 40, "licence": "mit"}
    assert resolve_parent(workspace, "from hub").adapters == (run.output / "adapter",)
    assert not (workspace.cache_dir / "downloads" / "own--tiny").exists()


# -- adapters that cannot be used -------------------------------------------------------------------------------------
def refused(workspace: Workspace, folder: Path, code: str, **settings: Any) -> GalenError:
    with pytest.raises(GalenError) as error:
        bring(workspace, folder, **settings)
    codes = [error.value.code, *(problem.code for problem in error.value.problems)]
    assert code in codes, str(error.value)
    assert [run for run in workspace.runs() if run.output.exists() and run.manifest() is None] == []
    return error.value


def test_bases_that_do_not_fit(workspace: Workspace, base: Path, adapter: Path, tmp_path: Path) -> None:
    change(adapter, base_model_name_or_path="meta-llama/Llama-2-7b-hf")
    assert "meta-llama/Llama-2-7b-hf" in str(refused(workspace, adapter, "adapter.base_unknown"))
    tensors = load_file(adapter / ADAPTER)
    for code, wrong in (
        ("adapter.no_layer", {name.replace("layers.0", "layers.40"): tensor for name, tensor in tensors.items()}),
        ("adapter.other_shape", {n: torch.cat([t, t], 1) if "lora_A" in n else t for n, t in tensors.items()}),
        ("adapter.vocabulary", {**tensors, f"{PREFIX}model.embed_tokens.weight": torch.zeros(49953, 64)}),
        ("adapter.torn", {name: tensor for name, tensor in tensors.items() if "lora_B" not in name}),
        ("adapter.torn", {n: t[:2] if "lora_A" in n else t for n, t in tensors.items()}),
        (
            "chain.not_plain",
            {
                **tensors,
                f"{PREFIX}score.weight": torch.zeros(1, 64),
                f"{PREFIX}model.embed_tokens.weight": torch.zeros(9, 64),
            },
        ),
        ("adapter.head", {**tensors, f"{PREFIX}score.weight": torch.zeros(3, 64)}),
    ):
        save_file(wrong, adapter / ADAPTER)
        error = refused(workspace, adapter, code, base="tiny")
        assert error.remedy
    run_of = make_adapter(base, tmp_path / "second")
    first = bring(workspace, run_of, base="tiny")
    refused(workspace, adapter, "adapter.base_chain", base=first.id)


def test_adapters_of_another_make(workspace: Workspace, base: Path, adapter: Path) -> None:
    for code, values in (("adapter.kind", {"peft_type": "PROMPT_TUNING"}), ("chain.not_plain", {"use_dora": True})):
        before = (adapter / ADAPTER_CONFIG).read_text()
        change(adapter, **values)
        refused(workspace, adapter, code)
        (adapter / ADAPTER_CONFIG).write_text(before)
    (adapter / ADAPTER).unlink()
    refused(workspace, adapter, "adapter.torn")


@pytest.mark.parametrize(
    ("key", "value"),
    [("r", 0), ("lora_alpha", "x"), ("rank_pattern", "x"),
     *(pytest.param(key, value, marks=pytest.mark.long) for key, value in (
         ("r", "four"), ("r", None), ("r", 8), ("lora_alpha", 1e9), ("alpha_pattern", {"q_proj": "x"})))],
)  # fmt: skip
def test_values_that_cannot_be_reckoned_with(
    workspace: Workspace, base: Path, adapter: Path, key: str, value: Any
) -> None:
    change(adapter, **{key: value})
    refused(workspace, adapter, "adapter.torn")


def test_what_peft_would_read_otherwise(workspace: Workspace, base: Path, adapter: Path) -> None:
    change(adapter, init_lora_weights="pissa")
    assert "pissa" in str(refused(workspace, adapter, "chain.not_plain"))
    config = json.loads((adapter / ADAPTER_CONFIG).read_text())
    del config["lora_alpha"], config["init_lora_weights"]
    (adapter / ADAPTER_CONFIG).write_text(json.dumps({**config, "megatron_core": "x", "unheard_of": 1}))
    expected = logits(base, adapter)
    run = bring(workspace, adapter)
    torch.testing.assert_close(logits(base, run.output / "adapter"), expected)
    assert json.loads((run.output / "adapter" / ADAPTER_CONFIG).read_text())["lora_alpha"] == 8
    (adapter / ADAPTER_CONFIG).write_text("[]")
    refused(workspace, adapter, "adapter.torn")


class _Evil:
    def __reduce__(self) -> tuple:
        return (os.mkdir, ("hacked",))


def test_a_pickle_that_runs_code_is_refused_by_name(workspace: Workspace, base: Path, adapter: Path) -> None:
    (adapter / ADAPTER).unlink()
    torch.save({"a": torch.zeros(1), "b": _Evil()}, adapter / "adapter_model.bin")
    assert "posix.mkdir" in str(refused(workspace, adapter, "model.bin_refused"))
    assert not Path("hacked").exists()


def test_a_base_is_found_by_the_last_part_of_its_name_only_when_that_is_one(
    workspace: Workspace, base: Path, adapter: Path
) -> None:
    assert holds_adapter(adapter)
    assert base_of(workspace, adapter, None) == "tiny"
    change(adapter, base_model_name_or_path="own/tiny")
    assert base_of(workspace, adapter, None) == "tiny"
    change(adapter, base_model_name_or_path="")
    with pytest.raises(ModelError):
        base_of(workspace, adapter, None)


# -- published checkpoints --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("make", [lambda: baichuan(True), chatglm2], ids=["Baichuan2-7B", "ChatGLM2-6B"])
def test_a_published_checkpoint_is_converted_on_the_way_in(workspace: Workspace, make: Any, tmp_path: Path) -> None:
    config, weights = make()
    source = publish(tmp_path / "published", config, weights)
    bring(workspace, source, folder="native")
    card = find_model(workspace, "native")
    assert card.converted is not None
    assert card.points_to is None
    folder = card.folder(workspace)
    assert not list(folder.glob("*.py"))
    assert not list(folder.glob("*.bin*"))
    AutoModelForCausalLM.from_pretrained(folder)
    check_start(workspace, "sft", "native")
    check_type(folder, config["model_type"])  # what it was published as
    check_type(folder, json.loads((folder / "config.json").read_text())["model_type"])
    with pytest.raises(ModelError):
        check_type(folder, "bloom")
    with pytest.raises(ModelError) as error:
        load_model(source, dtype=torch.float32, device="cpu")
    assert error.value.code in ("model.published", "model.load_failed")


def test_a_conversion_that_breaks_off_leaves_nothing(workspace: Workspace, tmp_path: Path) -> None:
    config, weights = baichuan(False)
    source = publish(tmp_path / "published", config, weights)
    (source / "pytorch_model-00002-of-00002.bin").write_bytes(b"")
    refused(workspace, source, "model.bin_unreadable")
    assert list(workspace.models_dir.iterdir()) == []
    assert list((workspace.cache_dir / "models").iterdir()) == []


def test_a_disk_that_fills_leaves_nothing(workspace: Workspace, base: Path, tmp_path: Path) -> None:
    """The child's own limit on file sizes stands for a full disk: the write fails in the middle all the same."""
    config, weights = baichuan(False)
    source, target = publish(tmp_path / "published", config, weights), tmp_path / "target"
    target.mkdir()
    limited = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)); import signal; "
    limited += "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); from core.models.convert import main; "
    code = f"{limited}sys.exit(main(['native', {str(source)!r}, {str(target)!r}]))"
    ended = run_child([sys.executable, "-c", code], check_stop=lambda: None)
    with pytest.raises(ModelError) as error:
        ended.raise_error(ModelError)
    assert error.value.code == "disk.filled"
    assert not list(target.glob("*.safetensors"))


# -- folders that are not whole ---------------------------------------------------------------------------------------
def test_shards_and_shapes(workspace: Workspace, base: Path, tmp_path: Path) -> None:
    torn = Path(shutil.copytree(base, tmp_path / "torn"))
    tensors = load_file(torn / "model.safetensors")
    names = sorted(tensors)
    save_file({name: tensors[name] for name in names[2:]}, torn / "model.safetensors", metadata={"format": "pt"})
    assert "lacks" in str(refused(workspace, torn, "model.missing_weights"))
    wrong = {**tensors, names[-1]: torch.zeros(3)}
    save_file(wrong, torn / "model.safetensors", metadata={"format": "pt"})
    assert "[3]" in str(refused(workspace, torn, "model.wrong_shape"))
    (torn / "model.safetensors").unlink()
    index = {"weight_map": dict.fromkeys(names, "model-00001-of-00002.safetensors")}
    (torn / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "model-00001-of-00002.safetensors" in str(refused(workspace, torn, "model.torn_weights"))


def test_what_does_not_belong_together(workspace: Workspace, base: Path, tmp_path: Path) -> None:
    odd = Path(shutil.copytree(base, tmp_path / "odd"))
    config, tensors = json.loads((odd / "config.json").read_text()), load_file(odd / "model.safetensors")
    (odd / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 1}))
    assert "layers.1." in str(refused(workspace, odd, "model.unused_weights"))
    (odd / "config.json").write_text(json.dumps(config))
    tokenizer = AutoTokenizer.from_pretrained(odd)
    tokenizer.add_tokens([f"词{number}" for number in range(9)])
    tokenizer.save_pretrained(odd)
    refused(workspace, odd, "model.few_rows")
    save_file({n: t.to(torch.int8) for n, t in tensors.items()}, odd / "model.safetensors", metadata={"format": "pt"})
    refused(workspace, odd, "model.integers")
    (odd / "model.safetensors").unlink()
    (odd / "model.safetensors.index.json").write_text(json.dumps({"weight_map": ["a"]}))
    refused(workspace, odd, "model.torn_weights")


def test_a_published_config_that_lacks_what_it_needs(workspace: Workspace, tmp_path: Path) -> None:
    config, weights = baichuan(False)
    del config["hidden_size"]
    source = publish(tmp_path / "published", config, weights)
    assert "hidden_size" in str(refused(workspace, source, "model.malformed"))
    (source / "config.json").write_text(json.dumps({**config, "hidden_size": 32}))
    (source / "LICENSE").symlink_to("/etc/hostname")
    refused(workspace, source, "model.link_out")


def test_what_a_model_points_to_is_not_deleted(workspace: Workspace, base: Path, tmp_path: Path) -> None:
    run = RunDir.create(workspace.runs_dir, "merge")
    shutil.copytree(base, run.output / "model")
    bring(workspace, run.output / "model", folder="from run")
    with pytest.raises(ModelError) as error:
        store.delete(workspace, run)
    assert error.value.code == "model.pointed_at"
    assert run.output.is_dir()


def test_an_unknown_architecture_says_the_nearest(workspace: Workspace, base: Path, tmp_path: Path) -> None:
    for kind, nearest in (("qwen", "qwen2"), ("glm9", "glm4"), ("internlm", "llama"), ("fancynet", "")):
        odd = Path(shutil.copytree(base, tmp_path / kind))
        config = json.loads((odd / "config.json").read_text()) | {"model_type": kind}
        (odd / "config.json").write_text(json.dumps(config))
        error = refused(workspace, odd, "model.unknown_architecture" if nearest else "model.unknown_kind")
        assert f"'{kind}'" in str(error)
        assert (f"'{nearest}'" in error.remedy) == bool(nearest)
    # A word that is only spelt alike (`fnet`, which writes no text) is no kin; and what fails is not advised.
    with pytest.raises(ModelError) as told:
        model_convert._native(odd, tmp_path / "made")
    assert told.value.code == "model.unknown_kind"


def test_a_message_calls_a_source_by_its_name(workspace: Workspace, base: Path, tmp_path: Path) -> None:
    odd = Path(shutil.copytree(base, tmp_path / "odd"))
    config = json.loads((odd / "config.json").read_text()) | {"model_type": "fancynet"}
    (odd / "config.json").write_text(json.dumps(config))
    torch.save(load_file(odd / "model.safetensors"), odd / "pytorch_model.bin")
    (odd / "model.safetensors").unlink()
    error = refused(workspace, odd, "model.unknown_kind")
    assert str(odd) in error.message
    assert str(workspace.path) not in error.message


def test_all_missing_shards_are_named(tmp_path: Path) -> None:
    names = [f"model-{number}.safetensors" for number in range(3)]
    where = {f"layer.{number}": name for number, name in enumerate(names)}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    (tmp_path / names[1]).touch()
    with pytest.raises(ModelError) as error:
        weight_files(tmp_path)
    assert f"{names[0]}, {names[2]} are missing" in error.value.message


# -- differences ------------------------------------------------------------------------------------------------------
@pytest.fixture
def tuned(base: Path, tmp_path: Path) -> Path:
    """The tiny model, further trained: every weight is a little another one."""
    torch.manual_seed(5)
    folder = Path(shutil.copytree(base, tmp_path / "tuned"))
    tensors = {n: t + 0.02 * torch.randn_like(t) for n, t in load_file(folder / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def difference_of(tuned: Path, base: Path, folder: Path, *, whole: tuple[str, ...] = ()) -> Path:
    """As it was published: tuned − base, in two `.bin` shards of an order of its own; `whole` ones as they are."""
    shutil.copytree(tuned, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    new, old = load_file(tuned / "model.safetensors"), load_file(base / "model.safetensors")
    made = {name: new[name] if name.endswith(whole) and whole else new[name] - old[name] for name in new}
    where = {}
    for number, part in enumerate((sorted(made)[::2], sorted(made)[1::2]), start=1):
        file = f"pytorch_model-{number:05d}-of-00002.bin"
        torch.save({name: made[name] for name in part} | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}, folder / file)  # fmt: skip  # noqa: E501
        where.update(dict.fromkeys(part, file))
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": where}))
    return folder


def test_a_difference_is_added(workspace: Workspace, base: Path, tuned: Path, tmp_path: Path) -> None:
    published = difference_of(tuned, base, tmp_path / "vicuna-7b-delta-v1.1")
    bring(workspace, published, base="tiny", folder="vicuna")
    card = find_model(workspace, "vicuna")
    with pytest.raises(ModelError) as error:  # it is here, and otherwise: nothing is said to be done
        bring(workspace, published, difference="no", folder="vicuna")
    assert error.value.code == "model.name_taken"
    assert card.added_to == "tiny"
    made = {}
    for path in card.folder(workspace).glob("*.safetensors"):
        made |= load_file(path)
    expected = load_file(tuned / "model.safetensors")
    assert made.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(made[name], tensor, atol=1e-6, rtol=0)


def test_more_rows_are_taken_as_they_are(workspace: Workspace, base: Path, tuned: Path, tmp_path: Path) -> None:
    """As Ziya-LLaMA-13B-v1 has it: embeddings and head whole, with new rows, and the difference of the rest."""
    tokenizer = AutoTokenizer.from_pretrained(tuned)
    tokenizer.add_tokens(["患者甲", "患者乙"])
    model = AutoModelForCausalLM.from_pretrained(tuned)
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(tuned)
    tokenizer.save_pretrained(tuned)
    published = difference_of_rows(tuned, base, tmp_path / "Ziya-LLaMA-13B-v1")
    bring(workspace, published, base="tiny", folder="ziya")
    folder = find_model(workspace, "ziya").folder(workspace)
    with torch.no_grad():
        found = AutoModelForCausalLM.from_pretrained(folder)(IDS).logits
        torch.testing.assert_close(found, model(IDS).logits, atol=1e-4, rtol=1e-4)


def difference_of_rows(tuned: Path, base: Path, folder: Path) -> Path:
    shutil.copytree(tuned, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    new, old = load_file(tuned / "model.safetensors"), load_file(base / "model.safetensors")
    made = {name: new[name] - old[name] if new[name].shape == old[name].shape else new[name] for name in new}
    save_file(made, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_differences_that_do_not_fit(workspace: Workspace, base: Path, tuned: Path, tmp_path: Path) -> None:
    published = difference_of(tuned, base, tmp_path / "a-delta")
    refused(workspace, published, "difference.needs_base")
    plain = Path(shutil.copytree(tuned, tmp_path / "plain"))
    refused(workspace, plain, "difference.not_asked", base="tiny")
    refused(workspace, plain, "difference.is_whole", base="tiny", difference="yes")
    grown = Path(shutil.copytree(tuned, tmp_path / "vicuna-delta-v0"))
    new, old = load_file(tuned / "model.safetensors"), load_file(base / "model.safetensors")
    embedding = next(name for name in new if "embed_tokens" in name)
    more = {name: new[name] - old[name] for name in new} | {embedding: torch.randn(len(old[embedding]) + 1, old[embedding].shape[1])}  # fmt: skip  # noqa: E501
    save_file(more, grown / "model.safetensors", metadata={"format": "pt"})
    refused(workspace, grown, "difference.vocabulary", base="tiny")
    short = {name: tensor for name, tensor in more.items() if "layers.1" not in name and name != embedding}
    save_file({**short, embedding: new[embedding] - old[embedding]}, grown / "model.safetensors")
    refused(workspace, grown, "difference.incomplete", base="tiny")
    assert not find_left_over(workspace)


def find_left_over(workspace: Workspace) -> list[str]:
    return [path.name for path in workspace.models_dir.iterdir() if path.name != "tiny"]


def test_names_of_differences() -> None:
    for name in (
        "Ziya-LLaMA-13B-v1",
        "Ziya-LLaMA-13B-v1.1",
        "Ziya-LLaMA-13B-Pretrain-v1",
        "vicuna-13b-delta-v1.1",
        "x-diff",
    ):
        assert DIFFERENCE.search(name), name
    cached = "/x/models--IDEA-CCNL--Ziya-LLaMA-13B-v1/snapshots/0123456789abcdef"
    for path, expected in ((cached, True), ("/x/delta/llama-7b", False), ("/x/diff", True)):
        assert is_difference(Source("folder", path, "x"), "auto") == expected, path
    for name in ("Ziya-LLaMA-7B-Reward", "Ziya2-13B-Chat", "deltalm-base", "diffusion", "Qwen3-0.6B"):
        assert not DIFFERENCE.search(name), name


def test_what_is_seen_of_a_folder(workspace: Workspace, tiny_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "mine"))
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Mine\n")
    bring(workspace, folder)
    assert find_model(workspace, "mine").licence == "apache-2.0"
    seen = looked_at(folder)
    assert seen["safe"] == "safetensors, no code"
    assert seen["template"] == "its own"
    assert "tokenizer.json" in seen["tokenizer"]
    config, weights = chatglm2()
    bring(workspace, publish(tmp_path / "glm", config, weights))
    assert looked_at(find_model(workspace, "glm").folder(workspace))["published_as"] == "chatglm"


# -- the disk ---------------------------------------------------------------------------------------------------------
def test_what_is_stored_and_how_it_goes(workspace: Workspace, base: Path, adapter: Path) -> None:
    run = bring(workspace, adapter)
    failed = RunDir.create(workspace.runs_dir, "push")  # what came to nothing needs nothing
    write_json(failed.config_json, {"model": {"base": run.id}})
    config = pin(workspace, STAGES["merge"], resolve("merge", values={"model.base": run.id}, workspace=workspace))
    merged = RunDir.create(workspace.runs_dir, "merge")
    write_json(merged.config_json, config.model_dump(mode="json"))
    merge.main(RunContext(merged, workspace, config, Report(merged)))
    assert config.run.name == "ziya-medical-lora merge"
    for part in ("downloads/own--big", "encoded"):
        (workspace.cache_dir / part).mkdir(parents=True)
        (workspace.cache_dir / part / "x").write_bytes(bytes(5000))
    found = {(item.sort, item.name): item for item in disk_use.stored(workspace)}
    assert found["model", "tiny"].needed == (run.id,)
    assert found["model", "tiny"].points_to == str(base)
    assert found["adapter", "ziya-medical-lora"].run == run.id
    made = found["made", "ziya-medical-lora merge"]
    assert (made.run, made.needed) == (merged.id, ())
    assert made.size > folder_size(merged.output / "model") > 0
    for key in (("download", "own--big"), ("cache", "encoded")):
        assert found[key].size == 5000
        disk_use.remove(workspace, found[key])
        with pytest.raises(ModelError) as error:
            disk_use.remove(workspace, found[key])
        assert error.value.code == "disk.gone"
    assert not (workspace.cache_dir / "encoded").exists()
    disk_use.remove(workspace, found["model", "tiny"])
    assert base.is_dir()


def test_the_page_lists_it_in_both_languages_and_deletes(workspace: Workspace, base: Path, adapter: Path) -> None:
    run = bring(workspace, adapter)
    (workspace.cache_dir / "downloads" / "<b>own").mkdir(parents=True)
    (workspace.cache_dir / "look").mkdir()
    page = App(workspace, "en")
    page.build()
    card = page.runs.disk
    for lang, words in (
        ("en", ("adapter", "unfinished download", "cache")),
        ("zh", ("适配器", "未完成的下载", "缓存")),
    ):
        note, shown = card.shown(lang)
        assert note == ""
        assert all(word in shown for word in words)
        assert "&lt;b&gt;own" in shown
    clicked = SimpleNamespace(_data={"sort": "adapter", "name": "ziya-medical-lora", "run": run.id})
    _, shown = card.shown("en")
    assert "These stop working without it: ziya-medical-lora" in shown
    note, shown = card.removed(clicked, "en")
    assert "was deleted" in note
    assert run.id not in shown
    assert not run.path.exists()
    note, _ = card.removed(clicked, "en")
    assert note == ""


def test_a_wrong_model_type_is_told(workspace: Workspace, base: Path, chat_file: Path) -> None:
    values = {"model.base": "tiny", "data.train": str(chat_file), "model.model_type": "bloom"}
    with pytest.raises(ConfigError) as error:
        pin(workspace, STAGES["sft"], resolve("sft", values=values, workspace=workspace))
    assert [problem.code for problem in error.value.problems] == ["model.type_differs"]
    assert "'llama'" in str(error.value)
    pin(workspace, STAGES["sft"], resolve("sft", values=values | {"model.model_type": "llama"}, workspace=workspace))
