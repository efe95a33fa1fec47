"""The cleaning steps: what each takes for a fault, and what it must leave alone."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.configs.clean_steps import CLEANING, Topic, Words
from core.configs.files import resolve
from core.configs.steps import STEPS
from core.data.recipe.mixing import mix
from core.data.recipe.plan import plan_recipe
from core.data.recipe.prepare import prepare
from core.data.steps import OVERALL, PER_ROW, near, patterns, rules, words
from core.data.steps.base import Drop, Item, Job
from core.data.steps.contamination import units_of
from core.data.steps.quality import score_of, signs_of
from core.data.steps.rules import repeated_lines, repeated_pieces, symbol_share
from core.data.steps.shingles import shingles_of
from core.data.store.dataset import Dataset
from core.data.store.library import import_file
from core.errors import ConfigError, DataError
from core.workspace import Workspace
from tests.conftest import write_jsonl
from tests.test_prepare import bring, recipe, sentence

ZH = "高血压患者应当低盐饮食，规律服药，定期测量血压，并在医生指导下调整剂量。"


def ask(question: str, answer: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": messages}


def outcome(workspace: Workspace, step: dict[str, Any], row: dict[str, Any], kind: Any = "messages") -> Any:
    """What a per-row step says to one row: a reason's code, or the item."""
    settings = STEPS[step["do"]].model_validate(step)
    job = Job(workspace, 0, workspace.path)
    job.enter(0, kind)
    result = PER_ROW[step["do"]](settings, job)(Item(row, 1, "rows"))
    return result.code if isinstance(result, Drop) else result


def test_every_cleaning_step_has_a_function_and_words_in_both_languages() -> None:
    from webui.text_steps_clean import STEP_TEXT

    wanted = set()
    for step in CLEANING:
        do = step.model_fields["do"].default
        assert (do in PER_ROW) != (do in OVERALL), do
        fields = [name for name in step.model_fields if name not in ("do", "only_sources", "except_sources")]
        wanted |= {do, *(f"{do}.{name}" for name in fields)}
    assert set(STEP_TEXT) == wanted
    assert all(all(said) for said in STEP_TEXT.values())


# -- duplicates -------------------------------------------------------------------------------------------------------
def test_exact_duplicates_keep_the_first_the_longest_or_the_best(workspace: Workspace, tmp_path: Path) -> None:
    rows = [
        {"text": "Fever, cough.", "score": 0.2},
        {"text": "fever cough", "score": 0.9},
        {"text": "ＦＥＶＥＲ  --  cough!!!", "score": 0.1},
        {"text": "Other.", "score": 0.5},
    ]
    bring(workspace, tmp_path, rows)
    for keep, line in (("first", 1), ("best", 2), ("longest", 3)):
        [made] = prepare(workspace, recipe({"do": "exact", "keep": keep}, output=keep))
        assert made.lines(range(len(made))) == [line, 4]
        assert {json.loads(row["params"])["line"] for row in made.dropped()} == {line}


def test_exact_by_a_part_of_the_row(workspace: Workspace, tmp_path: Path) -> None:
    rows = [{"question": "What is it?", "answer": a} for a in ("This.", "That.")]
    rows += [{"question": "And now?", "answer": "this"}]
    bring(workspace, tmp_path, rows)
    for part, left in (("row", 3), ("question", 2), ("answer", 2)):
        [made] = prepare(workspace, recipe({"do": "exact", "by": part}, output=part))
        assert len(made) == left, part


def variants(count: int, seed: int = 0) -> Iterator[tuple[str, str]]:
    """Texts, and copies of them with more and more words changed."""
    rng = random.Random(seed)
    for number in range(count):
        text = sentence(rng, 60).split(" ")
        copy = [sentence(rng, 1) if rng.random() < number / count / 4 else word for word in text]
        yield " ".join(text), " ".join(copy)


def jaccard(first: str, second: str) -> float:
    pieces = shingles_of([first, second])
    one, other = set(pieces.unique(0).tolist()), set(pieces.unique(1).tolist())
    return len(one & other) / len(one | other)


