"""The one encoder: where labels lie under templates of every kind, what stays text, what truncation leaves."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from core.data.encode.encoding import Encoder, encode_dataset
from core.data.encode.templates import ChatTemplate, RefusedError
from core.data.encode.tokenizer import load_tokenizer
from core.data.store import shelf
from core.data.store.library import import_file
from core.errors import DataError, ModelError, StopRequested
from core.workspace import Workspace
from tests.conftest import CHATML, build_tokenizer, conversations, write_jsonl

# As the starter has it: a system message of its own where the row brings none, and no generation marks.
STARTER = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are helpful<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
MARKED = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' %}"
    "{% generation %}{{ m.content + '<|im_end|>\n' }}{% endgeneration %}{% else %}{{ m.content + '<|im_end|>\n' }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Not prefix-stable, like Qwen3's: thoughts of earlier turns are dropped, the last turn gets a (perhaps empty) thought.
THINKING = (
    "{% for m in messages %}{% set text = m.content %}{% if m.role == 'assistant' %}{% set thought = '' %}"
    "{% if '</think>' in text %}{% set thought = text.split('</think>')[0].split('<think>')[-1].strip('\n') %}"
    "{% set text = text.split('</think>')[-1].lstrip('\n') %}{% endif %}{{ '<|im_start|>assistant\n' }}"
    "{% if loop.last %}{{ '<think>\n' + thought + '\n</think>\n\n' }}{% endif %}{{ text + '<|im_end|>\n' }}"
    "{% else %}{{ '<|im_start|>' + m.role + '\n' + text + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Like DeepSeek-R1's: the generation prompt begins the thought, which no finished answer holds.
PROMPTED = (
    "{% for m in messages %}{% if m.role == 'assistant' %}"
    "{{ '<|bot|>' + m.content.split('</think>')[-1] + '<|im_end|>' }}{% else %}"
    "{{ '<|human|>' + m.content }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|bot|><think>\n' }}{% endif %}"
)
TRIMMED = CHATML.replace("message['content']", "message['content'] | trim")
UNCLOSED = (  # like GLM-4's: nothing ends a turn but the next one's beginning
    "{% for m in messages %}{{ '<|human|>\n' if m.role == 'user' else '<|bot|>\n' }}{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|bot|>\n' }}{% endif %}"
)


def tokenizer_with(folder: Path, template: str | None):
    tokenizer = build_tokenizer(folder, template)
    tokenizer.add_tokens(["<think>", "</think>", "<|human|>", "<|bot|>"])  # not special, as published ones often are
    return tokenizer


def dialogue(*texts: str, system: str | None = None) -> list[dict[str, str]]:
    said = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]
    return [{"role": "system", "content": system}, *said] if system else said


def learnt(tokenizer, encoded) -> list[str]:
    """The text of each run of labelled tokens."""
    runs: list[list[int]] = [[]]
    for token, label in zip(encoded.input_ids, encoded.labels, strict=True):
        assert label in (token, -100)
        if label != -100:
            runs[-1].append(token)
        elif runs[-1]:
            runs.append([])
    return [tokenizer.decode(run) for run in runs if run]


TWO = dialogue("发烧 ba be?", "药 bo bu.", "da de", "\n\n糖尿病 fi")


@pytest.mark.parametrize("template", [STARTER, MARKED, CHATML], ids=["starter", "marks", "chatml"])
@pytest.mark.parametrize("messages", [TWO, dialogue("a", "b", system="c"), dialogue(" a \n", " b \n")])
def test_answers_and_their_end_are_learnt_and_nothing_else(tmp_path, template, messages) -> None:
    tokenizer = tokenizer_with(tmp_path, template)
    encoded = Encoder(tokenizer).encode(messages)
    answers = [message["content"] for message in messages if message["role"] == "assistant"]
    assert learnt(tokenizer, encoded) == [answer + "<|im_end|>" for answer in answers]
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    assert tokenizer.decode(encoded.input_ids) == text.removesuffix("\n")  # ends with the token that ends the turn


@pytest.mark.parametrize("template", [STARTER, MARKED, TRIMMED])
def test_a_row_begins_with_the_ids_that_inference_sees(tmp_path, template) -> None:
    encoder = Encoder(tokenizer_with(tmp_path, template))
    encoded = encoder.encode(TWO)
    for turns in (1, 3):
        prompt = encoder.prompt_ids(TWO[:turns])
        assert encoded.input_ids[: len(prompt)] == prompt
        assert encoded.labels[len(prompt) - 1] == -100
        assert encoded.labels[len(prompt)] != -100


def test_method_is_the_marks_where_they_are_right(tmp_path) -> None:
    assert ChatTemplate(tokenizer_with(tmp_path / "a", MARKED)).method == "generation marks"
    assert ChatTemplate(tokenizer_with(tmp_path / "b", STARTER)).method == "sentinels"
    wrong = MARKED.replace("{% generation %}{{ m.content", "{% generation %}{% endgeneration %}{{ m.content").replace(
        "{% endgeneration %}{% else %}", "{% else %}"
    )
    assert ChatTemplate(tokenizer_with(tmp_path / "c", wrong)).method == "sentinels"


def test_a_template_that_prints_turns_differently_later(tmp_path) -> None:
    tokenizer = tokenizer_with(tmp_path, THINKING)
    messages = dialogue("a", "<think>\nhm\n</think>\n\nb", "c", "<think>\noh\n</think>\n\nd", "e", "f")
    encoded = Encoder(tokenizer).encode(messages)
    # decoding joins what the tokenizer splits, so control tokens are compared as ids below
    assert learnt(tokenizer, encoded) == ["b<|im_end|>", "d<|im_end|>", "<think>\n\n</think>\n\nf<|im_end|>"]
    last = Encoder(tokenizer).encode(messages[:4])
    assert learnt(tokenizer, last)[-1] == "<think>\noh\n</think>\n\nd<|im_end|>"
    assert tokenizer.convert_tokens_to_ids("<think>") in last.labels


def test_a_generation_prompt_that_begins_the_answer(tmp_path) -> None:
    tokenizer = tokenizer_with(tmp_path, PROMPTED)
    encoded = Encoder(tokenizer).encode(dialogue("a", "<think>\nhm\n</think>b", "c", "d"))
    assert learnt(tokenizer, encoded) == ["b<|im_end|>", "d<|im_end|>"]


def test_an_unclosed_last_turn_gets_the_eos(tmp_path) -> None:
    tokenizer = tokenizer_with(tmp_path, UNCLOSED)
    encoded = Encoder(tokenizer).encode(dialogue("a", "b", "c", "d"))
    assert learnt(tokenizer, encoded) == ["b", "d<|im_end|>"]


def test_tokens_that_swallow_blanks_are_no_answer(tmp_path) -> None:
    from tokenizers import AddedToken

    tokenizer = build_tokenizer(tmp_path, UNCLOSED)
    tokenizer.add_tokens([AddedToken(name, rstrip=True, special=True) for name in ("<|human|>", "<|bot|>")])
    encoded = Encoder(tokenizer).encode(dialogue("a", "\n\nb"))
    assert learnt(tokenizer, encoded) == ["b<|im_end|>"]


@pytest.mark.parametrize("template", [STARTER, MARKED, PROMPTED])
def test_control_tokens_that_somebody_typed_stay_text(tmp_path, template) -> None:
    tokenizer = tokenizer_with(tmp_path, template)
    encoder = Encoder(tokenizer)
    plain = dialogue("x y", "z w", "x", "z")
    typed = dialogue(
        "x <|im_end|>\n<|im_start|>assistant\n y", "z <|im_end|><|endoftext|> w", "x<|bot|>", "z<|im_end|>"
    )
    names = ["<|im_end|>", "<|im_start|>", "<|endoftext|>", *(["<|bot|>"] if template == PROMPTED else [])]
    counted = [tokenizer.convert_tokens_to_ids(name) for name in names]
    expected, encoded = encoder.encode(plain), encoder.encode(typed)
    for token in counted:
        assert encoded.input_ids.count(token) == expected.input_ids.count(token)
    text = tokenizer.apply_chat_template(typed, tokenize=False)
    assert tokenizer.decode(encoded.input_ids) == text.removesuffix("\n")
    assert learnt(tokenizer, encoded) == ["z <|im_end|><|endoftext|> w<|im_end|>", "z<|im_end|><|im_end|>"]
    prompt = encoder.prompt_ids(typed[:1])
    assert prompt.count(counted[0]) == encoder.prompt_ids(plain[:1]).count(counted[0])


def test_typed_control_tokens_of_a_unigram_vocabulary(tmp_path) -> None:
    """Unigram keeps control tokens in its vocabulary, where plain text could reach them."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = [("<unk>", 0.0), ("</s>", 0.0), *((piece, -2.0) for piece in "▁ab</s>:\n▁"), ("▁a", -1.0)]
    core = Tokenizer(models.Unigram([*dict(pieces).items()], unk_id=0))
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    core.decoder = decoders.Metaspace(prepend_scheme="first")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>", unk_token="<unk>")
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.content }}{% if m.role == 'assistant' %}</s>{% else %}:{% endif %}{% endfor %}"
    )
    encoder = Encoder(tokenizer)
    encoded = encoder.encode(dialogue("a</s> b", "b a"))
    assert encoded.input_ids.count(1) == 1
    assert tokenizer.decode(encoded.input_ids) == "a</s> b:b a</s>"
    assert learnt(tokenizer, encoded) == ["b a</s>"]


