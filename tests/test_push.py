"""Sending out: what a model card says, that its code works, what arrives at a hub, and what stops it."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.__main__ import main
from core.configs.stages import PushConfig
from core.errors import GalenError, StopRequested
from core.models.card import model_card
from core.models.library import ModelCard, write_card
from core.models.origin import origin_of
from core.models.parents import check_start, offers
from core.models.usage import REPO
from core.records import ChainLink, RootBase
from core.records_evaluation import Cell, Evaluation, Exam, Judged, evaluation_file
from core.records_push import Pushed, pushed_file
from core.rundir import RunDir, read_record, write_record, write_text
from core.workspace import Workspace
from tests.models_tools import make_run, make_whole_run
from tests.push_tools import COMMIT, TOKEN, Inbox, fetched, inbox, send, trained
from tests.test_models_cli import core, last
from webui.app import App
from webui.send_card import SendCard
from webui.views_push import sent

OWN_CARD = f"---\ntags: [mine]\n---\n# Mine\n\nLoad `{REPO}`.\n"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Inbox]:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with inbox() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


def parts(card: str) -> tuple[dict[str, Any], str]:
    """(front matter, the rest)."""
    _, front, text = card.split("---\n", 2)
    return yaml.safe_load(front), text


def code(card: str, **places: Path) -> dict[str, Any]:
    """What the code of a card leaves behind when it is run, with folders in place of hub ids."""
    snippet = card.split("```python\n")[1].split("```")[0]
    for name, folder in places.items():
        value = snippet.split(f'{name} = "')[1].split('"')[0]
        snippet = snippet.replace(f'{name} = "{value}"', f"{name} = {str(folder)!r}")
    found: dict[str, Any] = {}
    exec(snippet, found)
    return found


# -- the card ---------------------------------------------------------------------------------------------------------
def test_a_card_says_what_stands_in_the_files(workspace: Workspace, tiny_model: Path) -> None:
    fetched(workspace, tiny_model)
    run = trained(workspace, tiny_model)
    front, text = parts(model_card(workspace, run))
    assert front == {
        "base_model": "own/tiny", "base_model_relation": "adapter", "library_name": "peft",
        "pipeline_tag": "text-generation", "language": ["zh"], "license": "mit", "datasets": ["own/asked"],
        "tags": ["galen", "lora", "sft"],
    }  # fmt: skip
    manifest = run.manifest()
    assert manifest is not None
    for said in (
        "# tuned | one", "Trained by supervised fine-tuning.", "| revision | " + "a" * 40, f'revision="{"a" * 40}"',
        f"| 1 | sft | `{run.id}` | own/tiny | lora: rank 4, alpha 16, scaling 4 (alpha / rank), on",
        manifest.root_base.weights[0].sha256,
        f"| sft | 3 | 1 | huggingface: own/asked@{COMMIT} | cc-by-4.0 |", f"| of `{run.id}` (sft) |  |",
        "| eval loss | 1.235 |", "no medical advice", "For research", "With Galen", "peft 0.21",
    ):  # fmt: skip
        assert said in text, said
    assert str(workspace.path) not in text
    assert str(tiny_model) not in text


def test_a_base_without_an_id_is_called_by_its_name(workspace: Workspace, tiny_model: Path) -> None:
    front, text = parts(model_card(workspace, make_run(workspace, tiny_model, name="mine")))
    assert {"base_model", "license", "language", "datasets"} & set(front) == set()
    assert 'BASE = "tiny-llama"' in text
    assert "no id on Hugging Face that is known here" in text
    assert "ask where the base came from" in text
    assert str(tiny_model.parent) not in text


def test_everything_beneath_is_in_the_chain(workspace: Workspace, tiny_model: Path) -> None:
    """An adapter on a run's whole model: that run's chain, an adapter that was trained further, and a lost run."""
    fetched(workspace, tiny_model)
    first, second = trained(workspace, tiny_model), trained(workspace, tiny_model, parent_adapter="continued")
    lost = ChainLink(run="pretrain-20260101-000000-abcd", adapter_sha256="0", scaling=1)
    whole = make_whole_run(workspace, tiny_model, name="whole")
    for run, base, changes in (
        (second, tiny_model, {"parent": first.id}),
        (whole, tiny_model, {"chain": [lost, ChainLink(run=second.id, adapter_sha256="0", scaling=1)]}),
    ):
        manifest = run.manifest()
        assert manifest is not None
        root = RootBase(source="tiny", path=str(base), weights=manifest.root_base.weights)
        write_record(run.manifest_file, manifest.model_copy(update={"root_base": root, **changes}))
    top = trained(workspace, whole.output / "model", root_base=RootBase(source=whole.id, path="gone"))
    front, text = parts(model_card(workspace, top))
    chain = text.split("## Chain")[1].split("##")[0]
    places = [chain.index(f"| sft | `{run.id}`") for run in (first, second, whole, top)]
    assert places == sorted(places)
    assert f"| pretrain | `{lost.run}` | its run has been deleted |" in text
    assert "(its adapter trained further)" in text
    assert front["license"] == "mit"  # of the bottom
    assert "base_model" not in front  # what the adapter lies on has no id
    assert 'BASE = "whole"' in text


def test_the_figures_of_a_comparison(workspace: Workspace, tiny_model: Path) -> None:
    run = trained(workspace, tiny_model)
    compared = RunDir.create(workspace.runs_dir, "evaluate")
    write_text(compared.config_json, "{}")
    compared.output.mkdir()
    models = [Judged(text="tiny", name="tiny"), Judged(text=run.id, name="tuned", run=run.id, root="tiny")]
    figures = {"loss": 2.0, "loss_error": 0.125, "tokens": 90.0}
    cells = [Cell(model=0, exam=0, rows=9, figures={"loss": 2.5}), Cell(model=1, exam=0, rows=9, figures=figures)]
    exams = [Exam(dataset="docs@1", sha256="", kind="text", rows=9)]
    write_record(evaluation_file(compared.output), Evaluation(models=models, exams=exams, cells=cells))
    assert "docs@1" not in model_card(workspace, run)  # it has not finished
    manifest = run.manifest()
    assert manifest is not None
    done = manifest.model_copy(update={"run": compared.id, "kind": "evaluation", "adapter_root": None})
    write_record(compared.manifest_file, done)
    assert "| `docs@1` | 9 | loss 2 ± 0.12 | loss 2.5 |" in model_card(workspace, run)


def test_a_merged_model_has_the_figures_of_its_training_and_of_its_merge(
    workspace: Workspace, tiny_model: Path
) -> None:
    fetched(workspace, tiny_model)
    run, merged = trained(workspace, tiny_model), make_whole_run(workspace, tiny_model, name="merged")
    manifest, beneath = merged.manifest(), run.manifest()
    assert manifest is not None
    assert beneath is not None
    told = {
        "kind": "merged", "method": "merge", "root_base": beneath.root_base, "final_metrics": {"kl": 0.001},
        "chain": [ChainLink(run=run.id, adapter_sha256="0", scaling=1)],
    }  # fmt: skip
    write_record(merged.manifest_file, manifest.model_copy(update=told))
    front, text = parts(model_card(workspace, merged))
    assert (front["base_model"], front["base_model_relation"]) == ("own/tiny", "finetune")
    assert "a whole model made from [tiny](https://huggingface.co/own/tiny)" in text
    assert "The adapters were then merged into the base." in text
    for said in ("| eval loss | 1.235 |", "| divergence from the adapters, nats a token | 0.001 |", "`asked@"):
        assert said in text, said


@pytest.mark.parametrize(
    ("facts", "expected", "noted"),
    [
        ({"kind": "starter", "source": "starter", "origin": "H/S", "revision": "llm 1"}, ("H/S", None, None), "4-bit"),
        ({"kind": "hub", "source": "o/n", "origin": "o/n", "revision": COMMIT}, ("o/n", COMMIT, None), ""),
        ({"kind": "hub", "source": "o/n/q4.gguf", "revision": COMMIT}, ("o/n", COMMIT, "q4.gguf"), ""),
        (
            {"kind": "hub", "source": "o/n", "origin": "o/n", "revision": "master"},
            ("", None, None),
            "ModelScope as o/n",
        ),
        ({"kind": "gguf", "source": "/home/me/q4.gguf"}, ("", None, None), ""),
    ],
)
def test_what_others_call_a_base(
    workspace: Workspace, tiny_model: Path, facts: dict[str, Any], expected: tuple[Any, ...], noted: str
) -> None:
    known = {"name": "here", "architecture": "", "model_type": "", "parameters": 1, "dtype": "fp32", "size": 1}
    (workspace.models_dir / "here").mkdir()
    write_card(workspace.models_dir / "here", ModelCard.model_validate({**known, "created": 0, **facts}))
    found = origin_of(workspace, RootBase(source="here", path=str(workspace.models_dir / "here")))
    assert (found.repo, found.revision, found.file) == expected
    assert found.called == (expected[0] or "here")
    assert noted in found.note
    assert bool(noted) == bool(found.note)


# -- its code ---------------------------------------------------------------------------------------------------------
def test_the_code_of_an_adapters_card_works(
    workspace: Workspace, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetched(workspace, tiny_model)
    run = trained(workspace, tiny_model, tokenizer={"stop_ids": [2, 0]})
    card = model_card(workspace, run).replace(f', revision="{"a" * 40}"', "")  # a folder has none
    left = code(card, BASE=tiny_model, ADAPTER=run.output / "adapter")
    assert "eos_token_id=[2, 0]" in card
    assert left["output"].shape[1] > left["inputs"]["input_ids"].shape[1]
    assert capsys.readouterr().out


def test_the_code_of_a_whole_models_card_works(workspace: Workspace, tiny_model: Path) -> None:
    run = make_whole_run(workspace, tiny_model, name="whole")
    card = model_card(workspace, run)
    assert parts(card)[0]["library_name"] == "transformers"
    assert code(card, MODEL=run.output / "model")["output"].shape[0] == 1


def test_the_code_of_a_reward_models_card_gives_the_score(
    workspace: Workspace, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch
    from transformers import AutoTokenizer

    from core.models.loading import load_model
    from core.training.heads import lay_adapter, new_head, save_head

    fetched(workspace, tiny_model)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    run = trained(workspace, tiny_model, kind="reward", tokenizer={"stop_ids": [tokenizer.eos_token_id]})
    folder, head = run.output / "adapter", new_head(64)
    torch.nn.init.normal_(head.weight)
    save_head(head, folder)
    tokenizer.save_pretrained(folder)
    card = model_card(workspace, run).replace(f', revision="{"a" * 40}"', "")
    assert parts(card)[0]["pipeline_tag"] == "text-classification"
    assert "AutoTokenizer.from_pretrained(ADAPTER)" in card
    left = code(card, BASE=tiny_model, ADAPTER=folder)
    plain = lay_adapter(load_model(tiny_model, dtype=torch.float32, device="cpu"), folder).eval()
    ids = left["ids"][: left["end"]]
    assert ids[-1] == tokenizer.eos_token_id
    with torch.no_grad():
        state = plain(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0, -1]
        expected = float(head(state))
    assert float(capsys.readouterr().out) == pytest.approx(expected, abs=1e-4)


# -- what arrives -----------------------------------------------------------------------------------------------------
def test_an_adapter_arrives_with_its_card_and_nothing_else(workspace: Workspace, tiny_model: Path, hub: Inbox) -> None:
    fetched(workspace, tiny_model)
    run = trained(workspace, tiny_model)
    before = (run.output / "adapter" / "adapter_config.json").read_bytes()
    assert str(tiny_model).encode() in before
    done = send(workspace, run.id)
    files = hub.files("own/tuned")
    assert sorted(files) == ["README.md", "adapter_config.json", "adapter_model.safetensors"]
    assert files["adapter_model.safetensors"] == (run.output / "adapter" / "adapter_model.safetensors").read_bytes()
    config = json.loads(files["adapter_config.json"])
    assert (config["base_model_name_or_path"], config["revision"]) == ("own/tiny", "a" * 40)
    assert (config["r"], config["lora_alpha"]) == (4, 16)
    card = files["README.md"].decode()
    assert "own/tuned" in card
    assert REPO not in card
    for path in (workspace.path, tiny_model):
        assert not any(str(path).encode() in content for content in files.values())
    assert hub.repos["own/tuned"]["private"]
    assert hub.commits == ["tuned | one"]
    assert (run.output / "adapter" / "adapter_config.json").read_bytes() == before
    pushed = read_record(pushed_file(done.output), Pushed)
    assert pushed is not None
    assert (pushed.url, pushed.commit, pushed.private) == (f"{hub.url}/own/tuned", COMMIT, True)
    assert pushed.size == sum(map(len, files.values()))
    progress = done.progress()
    assert progress is not None
    assert (progress.phase, progress.step, progress.total) == ("uploading", pushed.size, pushed.size)
    assert hub.tokens == {f"Bearer {TOKEN}"}
    assert not [path for path in workspace.path.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
    assert not list((workspace.cache_dir / "push").iterdir())


def test_a_second_sending_is_a_new_commit_and_deletes_nothing(
    workspace: Workspace, tiny_model: Path, hub: Inbox
) -> None:
    run = make_run(workspace, tiny_model)
    hub.add("own/tuned", private=False, **{"notes.txt": b"theirs", "README.md": b"old"})
    send(workspace, run.id, card=OWN_CARD, private=False, message="again")
    send(workspace, run.id, revision="better", private=False)
    assert hub.commits == ["again", run.id]
    assert hub.files("own/tuned")["notes.txt"] == b"theirs"
    assert hub.files("own/tuned")["README.md"].decode() == OWN_CARD.replace(REPO, "own/tuned")
    assert b"With Galen" in hub.files("own/tuned", "better")["README.md"]
    assert len(hub.objects) == 1


def test_a_whole_model_arrives(workspace: Workspace, tiny_model: Path, hub: Inbox) -> None:
    run = make_whole_run(workspace, tiny_model, name="whole")
    send(workspace, run.id)
    files = hub.files("own/tuned")
    assert set(files) == {"README.md", *(path.name for path in tiny_model.iterdir())}


# -- what stops it ----------------------------------------------------------------------------------------------------
def refused(workspace: Workspace, run: str, **more: Any) -> str:
    with pytest.raises(GalenError) as error:
        send(workspace, run, **more)
    assert "{" not in str(error.value)
    assert not list((workspace.cache_dir / "push").glob("*"))
    return error.value.code


def test_what_a_hub_refuses(
    workspace: Workspace, tiny_model: Path, hub: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(workspace, tiny_model).id
    create = "/api/repos/create"
    for status, code in ((401, "push.bad_token"), (403, "push.forbidden"), (404, "push.not_found")):
        hub.refuse = {create: (status, {"error": "no"}), "/api/models": (status, {"error": "no"})}
        assert refused(workspace, run) == code
    hub.refuse = {"/api/validate-yaml": (400, {"errors": [{"message": '"license" must be one of [mit]'}]})}
    assert refused(workspace, run) == "push.card_refused"
    hub.refuse = {"/own/tuned.git": (507, {"error": "full"})}
    assert refused(workspace, run) == "push.failed"
    hub.refuse = {}
    hub.add("own/tuned", private=False)
    assert refused(workspace, run) == "push.is_public"
    hub.add("own/tuned", **{"model.safetensors": b"theirs", "notes.txt": b""})
    assert refused(workspace, run) == "push.other_content"
    assert hub.commits == []
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert refused(workspace, run) == "push.no_network"
    monkeypatch.delenv("HF_TOKEN")
    assert refused(workspace, run) == "push.no_token"


def test_a_path_of_this_machine_is_not_sent(workspace: Workspace, tiny_model: Path, hub: Inbox) -> None:
    whole = make_whole_run(workspace, tiny_model, name="whole")
    assert refused(workspace, whole.id, card=f"see {workspace.path}/runs") == "push.leak"
    note = whole.output / "model" / "generation_config.json"
    note.write_text(json.dumps({"from": str(tiny_model)}))
    assert refused(workspace, whole.id) == "push.leak"
    note.write_text(json.dumps({"from": f"https://example.org{workspace.path}-like/"}))  # another's address
    send(workspace, whole.id)


def test_only_what_was_delivered_can_be_sent(workspace: Workspace, tiny_model: Path) -> None:
    fetched(workspace, tiny_model)
    good = make_run(workspace, tiny_model, name="good", steps=(4,))
    other = RunDir.create(workspace.runs_dir, "sft")
    write_text(other.config_json, "{}")
    score = RunDir.create(workspace.runs_dir, "evaluate")
    write_text(score.config_json, "{}")
    score.output.mkdir()
    manifest = good.manifest()
    assert manifest is not None
    write_record(score.manifest_file, manifest.model_copy(update={"adapter_root": None, "kind": "evaluation"}))
    assert check_start(workspace, "push", "good") == good.id
    for text, code in (
        ("tiny", "push.no_run"), ("nothing", "push.no_run"), (f"{good.id}:step-4", "push.no_run"),
        (other.id, "push.unfinished"), (score.id, "push.nothing"),
    ):  # fmt: skip
        with pytest.raises(GalenError) as error:
            check_start(workspace, "push", text)
        assert error.value.code == code, text
    assert {offer.value: offer.legal for offer in offers(workspace, "push")} == {
        good.id: True, other.id: False, "tiny": False,
    }  # fmt: skip
    shutil.rmtree(good.output / "adapter")
    with pytest.raises(GalenError, match="gone"):
        check_start(workspace, "push", good.id)


@pytest.mark.parametrize(
    "repo", ["tuned", "a/b/c", "own/", "own/x y", "own/a--b", "own/a..b", "own/a.git", "-o/x", "é/x"]
)
def test_names_that_no_repository_can_have(repo: str) -> None:
    with pytest.raises(ValueError, match=r"push\.bad_repo"):
        PushConfig.model_validate({"model": {"base": "r"}, "to": {"repo": repo}})


def test_a_stop_kills_the_upload(workspace: Workspace, tiny_model: Path, hub: Inbox) -> None:
    run = make_run(workspace, tiny_model)
    hub.silent = True

    def stop() -> None:
        hub.waiting.wait(60)
        next(each for each in workspace.runs() if each.stage == "push").stop_file.touch()

    threading.Thread(target=stop).start()
    started = time.monotonic()
    with pytest.raises(StopRequested):
        send(workspace, run.id)
    assert time.monotonic() - started < 60
    assert hub.commits == []
    assert not list((workspace.cache_dir / "push").iterdir())


# -- the command line and the page ------------------------------------------------------------------------------------
def test_card_and_push_in_a_terminal(
    workspace: Workspace, tiny_model: Path, hub: Inbox, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = make_run(workspace, tiny_model, name="good")
    where = ["--workspace", str(workspace.path), "model"]
    assert main([*where, "card", "good"]) == 0
    assert capsys.readouterr().out == model_card(workspace, run)
    file = tmp_path / "card.md"
    assert main([*where, "card", "good", "--out", str(file)]) == 0
    file.write_text(file.read_text() + "\nRead by a person.\n")
    for words in ("card bad", "push good tuned", "push bad own/x", "push good own/x --card no"):
        assert main([*where, *words.split()]) == 2
    assert [each.stage for each in workspace.runs()] == ["sft"]
    done = core(workspace, "model", "push", "good", "own/tuned", "--card", str(file), "--public", "--json")
    assert (done.returncode, last(done)["state"]) == (0, "succeeded"), done.stderr
    assert hub.files("own/tuned")["README.md"].decode().endswith("Read by a person.\n")
    assert not hub.repos["own/tuned"]["private"]


def test_the_page_writes_the_card_and_shows_where_it_went(workspace: Workspace, tiny_model: Path, hub: Inbox) -> None:
    run = make_run(workspace, tiny_model, name="good")
    app = App(workspace, "en")
    app.build()
    [card] = app.stages["merge"].cards
    assert isinstance(card, SendCard)
    [picker] = card.news(app.reader.read(fresh=True), "en")
    assert [value for _, value in picker["choices"]] == [run.id]
    assert card.written(run.id, "en") == [model_card(workspace, run), ""]
    text, note = card.written("nothing", "zh")
    assert (text, "notice bad" in note) == ("", True)
    chosen = {"model.base": run.id, "model.card": "", "to.repo": "", "to.private": True}
    told = card.side.begin("en", *(chosen[key] for key in card.form.keys))[0]
    assert "Repository: " in told
    wrong = card.side.begin("en", *({**chosen, "to.repo": "tuned"}[key] for key in card.form.keys))[0]
    assert "no name of a repository" in wrong
    assert [each.stage for each in workspace.runs()] == ["sft"]
    done = send(workspace, run.id)
    for lang, word in (("en", "private"), ("zh", "私有")):
        assert f'href="{hub.url}/own/tuned"' in sent(done, lang)
        assert word in sent(done, lang)
    assert card.shows(done, chosen)
    assert not card.shows(done, {**chosen, "model.base": "other"})
    assert sent(run, "en") == ""


@pytest.mark.slow
def test_a_run_is_sent_from_the_page(hub: Inbox, opened: Any, ready: Workspace, tiny_model: Path) -> None:
    run = make_run(ready, tiny_model, name="tuned")
    page = opened("?tab=merge")
    page.tab.click("#push .f-model-base input")
    page.tab.locator("[role=option][aria-label^='tuned']").first.click()
    page.wait("() => document.querySelector('#push .f-model-card textarea').value.includes('# tuned')")
    page.tab.locator("#push .f-model-card textarea").fill("# Read by a person")
    page.tab.locator("#push .f-to-repo :is(input, textarea)").fill("own/tuned")
    page.tab.click("#push-start")
    page.wait_text("#push-result .notice.good", f"{hub.url}/own/tuned")
    assert hub.files("own/tuned")["README.md"] == b"# Read by a person\n"
    [sent_by] = [each for each in ready.runs() if each.stage == "push"]
    assert sent_by.config()["model"]["base"] == run.id
    page.tab.click("#push-again")
    page.wait("() => document.querySelector('#push .f-model-card textarea').value.includes('# tuned')")
