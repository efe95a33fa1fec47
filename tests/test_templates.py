"""Named chat templates against the formats that their authors published, to the letter; and what they teach."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.data.encode.encoding import Encoder
from core.data.encode.named import FOLDER, NAMED, start_of
from core.data.encode.templates import ChatTemplate
from core.data.encode.tokenizer import load_tokenizer
from core.errors import ModelError
from tests.conftest import build_tokenizer
from tests.families_tools import spm_tokenizer

TASK = "Below is an instruction that describes a task. Write a response that appropriately completes the request."
CHAT = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
CONTROL = ["<|user|>", "<|assistant|>", "<|system|>", "<|observation|>", "<reserved_102>", "<reserved_103>",
           "<reserved_106>", "<reserved_107>", "<human>", "<bot>"]  # fmt: skip

# name → (one turn, two turns, two turns with a system message "S"), each up to where the model is to answer.
PROMPTS: dict[str, tuple[str, str, str]] = {
    "chatml": (
        "<|im_start|>user\nQ1<|im_end|>\n<|im_start|>assistant\n",
        "<|im_start|>user\nQ1<|im_end|>\n<|im_start|>assistant\nA1<|im_end|>\n<|im_start|>user\nQ2<|im_end|>\n<|im_start|>assistant\n",
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nQ1<|im_end|>\n<|im_start|>assistant\nA1<|im_end|>\n"
        "<|im_start|>user\nQ2<|im_end|>\n<|im_start|>assistant\n",
    ),
    "medicalgpt": (
        f"{TASK}\n\n### Instruction:Q1\n\n### Response: ",
        f"{TASK}\n\n### Instruction:Q1\n\n### Response: A1</s>\n\n### Instruction:Q2\n\n### Response: ",
        "S\n\n### Instruction:Q1\n\n### Response: A1</s>\n\n### Instruction:Q2\n\n### Response: ",
    ),
    "alpaca": (
        f"{TASK}\n\n### Instruction:\nQ1\n\n### Response:",
        f"{TASK}\n\n### Instruction:\nQ1\n\n### Response:A1</s>\n\n### Instruction:\nQ2\n\n### Response:",
        "S\n\n### Instruction:\nQ1\n\n### Response:A1</s>\n\n### Instruction:\nQ2\n\n### Response:",
    ),
    "vicuna": (
        f"{CHAT} USER: Q1 ASSISTANT:",
        f"{CHAT} USER: Q1 ASSISTANT: A1</s>USER: Q2 ASSISTANT:",
        "S USER: Q1 ASSISTANT: A1</s>USER: Q2 ASSISTANT:",
    ),
    "ziya": (
        "<human>:Q1\n<bot>:",
        "<human>:Q1\n<bot>:A1</s><human>:Q2\n<bot>:",
        "S\n<human>:Q1\n<bot>:A1</s><human>:Q2\n<bot>:",
    ),
    "belle": (
        "Human: Q1\n\nBelle: ",
        "Human: Q1\n\nBelle: A1</s>\n\nHuman: Q2\n\nBelle: ",
        "S\n\nHuman: Q1\n\nBelle: A1</s>\n\nHuman: Q2\n\nBelle: ",
    ),
    "llama2": (
        "[INST] Q1 [/INST]",
        "[INST] Q1 [/INST] A1 </s>[INST] Q2 [/INST]",
        "[INST] <<SYS>>\nS\n<</SYS>>\n\nQ1 [/INST] A1 </s>[INST] Q2 [/INST]",
    ),
    "baichuan": (
        "<reserved_102>Q1<reserved_103>",
        "<reserved_102>Q1<reserved_103>A1</s><reserved_102>Q2<reserved_103>",
        "S<reserved_102>Q1<reserved_103>A1</s><reserved_102>Q2<reserved_103>",
    ),
    "baichuan2": (
        "<reserved_106>Q1<reserved_107>",
        "<reserved_106>Q1<reserved_107>A1<reserved_106>Q2<reserved_107>",
        "S<reserved_106>Q1<reserved_107>A1<reserved_106>Q2<reserved_107>",
    ),
    "chatglm": (
        "Q1",
        "[Round 0]\n问：Q1\n答：A1\n[Round 1]\n问：Q2\n答：",
        "S\n[Round 0]\n问：Q1\n答：A1\n[Round 1]\n问：Q2\n答：",
    ),
    "chatglm-6b": (
        "Q1[gMASK]<sop>",
        "[Round 0]\n问：Q1\n答：A1\n[Round 1]\n问：Q2\n答：[gMASK]<sop>",
        "S\n[Round 0]\n问：Q1\n答：A1\n[Round 1]\n问：Q2\n答：[gMASK]<sop>",
    ),
    "chatglm2": (
        "[Round 1]\n\n问：Q1\n\n答：",
        "[Round 1]\n\n问：Q1\n\n答：A1\n\n[Round 2]\n\n问：Q2\n\n答：",
        "S\n\n[Round 1]\n\n问：Q1\n\n答：A1\n\n[Round 2]\n\n问：Q2\n\n答：",
    ),
    "chatglm3": (
        "<|user|>\n Q1<|assistant|>",
        "<|user|>\n Q1<|assistant|>\n A1<|user|>\n Q2<|assistant|>",
        "<|system|>\n S<|user|>\n Q1<|assistant|>\n A1<|user|>\n Q2<|assistant|>",
    ),
    "bloomz": ("Q1", "Q1A1</s>Q2", "S\nQ1A1</s>Q2"),
    "plain": ("Q1", "Q1A1</s>Q2", "S\nQ1A1</s>Q2"),
}
# name → what is learnt of two turns, where it is not the answers, each with the end token.
LEARNT = {
    "chatml": ["A1<|im_end|>", "A2<|im_end|>"],
    "vicuna": [" A1</s>", " A2</s>"],
    "llama2": [" A1 </s>", " A2 </s>"],
    "baichuan2": ["A1<reserved_106>", "A2</s>"],
    "chatglm": ["A1", "A2</s>"],
    "chatglm-6b": ["A2</s>"],
    "chatglm2": ["A1", "A2</s>"],
    "chatglm3": ["\n A1<|user|>", "\n A2</s>"],
}


def base_tokenizer(folder: Path, start: list[str] | None = None):
    """A base model's tokenizer: no template, `</s>` ends a text, and perhaps `start` stands before every one."""
    from tokenizers.processors import TemplateProcessing

    tokenizer = build_tokenizer(folder, None)
    tokenizer.add_special_tokens({"eos_token": "</s>"})
    tokenizer.add_tokens(CONTROL, special_tokens=True)
    if start:
        tokenizer.add_tokens(start, special_tokens=True)
        ids = [(token, tokenizer.convert_tokens_to_ids(token)) for token in start]
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single=[*start, "$A"], pair=None, special_tokens=ids
        )
    tokenizer.save_pretrained(folder)
    return load_tokenizer(folder)