def test_near_duplicates_are_those_of_true_similarity(workspace: Workspace, tmp_path: Path) -> None:
    pairs = list(variants(150))
    bring(workspace, tmp_path, [{"text": text} for pair in pairs for text in pair])
    [made] = prepare(workspace, recipe({"do": "near", "threshold": 0.8}))
    gone = {row["line"]: json.loads(row["params"]) for row in made.dropped()}
    similar = {2 * n + 2: jaccard(*pair) for n, pair in enumerate(pairs)}
    assert set(gone) <= {line for line, how in similar.items() if how >= 0.8}  # nothing else ever goes
    assert len(gone) >= 0.98 * sum(how >= 0.8 for how in similar.values())
    for line, params in gone.items():
        assert params["line"] == line - 1
        assert params["percent"] == int(100 * similar[line])


def test_pieces_are_those_of_the_normal_text() -> None:
    texts = ["Fever, and cough!", "feverandcough", "ab", "", "a…b①c d e", ZH, "😀 rare 𠮷 letters"]
    pieces = shingles_of(texts)
    sizes = np.diff(pieces.offsets).tolist()
    assert sizes[:4] == [9, 9, 1, 0]
    assert pieces.unique(0).tolist() == pieces.unique(1).tolist()
    for number, text in enumerate(texts):  # many at once are the same as one by one
        assert shingles_of([text]).hashes.tolist() == (
            pieces.hashes[pieces.offsets[number] : pieces.offsets[number + 1]].tolist()
        )


def test_every_dropped_row_is_similar_to_one_that_stays(workspace: Workspace, tmp_path: Path) -> None:
    """A chain in which each is like its neighbour only: the middle of it must not drag all of it away."""
    rng = random.Random(3)
    words = sentence(rng, 40).split(" ")
    chain = [" ".join(words)]
    for step in range(30):
        words[step] = sentence(rng, 1)
        chain.append(" ".join(words))
    bring(workspace, tmp_path, [{"text": text} for text in chain])
    for keep in ("first", "longest"):
        [made] = prepare(workspace, recipe({"do": "near", "threshold": 0.8, "keep": keep}, output=keep))
        kept = set(made.lines(range(len(made))))
        assert 1 < len(kept) < len(chain)
        for row in made.dropped():
            twin = json.loads(row["params"])["line"]
            assert twin in kept
            assert jaccard(chain[row["line"] - 1], chain[twin - 1]) >= 0.8


def test_clusters_join_what_is_similar_by_way_of_others(workspace: Workspace, tmp_path: Path) -> None:
    pairs = [pair for pair in variants(40) if jaccard(*pair) > 0.9]
    bring(workspace, tmp_path, [{"text": text} for pair in pairs for text in pair])
    plan = plan_recipe(workspace, recipe())
    found = near.clusters(mix(plan, tmp_path), Job(workspace, 0, tmp_path), 0.8)
    assert found.tolist() == [n - n % 2 for n in range(2 * len(pairs))]


def test_rows_without_letters_are_not_near_each_other(workspace: Workspace, tmp_path: Path) -> None:
    bring(workspace, tmp_path, [{"text": "!!!"}, {"text": "???"}, {"text": "。。。"}])
    [made] = prepare(workspace, recipe("near"))
    assert len(made) == 3


# -- rules ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"min_chars": 13}, "step.few_chars"),
        ({"max_chars": 11}, "step.many_chars"),
        ({"min_answer_chars": 7}, "step.few_answer"),
        ({"max_answer_chars": 5}, "step.many_answer"),
        ({"min_turns": 3}, "step.few_turns"),
        ({"max_turns": 1}, "step.many_turns"),
    ],
)
def test_length(workspace: Workspace, settings: dict[str, int], code: str) -> None:
    row = ask("Why me", "Chance")
    assert outcome(workspace, {"do": "length", **settings}, row) == code
    loose = {name: value + (-1 if name.startswith("min") else 1) for name, value in settings.items()}
    assert outcome(workspace, {"do": "length", **loose}, row).row is row


def test_repetition_leaves_tables_and_code_alone(workspace: Workspace) -> None:
    step = {"do": "repetition"}
    again = "请多喝水并注意休息。" * 12
    code = "Like this:\n```\n" + "for i in range(10):\n    print(i)\n" * 20 + "```\nThat is all there is to it."
    table = (
        "| dose | mg |\n"
        + "|------------|------------|\n" * 2
        + "".join(
            f"| {name} | {number} |\n"
            for number, name in enumerate(["aspirin", "ibuprofen", "codeine", "insulin", "heparin"])
        )
    )
    assert outcome(workspace, step, ask("?", again)) == "step.repeated_pieces"
    assert outcome(workspace, step, ask("?", "同样的一行内容在这里\n" * 9)) == "step.repeated_lines"
    for fine in (code, table, ZH * 2):
        assert outcome(workspace, {"do": "repetition", "max_pieces": 0.51}, ask(again, fine)).row is not None
    assert repeated_pieces(ZH)[0] == 0
    assert repeated_lines("a\nb\nc\nd")[0] == 0