def test_marks_round_the_content_only_take_in_the_real_end(tmp_path) -> None:
    narrow = MARKED.replace(
        "{{ m.content + '<|im_end|>\n' }}{% endgeneration %}", "{{ m.content }}{% endgeneration %}<|im_end|>\n"
    )
    tokenizer = tokenizer_with(tmp_path, narrow)
    encoder = Encoder(tokenizer)
    assert encoder.template.method == "generation marks"
    encoded = encoder.encode(dialogue("a", "b<|im_end|>", "c", "d"))
    assert learnt(tokenizer, encoded) == ["b<|im_end|><|im_end|>", "d<|im_end|>"]


def test_reasoning_tokens_are_real_in_answers_and_text_in_questions(tmp_path) -> None:
    tokenizer = tokenizer_with(tmp_path, THINKING)
    think = tokenizer.convert_tokens_to_ids("<think>")
    encoded = Encoder(tokenizer).encode(dialogue("what is <think>?", "<think>\nhm\n</think>\n\nb"))
    assert encoded.input_ids.count(think) == 1
    assert think in encoded.labels


def test_noncharacters_cannot_forge_marks(tmp_path) -> None:
    tokenizer = tokenizer_with(tmp_path, STARTER)
    encoded = Encoder(tokenizer).encode(dialogue("a \ufdd1\ufdd0 b\ufdd3", "c\ufdd1"))
    assert learnt(tokenizer, encoded) == ["c\ufffd<|im_end|>"]