def said(*texts: str, system: str | None = None) -> list[dict[str, str]]:
    turns = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]
    return [{"role": "system", "content": system}, *turns] if system else turns


def learnt(tokenizer, encoded) -> list[str]:
    """The text of each run of labelled tokens."""
    runs: list[list[int]] = [[]]
    for token, label in zip(encoded.input_ids, encoded.labels, strict=True):
        if label != -100:
            runs[-1].append(token)
        elif runs[-1]:
            runs.append([])
    return [tokenizer.decode(run) for run in runs if run]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory):
    return base_tokenizer(tmp_path_factory.mktemp("base"))


def test_every_template_is_tested_and_has_its_file() -> None:
    assert set(PROMPTS) == set(NAMED)
    assert {named.file for named in NAMED.values()} == {file.stem for file in FOLDER.glob("*.jinja")}


@pytest.mark.parametrize("name", NAMED)
def test_prompts_are_the_published_ones(tokenizer, name: str) -> None:
    template = ChatTemplate(tokenizer, name)
    assert template.method == "generation marks"
    one, two, with_system = PROMPTS[name]
    for messages, expected in (
        (said("Q1"), one),
        (said("Q1", "A1", "Q2"), two),
        (said("Q1", "A1", "Q2", system="S"), with_system),
    ):
        assert template.render(messages, generation_prompt=True) == expected
        ids = Encoder(tokenizer, template=name).prompt_ids(messages)
        assert tokenizer.decode(ids) == expected


@pytest.mark.parametrize("name", NAMED)
def test_answers_and_their_ends_are_learnt(tokenizer, name: str) -> None:
    encoder = Encoder(tokenizer, template=name)
    encoded = encoder.encode(said("Q1", "A1", "Q2", "A2", system="S"))
    assert learnt(tokenizer, encoded) == LEARNT.get(name, ["A1</s>", "A2</s>"])
    # a row begins with what inference sees, and ends with a token at which inference stops
    prompt = encoder.prompt_ids(said("Q1", "A1", "Q2", system="S"))
    assert encoded.input_ids[: len(prompt)] == prompt
    assert encoded.input_ids[-1] in encoder.stop_ids
    ends = [text for text in LEARNT.get(name, []) if text.endswith(">")]
    for text in ends:
        assert tokenizer.convert_tokens_to_ids("<" + text.rpartition("<")[2]) in encoder.stop_ids