def test_symbols_and_language(workspace: Workspace) -> None:
    noise = "#$%^ 12 || " * 12
    assert outcome(workspace, {"do": "symbols"}, ask("?", noise)) == "step.symbols"
    assert outcome(workspace, {"do": "symbols"}, ask("多大？", "63～78岁")).row is not None
    assert symbol_share(ZH) == 0
    assert outcome(workspace, {"do": "language", "keep": ["zh"]}, ask("怎么办？", ZH)).row is not None
    assert (
        outcome(workspace, {"do": "language", "keep": ["zh"]}, ask("What?", "Nothing much, I say.")) == "step.language"
    )


def test_contains_and_its_opposite(workspace: Workspace) -> None:
    row = ask("见 https://a.example/b?c=1。", "请看 <p>说明</p>")
    for what in ("url", "html"):
        assert outcome(workspace, {"do": "contains", "what": [what]}, row) == "step.contains"
    assert outcome(workspace, {"do": "contains", "what": "url", "where": "answer"}, row).row is row
    assert outcome(workspace, {"do": "contains", "what": "url", "action": "keep"}, row).row is row
    assert outcome(workspace, {"do": "contains", "pattern": "心电图", "action": "keep"}, row) == "step.lacks"


def test_a_catastrophic_pattern_ends_with_a_word(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "PATTERN_SECONDS", 0.2)
    with pytest.raises(DataError) as caught:
        outcome(workspace, {"do": "contains", "pattern": r"(a|aa)+$"}, ask("?", "a" * 60 + "b"))
    assert caught.value.code == "step.slow_pattern"


def test_a_pattern_that_is_none_is_told_at_its_place() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(
            "prepare", values={"recipe.inputs": "a", "recipe.steps": ["exact", {"do": "contains", "pattern": "(a"}]}
        )
    assert [problem.key for problem in caught.value.problems] == ["recipe.steps[1].pattern"]


# -- words ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("topic", Topic.__args__)
def test_the_word_lists_that_ship(topic: str) -> None:
    for language in ("zh", "en"):
        listed = words.read_words(words.LISTS / f"{topic}.{language}.txt")
        assert len(listed) >= 10
        assert len(set(listed)) == len(listed)
        matcher = words.Matcher(listed)
        assert all(matcher.find(f"x {word}.") for word in listed)


@pytest.mark.parametrize(
    "fine",
    [
        "抑郁症患者出现自杀念头时，应立即就医并有人陪伴。",
        "吗啡用于癌痛，过量可致呼吸抑制，用纳洛酮解救。",
        "性交后出血应检查宫颈，外阴瘙痒可能是霉菌性阴道炎。",
        "遭受家庭暴力者的外伤评估包括头面部和四肢。",
        "Suicidal ideation in depression needs urgent assessment; ask about methods and means.",
        "Opioid overdose is treated with naloxone; cocaine may cause chest pain.",
        "该药有效率为 85%，不能彻底根治，需长期随访。",
    ],
)
def test_medicine_is_not_a_sensitive_topic(workspace: Workspace, fine: str) -> None:
    assert outcome(workspace, {"do": "words"}, ask("问题", fine)).row["messages"][1]["content"] == fine


