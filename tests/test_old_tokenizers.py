"""SentencePiece files as tokenizers of today: on 10 000 lines of Chinese, English and code the same ids, the same text.

The files are trained here, of the kinds that the old families published: BPE with bytes as LLaMA and Baichuan have it,
with a table of normalisations, and unigram. The published files themselves are not at hand.
"""

from __future__ import annotations

import json
import random
import shutil
import sysconfig
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from sentencepiece import SentencePieceTrainer

from core.data.encode.tokenizer import load_tokenizer
from core.errors import ModelError
from core.models.conversions.chatglm2 import LAYOUT as CHATGLM2
from core.models.old_tokenizers import convert_tokenizer
from core.models.spm import PROBES, disagreements, from_sentencepiece

DATA = Path(__file__).resolve().parents[1] / "data"
PLAIN: dict[str, Any] = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}
KINDS: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "bpe", "byte_fallback": True, "split_digits": True, **PLAIN},
    "baichuan": {"model_type": "bpe", "byte_fallback": True, "add_dummy_prefix": False,
                 "user_defined_symbols": ["<reserved_102>", "<reserved_103>", "患者"], **PLAIN},
    "normalised": {"model_type": "bpe", "byte_fallback": True, "normalization_rule_name": "nmt_nfkc"},
    "unigram": {"model_type": "unigram", "byte_fallback": True, "user_defined_symbols": ["<n>"], **PLAIN},
}  # fmt: skip


@pytest.fixture(scope="module")
def lines() -> list[str]:
    """10 000 of them, of each sort a third: what people wrote, in both languages, and Python."""
    chinese, english = [], []
    for path in DATA.rglob("*.jsonl"):
        for text in (line.strip() for line in path.read_text("utf-8").split('"') if len(line) > 8):
            (chinese if any(sign > "\u3000" for sign in text) else english).append(text.replace("\\n", "\n"))
    code = [line for file in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[:40]
            for line in file.read_text("utf-8", "replace").split("\n")]  # fmt: skip
    rng = random.Random(0)
    found = [line for sort in (chinese, english, code) for line in rng.sample(sort, min(len(sort), 3334))]
    whole = found + rng.sample(code, 10_000 - len(found)) if len(found) < 10_000 else found
    assert len(whole) >= 10_000
    return whole


@pytest.fixture(scope="module")
def trained(lines: list[str], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """kind → a folder with tokenizer.model and nothing else, trained once on some of the lines."""
    root = tmp_path_factory.mktemp("sentencepiece")
    corpus = root / "corpus.txt"
    corpus.write_text("\n".join(line.replace("\n", " ") for line in random.Random(1).sample(lines, 2000)), "utf-8")

    @cache
    def train(kind: str) -> Path:
        (root / kind).mkdir()
        SentencePieceTrainer.train(
            input=str(corpus), model_prefix=str(root / kind / "tokenizer"), vocab_size=4000, character_coverage=0.999,
            minloglevel=2, **KINDS[kind],
        )  # fmt: skip
        (root / kind / "tokenizer.vocab").unlink()
        return root / kind

    return train


@pytest.mark.parametrize("kind", KINDS)
def test_ids_and_texts_are_sentencepieces_own(trained, lines: list[str], kind: str) -> None:
    path = trained(kind) / "tokenizer.model"
    backend = from_sentencepiece(path)
    assert disagreements(backend, path, PROBES) == []
    differ = disagreements(backend, path, lines, most=100)
    # Two cuts of a text may be equally likely to a unigram model; which of them is taken is nobody's rule.
    assert len(differ) <= (2 if kind == "unigram" else 0), differ[0]


def test_a_folder_with_nothing_but_the_file(trained, tmp_path: Path) -> None:
    source = trained("llama")
    assert convert_tokenizer(source, tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.unk_token) == ("<s>", "</s>", "<unk>")
    assert tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id
    assert tokenizer("a", add_special_tokens=False)["input_ids"] == tokenizer("a")["input_ids"][1:]
    assert (
        tokenizer.decode(tokenizer("患者 fever  39.5℃\n")["input_ids"], skip_special_tokens=True)
        == "患者 fever  39.5℃\n"
    )
    assert not convert_tokenizer(tmp_path, tmp_path)  # there is one now


def test_what_lies_beside_the_file_counts(trained, tmp_path: Path) -> None:
    source = Path(shutil.copytree(trained("llama"), tmp_path / "old"))
    size = from_sentencepiece(source / "tokenizer.model").get_vocab_size()
    (source / "added_tokens.json").write_text(json.dumps({"<human>": size, "[PAD]": size + 1, "高血压病": size + 2}))
    (source / "special_tokens_map.json").write_text(json.dumps({"pad_token": {"content": "[PAD]"}, "bos_token": ""}))
    config = {"add_bos_token": False, "add_eos_token": True, "model_max_length": 2048, "chat_template": "{{ 1 }}",
              "tokenizer_class": "LLaMATokenizer", "auto_map": {"AutoTokenizer": ["own.Own", None]}}  # fmt: skip
    (source / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "new").mkdir()
    assert convert_tokenizer(source, tmp_path / "new")
    tokenizer = load_tokenizer(tmp_path / "new")
    assert (tokenizer.pad_token_id, tokenizer.convert_tokens_to_ids("<human>")) == (size + 1, size)
    assert (tokenizer.model_max_length, tokenizer.chat_template) == (2048, "{{ 1 }}")
    said = tokenizer("患者有高血压病吗<human>", add_special_tokens=False)["input_ids"]
    assert {size, size + 2} <= set(said)
    assert tokenizer.decode(said, skip_special_tokens=True).replace(" ", "") == "患者有高血压病吗"  # a word is shown
    ids = tokenizer("a")["input_ids"]
    assert ids[0] != tokenizer.bos_token_id
    assert ids[-1] == tokenizer.eos_token_id
    (source / "added_tokens.json").write_text(json.dumps({"<human>": size + 7}))
    with pytest.raises(ModelError) as error:
        convert_tokenizer(source, tmp_path / "new")
    assert error.value.code == "tokenizer.unsupported"


@pytest.mark.parametrize("third", [False, True])
def test_what_chatglm_adds_in_its_code(trained, tmp_path: Path, third: bool) -> None:
    source = Path(shutil.copytree(trained("llama"), tmp_path / "glm"))
    (source / "config.json").write_text(json.dumps({"_name_or_path": "THUDM/chatglm3-6b" if third else "chatglm2-6b"}))
    size = from_sentencepiece(source / "tokenizer.model").get_vocab_size()
    convert_tokenizer(source, tmp_path, CHATGLM2)
    tokenizer = load_tokenizer(tmp_path)
    names = ["[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>", *(["<|system|>", "<|user|>"] if third else [])]
    assert tokenizer.convert_ids_to_tokens(range(size, size + len(names))) == names
    assert tokenizer("a")["input_ids"][:2] == [size + 1, size + 3]
    assert CHATGLM2.template(source) == ("chatglm3" if third else "chatglm2")


def test_files_that_are_none(trained, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(b"hello" * 100)
    with pytest.raises(ModelError) as error:
        convert_tokenizer(tmp_path, tmp_path)
    assert error.value.code == "tokenizer.unreadable"
    words = tmp_path / "words"
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("one two three four\n" * 50)
    SentencePieceTrainer.train(
        input=str(corpus), model_prefix=str(words), vocab_size=7, model_type="word", minloglevel=2
    )
    with pytest.raises(ModelError) as error:
        from_sentencepiece(Path(f"{words}.model"))
    assert error.value.code == "tokenizer.unsupported"