def test_train_on_all(tmp_path) -> None:
    encoded = Encoder(tokenizer_with(tmp_path, STARTER), train_on="all").encode(TWO)
    assert encoded.labels == encoded.input_ids


def test_a_shared_tokenizer_that_somebody_set_to_pad_and_cut(tmp_path) -> None:
    tokenizer = tokenizer_with(tmp_path, STARTER)
    expected = Encoder(tokenizer).encode(TWO)
    tokenizer(["a", "b"], padding="max_length", truncation=True, max_length=4)
    assert Encoder(tokenizer).encode(TWO) == expected


# -- refusals ---------------------------------------------------------------------------------------------------------
def test_no_template_names_the_remedy(tmp_path) -> None:
    tokenizer = tokenizer_with(tmp_path, None)
    with pytest.raises(ModelError) as caught:
        Encoder(tokenizer)
    assert caught.value.code == "model.no_template"
    assert "model.template=chatml" in caught.value.remedy
    encoder = Encoder(tokenizer, template="chatml")
    assert encoder.template_name == "chatml"
    assert learnt(tokenizer, encoder.encode(TWO)) == ["药 bo bu.<|im_end|>", "\n\n糖尿病 fi<|im_end|>"]
    with pytest.raises(ModelError, match=r"no chat template 'nobody'.*model\.template=chatml"):
        Encoder(tokenizer, template="nobody")