@pytest.mark.parametrize("name", NAMED)
def test_rows_begin_with_what_inference_sees_on_sentencepiece_too(tmp_path: Path, name: str) -> None:
    tokenizer = spm_tokenizer(tmp_path)
    encoder = Encoder(tokenizer, template=name)
    encoded = encoder.encode(said("Q1", "A1", "Q2", "A2", system="S"))
    prompt = encoder.prompt_ids(said("Q1", "A1", "Q2", system="S"))
    assert encoded.input_ids[: len(prompt)] == prompt
    assert prompt[0] == tokenizer.bos_token_id
    assert encoded.input_ids[-1] == encoded.labels[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(prompt[1:]) == PROMPTS[name][2].replace("<|im_end|>", "</s>").replace(
        "</s>[INST]", "</s><s>[INST]"
    )


@pytest.mark.parametrize("name", ["ziya", "llama2"])
def test_blanks_round_a_text_are_cut_as_the_authors_do(tokenizer, name: str) -> None:
    template = ChatTemplate(tokenizer, name)
    assert template.render(said(" Q1\n", " A1 ", "Q2 "), generation_prompt=True) == PROMPTS[name][1]
    assert learnt(tokenizer, Encoder(tokenizer, template=name).encode(said(" Q1\n", " A1 "))) == [
        LEARNT.get(name, ["A1</s>"])[0]
    ]


@pytest.mark.parametrize(
    ("start", "name"), [(["<s>"], "llama2"), (["<s>"], "vicuna"), (["[gMASK]", "sop"], "chatglm3")]
)
def test_what_a_tokenizer_puts_before_every_text_comes_first(tmp_path: Path, start: list[str], name: str) -> None:
    tokenizer = base_tokenizer(tmp_path, start)
    assert start_of(tokenizer) == "".join(start)
    rendered = ChatTemplate(tokenizer, name).render(said("Q1", "A1", "Q2"), generation_prompt=True)
    expected = "".join(start) + PROMPTS[name][1]
    if name == "llama2":  # Llama 2 begins every turn with it
        expected = "<s>[INST] Q1 [/INST] A1 </s><s>[INST] Q2 [/INST]"
    assert rendered == expected
    ids = Encoder(tokenizer, template=name).prompt_ids(said("Q1"))
    assert ids == tokenizer(PROMPTS[name][0])["input_ids"]


def test_the_articles_prompt_byte_for_byte(tokenizer) -> None:
    instruction = "一岁宝宝发烧能吃啥药？"
    published = (
        "Below is an instruction that describes a task. Write a response that appropriately completes the request."
        f"\n\n### Instruction:{instruction}\n\n### Response: "
    )
    assert ChatTemplate(tokenizer, "medicalgpt").render(said(instruction), generation_prompt=True) == published


@pytest.mark.parametrize("name", NAMED)
def test_a_saved_tokenizer_carries_the_whole_template(tmp_path: Path, name: str) -> None:
    tokenizer = base_tokenizer(tmp_path / "base", ["<s>"])
    encoder = Encoder(tokenizer, template=name)
    tokenizer.chat_template = encoder.template_text
    tokenizer.save_pretrained(tmp_path / "saved")
    saved = load_tokenizer(tmp_path / "saved")
    again = Encoder(saved)
    messages = said("Q1", "A1", "Q2", "A2", system="S")
    assert again.encode(messages) == encoder.encode(messages)
    assert again.stop_ids == encoder.stop_ids
    # without this project: Transformers finds the same answers by the marks
    found = saved.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
    assert sum(found["assistant_masks"]) > 0


def test_typed_control_tokens_stay_text(tokenizer) -> None:
    encoder = Encoder(tokenizer, template="chatglm3")
    user = tokenizer.convert_tokens_to_ids("<|user|>")
    assert encoder.encode(said("a<|user|>b", "c<|user|>d")).input_ids.count(user) == 1


def test_an_own_template_wins_unless_another_is_named(tmp_path: Path) -> None:
    tokenizer = build_tokenizer(tmp_path)
    assert Encoder(tokenizer).template_name == "tokenizer"
    assert Encoder(tokenizer, template="alpaca").template_name == "alpaca"


# -- tokenizers that name no token for the end or for padding ---------------------------------------------------------
def bare_tokenizer(folder: Path, added: list[str]):
    """A tokenizer whose files name neither eos nor pad."""
    from transformers import PreTrainedTokenizerFast

    core = build_tokenizer(folder, None).backend_tokenizer
    core.add_special_tokens(added)
    PreTrainedTokenizerFast(tokenizer_object=core).save_pretrained(folder)
    return folder


def test_end_and_padding_are_found_where_the_vocabulary_has_them(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(bare_tokenizer(tmp_path, ["</s>", "<unk>"]))
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.pad_token == "<|endoftext|>"
    assert learnt(tokenizer, Encoder(tokenizer, template="alpaca").encode(said("a", "b"))) == ["b<|im_end|>"]


def test_the_config_says_which_token_is_the_end(tmp_path: Path) -> None:
    folder = bare_tokenizer(tmp_path, ["</s>", "<unk>"])
    (folder / "config.json").write_text('{"eos_token_id": 0}')
    tokenizer = load_tokenizer(folder)
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|endoftext|>", "<unk>")


def test_no_end_at_all_is_refused_with_the_remedy(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE({"a": 0, "b": 1}, []))
    PreTrainedTokenizerFast(tokenizer_object=core).save_pretrained(tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.eos_token is None
    assert tokenizer.pad_token is None
    with pytest.raises(ModelError) as caught:
        Encoder(tokenizer, template="alpaca")
    assert caught.value.code == "model.no_stop_token"
    assert "eos_token" in caught.value.remedy