def test_words_are_whole_in_latin_script_and_may_be_ones_own(workspace: Workspace, tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text("\ufeff# mine\nass  # an animal\n神奇水\n\n", encoding="utf-8")
    step = {"do": "words", "topics": [], "path": str(own)}
    assert outcome(workspace, step, ask("?", "The assay of glass.")).score is None
    assert outcome(workspace, step, ask("?", "An ＡＳＳ.")) == "step.words"
    assert outcome(workspace, step, ask("?", "喝神奇水吧")) == "step.words"
    assert outcome(workspace, {**step, "min_hits": 2}, ask("?", "ass ass")).row is not None
    assert outcome(workspace, {**step, "action": "mark"}, ask("?", "an ass")).score == 0.0
    with pytest.raises(DataError):
        words.word_topics(Words(topics=[]))


# -- personal data ----------------------------------------------------------------------------------------------------
MASKED = [
    ("请打13812345678联系", "请打[电话]联系"),
    ("手机：+86 138-1234-5678。", "手机：[电话]。"),
    ("座机010-62345678或(021) 62345678", "座机[电话]或[电话]"),
    ("身份证11010519491231002X，姓名", "身份证[身份证号]，姓名"),
    ("卡号4111 1111 1111 1111，有效", "卡号[银行卡号]，有效"),
    ("邮箱zhang.san@hospital.com.cn。", "邮箱[邮箱]。"),
    ("Call (415) 555-2671 now, it is urgent.", "Call [phone] now, it is urgent."),
    ("My SSN is 123-45-6789, please.", "My SSN is [ID number], please."),
    ("Write to a.b+c@example.org today.", "Write to [email] today."),
]
SURVIVES = [
    "每次 500mg，每日 3 次，共 14 天；2019-2020 年，13800 元。",
    "血压 120/80 mmHg，心率 75-80，体温 36.5-37.2，HbA1c 6.5%。",
    "身份证号写错了：110105194912310021（校验位不对）。",
    "订单号 1234567890123456，批号 20230101001，条码 6901234567892。",
    "计数 12345678901 个，比值 0.13812345678，编号 A13812345678B。",
    "1998-12-31 至 2020-01-15，ICD-10 J18.9，剂量 1000-2000-3000 单位。",
    "Doses of 250-500 mg; 2010-2015; p < 0.0001; N = 1234567.",
]


@pytest.mark.parametrize(("text", "masked"), MASKED)
def test_personal_data_is_masked(workspace: Workspace, text: str, masked: str) -> None:
    item = outcome(workspace, {"do": "mask"}, ask(text, text))
    assert [message["content"] for message in item.row["messages"]] == [masked, masked]
    again = outcome(workspace, {"do": "mask"}, item.row)
    assert again.row is item.row


@pytest.mark.parametrize("text", SURVIVES)
def test_doses_years_and_other_numbers_survive(workspace: Workspace, text: str) -> None:
    row = ask("?", text)
    assert outcome(workspace, {"do": "mask"}, row).row is row


def test_only_numbers_with_a_right_check_digit_are_cards() -> None:
    right = [f"1101051949123100{tail:02}"[:17] for tail in range(30)]
    valid = [
        number + check for number in right for check in patterns.ID_CHECKS if patterns.valid_id_card(number + check)
    ]
    assert len(valid) == len(right)  # one check digit for each
    assert patterns.luhn("4111111111111111")
    assert not any(patterns.luhn(f"411111111111111{digit}") for digit in "023456789")


def test_masking_reaches_every_kind_of_row(workspace: Workspace) -> None:
    said = [{"role": "assistant", "content": "打13812345678"}]
    for kind, row in {
        "text": {"text": "打13812345678"},
        "preference": {"prompt": [{"role": "user", "content": "打13812345678"}], "chosen": said, "rejected": said},
        "ranked": {"prompt": said, "answers": [{"content": "打13812345678", "score": 1.0}]},
        "choice": {"question": "打13812345678", "choices": ["打13812345678", "b"], "answer": "A"},
    }.items():
        masked = outcome(workspace, {"do": "mask", "placeholders": "zh"}, row, kind).row
        assert "138" not in json.dumps(masked)
        assert masked.keys() == row.keys()
    assert masked["answer"] == "A"


# -- contamination ----------------------------------------------------------------------------------------------------
@pytest.fixture
def exam(workspace: Workspace, tmp_path: Path) -> Dataset:
    def question(text: str) -> dict[str, str]:
        return {"question": text, "A": "甲", "B": "乙", "C": "丙", "D": "丁", "answer": "A"}

    rows = [
        question("男性，45岁，饱餐后突发上腹部剧痛，向腰背部放射，伴恶心呕吐，最可能的诊断是什么？"),
        question("下列哪项不是糖尿病的急性并发症"),
        question("高血压的病因"),
        question(
            "A 60-year-old woman with chronic atrial fibrillation presents with sudden severe abdominal pain out of "
            "proportion to the physical findings. What is the diagnosis?"
        ),
    ]
    rows += [question(f"关于第{name}型肝炎的叙述，以下各项之中正确的说法应当是哪一个选项") for name in "甲乙丙丁戊己庚"]
    return import_file(workspace, write_jsonl(tmp_path / "exam.jsonl", rows), "exam")


def test_units_are_words_and_characters() -> None:
    assert units_of("ＢＭＩ为 25.4，属超重！") == ["bmi", "为", "25", "4", "属", "超", "重"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("病例：男性，45岁，饱餐后突发上腹部剧痛，向腰背部放射，伴恶心呕吐。", 1),
        ("请问：下列哪项不是糖尿病的急性并发症？", 2),
        (
            "She presents with sudden severe abdominal pain out of proportion to the physical findings, so we operate.",
            4,
        ),
        ("高血压的病因有很多。", None),  # too short to give anything away
        ("急性胰腺炎常在饱餐后突发上腹部剧痛，应禁食。", None),
        ("关于第甲型肝炎的叙述", None),
        ("以下各项之中正确的说法应当是哪一个选项", None),  # a phrase of the exam, not a question of it
        ("Sudden severe abdominal pain may have many causes.", None),
    ],
)
def test_contamination(workspace: Workspace, exam: Dataset, text: str, line: int | None) -> None:
    settings = STEPS["contamination"].model_validate({"do": "contamination", "against": exam.ref})
    job = Job(workspace, 0, workspace.path)
    job.enter(0, "messages")
    found = PER_ROW["contamination"](settings, job)(Item(ask(text, "好的。"), 1, "rows"))
    assert (found.params["line"] if isinstance(found, Drop) else None) == line


