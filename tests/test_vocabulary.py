"""Vocabulary extension: what is learnt, how it gets into tokenizers of every kind, what becomes of the embeddings."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import orjson
import pytest
import torch

from core.configs.files import resolve
from core.configs.stages import STAGES
from core.data.encode.encoding import Encoder
from core.data.encode.tokenizer import load_tokenizer
from core.data.encode.twin import backend_of
from core.data.store.library import import_file
from core.errors import ConfigError, InputError, ModelError
from core.jobs.pinning import pin
from core.models.growing import Cutter, both, grow, grow_merges
from core.models.parents import resolve_parent
from core.models.units import as_units, learn_characters, learn_pieces, learn_words, read_list, runs_of
from core.models.vocabulary import characters_per_token, resize
from core.recipes import vocabulary
from core.records import VocabularyReport
from core.report import Report, RunContext
from core.rundir import RunDir, read_record
from core.workspace import Workspace
from tests.conftest import build_tokenizer, write_jsonl
from tests.families_tools import spm_tokenizer
from tests.models_tools import make_run

WORDS = ["黄疸", "患者", "肝功能", "检查", "药物", "治疗", "发热", "咳嗽"]


def made_up(count: int) -> list[str]:
    """Texts whose words stand in every order, so that only the words themselves are frequent."""
    rng = random.Random(0)
    texts = ["，".join("".join(rng.choices(WORDS, k=rng.randint(1, 5))) for _ in range(4)) for _ in range(count)]
    return [f"{text}。 The patient has hepatitis {n}" for n, text in enumerate(texts)]


TEXTS = made_up(24)


def unigram_tokenizer(folder: Path):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = [(char, -6.0) for char in "abcdefghijklmnopqrstuvwxyz患者"]
    pieces = [("<unk>", 0.0), ("</s>", 0.0), ("▁", -3.0), ("▁the", -4.0), *letters]
    core = Tokenizer(models.Unigram(pieces, unk_id=0))
    core.pre_tokenizer, core.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>", unk_token="<unk>").save_pretrained(folder)
    return load_tokenizer(folder)


KINDS = {"byte-level": build_tokenizer, "sentencepiece": spm_tokenizer, "unigram": unigram_tokenizer}


def reread(grown):
    from tokenizers import Tokenizer

    return Tokenizer.from_str(orjson.dumps(grown.definition).decode())


def shown(backend, text: str) -> list[str]:
    return backend.encode(text, add_special_tokens=False).tokens


# -- what is worth a token --------------------------------------------------------------------------------------------
def test_a_list_with_blanks_and_doubles(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("﻿黄疸\n\n  肝炎 \n黄疸\nhepatitis\n\n", encoding="utf-8")
    found = read_list(path)
    assert (found.words, found.blank, found.double) == (["黄疸", "肝炎", "hepatitis"], 2, 1)
    assert [unit.text for unit in as_units(found.words)] == ["黄疸", "肝炎", " hepatitis"]
    path.write_text("\n \n")
    with pytest.raises(InputError) as caught:
        read_list(path)
    assert caught.value.code == "vocabulary.list_empty"
    path.write_bytes("黄疸".encode("gb18030"))
    with pytest.raises(InputError) as caught:
        read_list(path)
    assert caught.value.code == "vocabulary.list_not_text"
    with pytest.raises(InputError) as caught:
        read_list(tmp_path / "none.txt")
    assert caught.value.code == "vocabulary.list_missing"


def test_runs_are_of_one_kind_of_script() -> None:
    assert runs_of(["用Python写， the code2"]) == Counter({"用": 1, "Python": 1, "写": 1, " the": 1, " code": 1})


def test_characters_and_words_by_what_they_save(tmp_path: Path) -> None:
    cutter = Cutter(backend_of(build_tokenizer(tmp_path)))
    runs = runs_of(TEXTS)
    characters = learn_characters(runs, cutter.cost, min_count=5)
    assert all(len(unit.text) == 1 and unit.count >= 5 and not cutter.knows(unit.text) for unit in characters)
    words = learn_words(runs, cutter.cost, min_count=5, max_length=10, size=100)
    texts = [unit.text for unit in words]
    assert {"黄疸", "患者", " hepatitis", " patient"} <= set(texts)
    assert {unit.text: unit.count for unit in words}[" hepatitis"] == len(TEXTS)
    worth = [unit.count * (cutter.cost(unit.text) - 1) for unit in words]
    assert worth == sorted(worth, reverse=True)
    short = learn_words(runs, cutter.cost, min_count=5, max_length=4, size=100)
    assert max(len(unit.text.strip()) for unit in short) <= 4


# -- tokenizers -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", KINDS)
def test_units_become_one_token_and_the_rest_stays_as_it_was(tmp_path: Path, kind: str) -> None:
    backend = backend_of(KINDS[kind](tmp_path))
    assert Cutter(backend).kind == kind
    units = ["黄疸", "肝炎", " hepatitis", "黄疸患者"]
    grown = grow(backend, units, size=200)
    assert grown.made == units
    assert not grown.failed
    assert not grown.left
    new = reread(grown)
    cutter = Cutter(new)
    assert all(cutter.knows(unit) for unit in units)
    name = cutter.name("黄疸患者")
    assert name in shown(new, "这是黄疸患者的")
    assert shown(backend, "abc the fed") == shown(new, "abc the fed")
    old = backend.get_vocab()
    assert {name: number for name, number in new.get_vocab().items() if name in old} == old
    # every new token is explained by old ones, whose texts together are its own
    for number, pieces in grown.pieces.items():
        assert number >= len(old)
        assert all(piece < len(old) for piece in pieces)
    text = "黄疸患者 has hepatitis."
    if kind != "unigram":  # which has no bytes to fall back to
        assert new.decode(new.encode(text).ids).strip() == text
    assert characters_per_token(new, [text]) > characters_per_token(backend, [text])


def test_room_is_kept(tmp_path: Path) -> None:
    backend = backend_of(build_tokenizer(tmp_path))
    grown = grow(backend, ["黄疸患者", "龘", "齉"], size=4)
    assert len(grown.pieces) <= 4
    assert "黄疸患者" in grown.left
    assert "龘" in grown.made


@pytest.mark.parametrize("kind", ["byte-level", "unigram"])
def test_what_the_tokenizer_cuts_before_cannot_become_one(tmp_path: Path, kind: str) -> None:
    grown = grow(backend_of(KINDS[kind](tmp_path)), ["blood pressure", "黄疸"], size=50)
    assert (grown.made, grown.failed) == (["黄疸"], ["blood pressure"])


def test_tokens_that_stand_beside_the_vocabulary_keep_their_ids(tmp_path: Path) -> None:
    tokenizer = build_tokenizer(tmp_path)
    tokenizer.add_tokens(["<|bot|>"], special_tokens=True)
    backend = backend_of(tokenizer)
    place = backend.token_to_id("<|bot|>")
    new = reread(grow(backend, ["黄疸"], size=20))
    assert new.token_to_id("<|bot|>") == place
    assert new.encode("<|bot|>黄疸").tokens[0] == "<|bot|>"


@pytest.mark.parametrize("kind", ["byte-level", "sentencepiece"])
def test_pieces_go_on_where_the_tokenizer_ended(tmp_path: Path, kind: str) -> None:
    backend = backend_of(KINDS[kind](tmp_path))
    cutter, runs = Cutter(backend), runs_of(TEXTS)
    first = grow(backend, [unit.text for unit in learn_characters(runs, cutter.cost, min_count=4)], size=100)
    backend_now = reread(first)
    cutter = Cutter(backend_now)
    merges = learn_pieces(runs, cutter.cut, min_count=4, size=40, closed=cutter.closed)
    grown = both(first, grow_merges(backend_now, merges, 40, 5))
    new = reread(grown)
    assert 0 < len(grown.pieces) - len(first.pieces) <= 40
    assert max(len(text.strip()) for text in grown.made) <= 5
    assert characters_per_token(new, TEXTS) > characters_per_token(backend_now, TEXTS)
    assert all(piece < len(backend.get_vocab()) for pieces in grown.pieces.values() for piece in pieces)


def test_other_kinds_are_refused(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models

    with pytest.raises(ModelError) as caught:
        grow(Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1}, unk_token="[UNK]")), ["b"], 5)
    assert caught.value.code == "vocabulary.kind"
    with pytest.raises(ModelError) as caught:
        grow_merges(backend_of(unigram_tokenizer(tmp_path)), [("a", "b")], 5, 8)
    assert caught.value.code == "vocabulary.no_merges"


# -- embeddings -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("spare", [0, 3])
def test_new_rows_are_the_mean_of_their_pieces(tied: bool, spare: int) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=10 + spare, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
                         num_attention_heads=2, tie_word_embeddings=tied)  # fmt: skip
    model = LlamaForCausalLM(config)
    before = [part.weight.detach().clone() for part in (model.get_input_embeddings(), model.get_output_embeddings())]
    pieces = {10: [1, 2], 11: [3], 12: [4, 4, 5], 13: []}
    assert resize(model, pieces) == 14
    assert model.config.vocab_size == 14
    after = [part.weight for part in (model.get_input_embeddings(), model.get_output_embeddings())]
    assert (after[0].data_ptr() == after[1].data_ptr()) == tied
    for old, new in zip(before, after, strict=True):
        assert torch.equal(new[:10], old[:10])
        torch.testing.assert_close(new[10], old[[1, 2]].mean(0))
        torch.testing.assert_close(new[12], (2 * old[4] + old[5]) / 3)
        torch.testing.assert_close(new[13], old.mean(0))


# -- the stage --------------------------------------------------------------------------------------------------------
def run_stage(workspace: Workspace, *words: str) -> RunDir:
    config = pin(workspace, STAGES["vocabulary"], resolve("vocabulary", overrides=list(words)))
    run = RunDir.create(workspace.runs_dir, "vocabulary")
    run.config_json.write_text(config.model_dump_json())
    vocabulary.main(RunContext(run, workspace, config, Report(run)))
    return run


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "corpus.jsonl", [{"text": text} for text in TEXTS])


def test_a_model_with_new_words_that_pretraining_starts_from(workspace, tiny_model, corpus, tmp_path) -> None:
    (tmp_path / "list.txt").write_text("阿司匹林\n\n黄疸\n黄疸\n", encoding="utf-8")
    run = run_stage(
        workspace, f"model.base={tiny_model}", f"words.corpus={corpus}", f"words.list={tmp_path / 'list.txt'}",
        "words.size=60", "words.max_length=10",
    )  # fmt: skip
    report = read_record(run.vocabulary_file, VocabularyReport)
    assert report is not None
    assert (report.blank, report.double, report.tied, report.kind) == (1, 1, True, "byte-level")
    assert report.rate > 1.5 * report.rate_before > 0
    assert report.shown[0].text == "阿司匹林"
    assert report.tokens - report.tokens_before == report.units + report.parts <= 60
    # it is a base like any other, and says that its new rows have not been trained on
    parent = resolve_parent(workspace, run.id)
    assert parent.grown
    assert parent.folder == run.output / "model"
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(parent.folder)
    tokenizer = AutoTokenizer.from_pretrained(parent.folder)
    assert model.config.vocab_size == len(tokenizer) == report.rows
    assert len(tokenizer("阿司匹林", add_special_tokens=False)["input_ids"]) == 1
    # one word among old ones: the model sees about what it saw before
    with torch.no_grad():
        assert torch.isfinite(model(torch.tensor([tokenizer("黄疸 ba be")["input_ids"]])).logits).all()
    encoder = Encoder(load_tokenizer(parent.folder))
    said = [{"role": "user", "content": "黄疸?"}, {"role": "assistant", "content": "阿司匹林"}]
    assert encoder.encode(said).labels[-2:] == tokenizer.convert_tokens_to_ids(
        [Cutter(tokenizer.backend_tokenizer).name("阿司匹林"), "<|im_end|>"]
    )
    manifest = run.manifest()
    assert manifest is not None
    assert (manifest.kind, manifest.method, manifest.data[0].rows_used) == ("model", "vocabulary", len(TEXTS))


@pytest.mark.parametrize("unit", ["characters", "pieces"])
def test_other_units(workspace, tiny_model, corpus, unit: str) -> None:
    run = run_stage(
        workspace, f"model.base={tiny_model}", f"words.corpus={corpus}", f"words.unit={unit}", "words.size=40"
    )
    report = read_record(run.vocabulary_file, VocabularyReport)
    assert report is not None
    assert report.rate > report.rate_before
    assert report.tokens <= report.tokens_before + 40


def test_the_adapter_of_a_run_is_merged_first(workspace, tiny_model, corpus) -> None:
    base = make_run(workspace, tiny_model, name="tuned")
    run = run_stage(workspace, "model.base=tuned", f"words.corpus={corpus}", "words.size=10")
    manifest = run.manifest()
    assert manifest is not None
    assert (manifest.parent, manifest.parent_adapter, len(manifest.chain)) == (base.id, "merged", 1)
    from transformers import AutoModelForCausalLM

    grown, plain = (AutoModelForCausalLM.from_pretrained(folder) for folder in (run.output / "model", tiny_model))
    name = "model.layers.0.mlp.up_proj.weight"
    assert not torch.equal(grown.state_dict()[name], plain.state_dict()[name])


def test_nothing_to_take_words_from_and_nothing_to_add(workspace, tiny_model, tmp_path) -> None:
    with pytest.raises(ConfigError) as caught:
        run_stage(workspace, f"model.base={tiny_model}")
    assert caught.value.problems[0].code == "vocabulary.no_source"
    with pytest.raises(ConfigError) as caught:
        run_stage(workspace, f"model.base={tiny_model}", "words.list=nowhere.txt")
    assert caught.value.problems[0].code == "vocabulary.list_missing"
    dull = import_file(workspace, write_jsonl(tmp_path / "dull.jsonl", [{"text": "a 1 b 2"}]))
    with pytest.raises(InputError) as raised:
        run_stage(workspace, f"model.base={tiny_model}", f"words.corpus={dull.ref}")
    assert raised.value.code == "vocabulary.nothing_new"


def test_the_corpus_may_be_conversations(workspace, tiny_model, tmp_path) -> None:
    rows = [{"messages": [{"role": "user", "content": "黄疸？"}, {"role": "assistant", "content": "查肝功能。"}]}] * 6
    file = write_jsonl(tmp_path / "chat.jsonl", [{**row, "n": n} for n, row in enumerate(rows)])
    run = run_stage(workspace, f"model.base={tiny_model}", f"words.corpus={file}", "words.unit=characters")
    assert json.loads(run.vocabulary_file.read_text())["units"] > 0