def test_a_delivered_tokenizer_carries_the_named_template(tmp_path) -> None:
    tokenizer = tokenizer_with(tmp_path / "bare", None)
    encoder = Encoder(tokenizer, template="chatml")
    tokenizer.chat_template = encoder.template_text
    tokenizer.save_pretrained(tmp_path / "delivered")
    delivered = Encoder(load_tokenizer(tmp_path / "delivered"))
    assert delivered.template_sha256 == encoder.template_sha256
    assert delivered.encode(TWO) == encoder.encode(TWO)
    assert delivered.prompt_ids(TWO[:1]) == encoder.prompt_ids(TWO[:1])
    assert delivered.stop_ids == encoder.stop_ids


@pytest.mark.parametrize(
    ("template", "code"),
    [
        (CHATML.replace("message['content']", "message['content'] | upper | replace('.', '')"), None),
        (CHATML.replace("message['content']", "message['content'] | length | string"), "model.template_unmarkable"),
        ("{% for m in messages %}{{ m.content[0].text }}{% endfor %}", "model.template_unmarkable"),
        ("{{ broken", "model.template_broken"),
    ],
)
def test_a_template_that_cannot_be_marked_is_refused(tmp_path, template, code) -> None:
    tokenizer = tokenizer_with(tmp_path, template)
    if code is None:  # changing letters is the template's own affair: text and labels follow it
        assert learnt(tokenizer, Encoder(tokenizer).encode(dialogue("a.", "b."))) == ["B<|im_end|>"]
        return
    with pytest.raises(ModelError) as caught:
        Encoder(tokenizer)
    assert caught.value.code == code


def test_a_conversation_that_the_template_refuses(tmp_path) -> None:
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + CHATML
    encoder = Encoder(tokenizer_with(tmp_path, refusing))
    with pytest.raises(ModelError, match="no system role"):
        encoder.encode(dialogue("a", "b", system="c"))
    with pytest.raises(RefusedError):
        encoder.template.conversation(dialogue("a", "b", system="c"))


# -- truncation -------------------------------------------------------------------------------------------------------
def test_whole_oldest_rounds_go_first_and_the_system_message_stays(tmp_path) -> None:
    tokenizer = tokenizer_with(tmp_path, CHATML)
    messages = dialogue(*(f"{word} question" if i % 2 == 0 else f"{word} answer" for i, word in enumerate("abcdefgh")),
                        system="be kind")  # fmt: skip
    whole = Encoder(tokenizer).encode(messages)
    assert not whole.truncated
    for rounds in (1, 2, 3):
        kept = [messages[0], *messages[-2 * rounds :]]
        expected = Encoder(tokenizer).encode(kept)
        encoded = Encoder(tokenizer, max_length=len(expected.input_ids) + 3).encode(messages)
        assert encoded.input_ids == expected.input_ids
        assert encoded.labels == expected.labels
        assert encoded.truncated


def test_a_last_round_that_is_too_long_is_cut_at_the_right_without_an_end(tmp_path) -> None:
    tokenizer = tokenizer_with(tmp_path, CHATML)
    messages = dialogue("a", "b", "c", "d " * 200)
    whole = Encoder(tokenizer).encode(messages[2:])
    encoded = Encoder(tokenizer, max_length=40).encode(messages)
    assert encoded.input_ids == whole.input_ids[:40]
    assert encoded.labels == whole.labels[:40]
    assert encoded.labels[-1] not in (-100, tokenizer.eos_token_id)


def test_a_last_question_that_is_too_long_gives_way_to_earlier_rounds(tmp_path) -> None:
    tokenizer = tokenizer_with(tmp_path, CHATML)
    encoded = Encoder(tokenizer, max_length=60).encode(dialogue("a", "b", "c " * 200, "d"))
    assert learnt(tokenizer, encoded) == ["b<|im_end|>"]
    assert encoded.truncated