# -- quality ----------------------------------------------------------------------------------------------------------
def test_the_score_tells_good_answers_from_bad_ones() -> None:
    question = "高血压患者平时要注意什么？"
    good = score_of(signs_of("messages", ask(question, ZH)))
    bad = {
        "echo": question,
        "repetition": "注意休息多喝热水少熬夜。" * 12,
        "ending": "高血压患者应当低盐饮食，规律服药，定期测量血压，并在医生指导下调整剂量，另外还应当坚持运动和",
        "symbols": "||||--==%%##@@" * 8 + "见上。",
        "phrases": "作为一个AI语言模型，我无法回答。祝您早日康复，希望我的回答能够帮助到您！",
        "length": "嗯",
    }
    for sign, answer in bad.items():
        signs = signs_of("messages", ask(question, answer))
        assert score_of(signs) < good, sign
        assert signs[sign] < 0.6, sign
        assert all(0 <= value <= 1 for value in signs.values())
    assert good > 0.95
    assert score_of(signs_of("messages", ask("发病年龄是多少？", "63～78岁"))) > 0.5


def test_buckets_part_by_score_and_by_difficulty(workspace: Workspace, tmp_path: Path) -> None:
    rng = random.Random(0)
    rows = [{"text": sentence(rng, 5 + number), "score": number / 40} for number in range(40)]
    bring(workspace, tmp_path, rows)
    [best] = prepare(workspace, recipe({"do": "bucket", "keep": [4]}, output="best"))
    assert best.lines(range(len(best))) == list(range(31, 41))
    [noted] = prepare(workspace, recipe({"do": "bucket", "note": True}, output="noted"))
    assert [meta.difficulty for meta in noted.meta(range(40))] == [float(n // 10 + 1) for n in range(40)]
    [hard] = prepare(workspace, recipe({"do": "bucket", "by": "difficulty", "keep": [3, 4]}, output="hard"))
    assert sum(line > 20 for line in hard.lines(range(len(hard)))) >= 15  # the long ones
    difficulties = [meta.difficulty or 0.0 for meta in hard.meta(range(len(hard)))]
    assert 0 < min(difficulties) < max(difficulties) <= 1


def test_buckets_of_rows_without_scores_are_refused(workspace: Workspace, tmp_path: Path) -> None:
    bring(workspace, tmp_path, [{"text": "one"}, {"text": "two"}])
    with pytest.raises(DataError) as caught:
        prepare(workspace, recipe("bucket"))
    assert caught.value.code == "step.no_scores"


def test_equal_scores_stay_together(workspace: Workspace, tmp_path: Path) -> None:
    bring(workspace, tmp_path, [{"text": f"row {n}", "score": 1.0 if n > 1 else 0.1} for n in range(10)])
    [made] = prepare(workspace, recipe({"do": "bucket", "buckets": 4, "keep": [4]}))
    assert len(made) == 8


def test_reasons_are_told_in_chinese_down_to_the_names() -> None:
    from webui.messages import code_text

    assert "虚假医疗广告、毒品" in code_text("step.words", {"topics": "quackery, drugs", "words": "神水"}, "zh")[0]
    said = code_text("step.low_score", {"score": 0.3, "limit": 0.4, "weakest": "echo"}, "zh")[0]
    assert "复述问题" in said