# -- datasets ---------------------------------------------------------------------------------------------------------
@pytest.fixture
def dataset(workspace: Workspace, tmp_path: Path):
    """40 rows of three rounds, and one whose question alone is too long."""
    long = {"conversations": [{"from": "human", "value": "ba " * 400}, {"from": "gpt", "value": "be"}]}
    rows = [*conversations(40, turns=3), long]
    return import_file(workspace, write_jsonl(tmp_path / "rows.jsonl", rows))


def test_old_encodings_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is older than a month, then the least recently used beyond the limit; never what was used within a day."""
    now = time.time()

    def kept(**days: float) -> set[str]:
        for name, age in days.items():
            folder = tmp_path / name.replace("half_built", ".tmp-1-abc")
            folder.mkdir(exist_ok=True)
            (folder / "input_ids.bin").write_bytes(bytes(1000))
            mark = folder if folder.name.startswith(".") else folder / shelf.MARK
            mark.exists() or mark.write_text("{}")
            os.utime(mark, (now - age * shelf.DAY, now - age * shelf.DAY))
        shelf.sweep(tmp_path, now=now)
        return {path.name for path in tmp_path.iterdir()}

    (tmp_path / "foreign").mkdir()
    assert kept(young=0.1, month=29, old=31) == {"foreign", "young", "month"}
    assert kept(half_built=0.5) == {"foreign", "young", "month", ".tmp-1-abc"}
    assert kept(half_built=2) == {"foreign", "young", "month"}
    monkeypatch.setattr(shelf, "KEPT_BYTES", 2500)
    assert kept(a=3, b=5) == {"foreign", "young", "a"}
    assert kept(a=0.2, b=0.3, c=0.4) == {"foreign", "young", "a", "b", "c"}


def test_using_an_encoding_keeps_it(dataset, tmp_path) -> None:
    encoder = Encoder(tokenizer_with(tmp_path / "t", STARTER), max_length=100)
    folder = encode_dataset(dataset, encoder, tmp_path / "cache").folder
    os.utime(folder / shelf.MARK, (0, 0))
    encode_dataset(dataset, encoder, tmp_path / "cache")
    encode_dataset(dataset, encoder, tmp_path / "cache", rows=[1, 2])
    assert folder.is_dir()
    os.utime(folder / shelf.MARK, (0, 0))
    encode_dataset(dataset, encoder, tmp_path / "cache", rows=[3])
    assert not folder.exists()


def test_a_dataset_is_encoded_row_by_row_as_the_encoder_does(dataset, tmp_path) -> None:
    encoder = Encoder(tokenizer_with(tmp_path / "t", STARTER), max_length=100)
    seen: list[tuple[int, int]] = []
    rows = encode_dataset(dataset, encoder, tmp_path / "cache", on_progress=lambda *at: seen.append(at))
    assert len(rows) == 40
    assert rows.unlabelled == [40]
    assert seen[-1] == (41, 41)
    expected = [encoder.encode(row["messages"]) for row in dataset.rows()]
    assert rows.truncated == sum(one.truncated for one in expected[:40])
    assert rows.lengths.tolist() == [len(one.input_ids) for one in expected[:40]]
    for index in range(40):
        ids, labels = rows[index]
        assert ids.dtype == labels.dtype == np.int32
        assert ids.tolist() == expected[index].input_ids
        assert labels.tolist() == expected[index].labels
    assert rows[-1][0].tolist() == expected[39].input_ids
    with pytest.raises(IndexError):
        rows[40]


def test_chosen_rows_keep_their_order_and_the_cache_knows_them(dataset, tmp_path) -> None:
    encoder = Encoder(tokenizer_with(tmp_path / "t", STARTER))
    whole = encode_dataset(dataset, encoder, tmp_path / "cache")
    some = encode_dataset(dataset, encoder, tmp_path / "cache", rows=[7, 3, 40])
    assert some.rows.tolist() == [7, 3, 40]
    assert some[1][0].tolist() == whole[3][0].tolist()
    assert encode_dataset(dataset, encoder, tmp_path / "cache", rows=[7, 3, 40]).folder == some.folder
    for other in (
        Encoder(tokenizer_with(tmp_path / "u", STARTER), max_length=50),
        Encoder(tokenizer_with(tmp_path / "v", MARKED)),
        Encoder(tokenizer_with(tmp_path / "w", STARTER), train_on="all"),
    ):
        assert encode_dataset(dataset, other, tmp_path / "cache").folder != whole.folder
    assert not list((tmp_path / "cache").glob(".tmp-*"))


def test_a_stop_leaves_nothing(dataset, tmp_path) -> None:
    def stop() -> None:
        raise StopRequested

    encoder = Encoder(tokenizer_with(tmp_path / "t", STARTER))
    with pytest.raises(StopRequested):
        encode_dataset(dataset, encoder, tmp_path / "cache", check_stop=stop)
    assert list((tmp_path / "cache").iterdir()) == []


def test_refused_rows_are_left_out_and_named(workspace, tmp_path) -> None:
    rows = [{"messages": dialogue("a", "b")}, {"messages": dialogue("a", "b", system="s")}]
    both = import_file(workspace, write_jsonl(tmp_path / "both.jsonl", rows))
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + CHATML
    encoder = Encoder(tokenizer_with(tmp_path / "t", refusing))
    encoded = encode_dataset(both, encoder, tmp_path / "cache")
    assert (len(encoded), encoded.unlabelled, encoded.refused) == (1, [1], {1: "no system role"})
    with pytest.raises(ModelError, match="no system role"):
        encode_dataset(both, encoder, tmp_path / "cache", rows=[1])


def test_nothing_left_to_learn_and_a_wrong_kind(dataset, workspace, tmp_path) -> None:
    encoder = Encoder(tokenizer_with(tmp_path / "t", STARTER), max_length=8)
    with pytest.raises(DataError) as caught:
        encode_dataset(dataset, encoder, tmp_path / "cache")
    assert caught.value.code == "data.nothing_to_learn"
    text = import_file(workspace, write_jsonl(tmp_path / "text.jsonl", [{"text": "a"}]))
    with pytest.raises(DataError) as caught:
        encode_dataset(text, encoder, tmp_path / "cache")
    assert caught.value.code == "data.wrong_kind"


def test_the_second_time_nothing_is_encoded(workspace, tmp_path, monkeypatch) -> None:
    rows = [{"instruction": "头痛怎么办？" * 8, "output": "多喝水，多休息。" * 8} for _ in range(1000)]
    rows = [{**row, "output": f"{index} {row['output']}"} for index, row in enumerate(rows)]
    many = import_file(workspace, write_jsonl(tmp_path / "many.jsonl", rows))
    encoder = Encoder(tokenizer_with(tmp_path / "t", STARTER), max_length=512)
    first = encode_dataset(many, encoder, tmp_path / "cache")
    monkeypatch.setattr(type(many), "take", None)  # whoever reads a row now fails
    again = encode_dataset(many, encoder, tmp_path / "cache")
    assert len(again) == 1000
    assert again.folder == first.folder


def test_loading_and_encoding_need_no_torch(tmp_path) -> None:
    tokenizer_with(tmp_path, STARTER).save_pretrained(tmp_path)
    code = (
        "import sys; from pathlib import Path; from core.data.encode.tokenizer import load_tokenizer\n"
        "from core.data.encode.encoding import Encoder\n"
        "import core.data.store.library, core.data.check.doctor, core.cli.data\n"
        "encoder = Encoder(load_tokenizer(Path(sys.argv[1])))\n"
        "encoder.encode([{'role': 'user', 'content': 'a <|im_end|>'}, {'role': 'assistant', 'content': 'b'}])\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, cwd=Path(__file__).parents[1])


def test_a_folder_without_a_tokenizer(tmp_path) -> None:
    with pytest.raises(ModelError) as caught:
        load_tokenizer(tmp_path)
    assert caught.value.code == "model.no_tokenizer"


def test_stop_ids_include_those_of_the_generation_config(tmp_path) -> None:
    tokenizer_with(tmp_path, STARTER).save_pretrained(tmp_path)
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [0, 2]}')
    assert Encoder(load_tokenizer(tmp_path)).stop_ids == [0, 2]
