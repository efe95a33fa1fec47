"""Writes a large ShareGPT file to measure with: Chinese and English medical dialogues, some 800 bytes a row, seeded.

    python -m benchmarks.data_file /tmp/rows.jsonl --rows 2400000

Known shares of rows are copies of an earlier one: exact, the same but for spaces and punctuation, and near (one
sentence differs). All other rows are drawn from so many sentences that no two are alike. What is printed is a JSON
object with the counts. 2.4 million rows (1.9 GB) take about a quarter of a minute.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

EXACT, SPACED, NEAR = 0.04, 0.01, 0.03  # shares of rows that are copies of one of the last `REMEMBERED`
REMEMBERED = 5000
BLOCK = 4000  # rows written at once

SENTENCES = 8000  # a language; a row takes some of them, so two rows seldom share one

ZH_TOPICS = (
    "高血压", "二型糖尿病", "支气管哮喘", "偏头痛", "缺铁性贫血", "社区获得性肺炎", "胃溃疡", "肾结石", "乙型肝炎",
    "骨质疏松", "湿疹", "失眠", "焦虑障碍", "痛风", "过敏性鼻炎", "甲状腺功能减退", "冠心病", "带状疱疹", "尿路感染",
)  # fmt: skip
ZH_ASK = (
    "医生您好，我今年{a}岁，查出{t}已经{d}个月了，{w}，平时应该注意些什么？",
    "家里老人{a}岁，有{t}，最近{d}天总觉得乏力，{w}，需要去医院吗？",
    "{t}的患者{w}可以运动吗？每周{d}次合适吗？我{a}岁。",
    "请问{t}吃药{d}周后可以停药吗？患者{a}岁，{w}。",
)
ZH_SAY = (
    "{t}：{w}，{a}岁以上{w}。",
    "{w}，约{d}天，{w}。",
    "如果{d}天内{w}，应当{w}。",
    "{w}（{a}%）；{w}。",
    "建议{w}，{w}。",
)
ZH_CHARACTERS = (
    "人体内外发生发展传播诊断治疗预防规律研究临床表现方法同时血液循环呼吸消化神经骨关节肌肉皮肤眼耳鼻喉心肝脾肺肾胃肠"
    "药物剂量每日早晚饭前后服用注射观察记录复查指标正常升高降低稳定急性慢性反复缓解加重感染炎症疼痛发热咳嗽头晕恶心"
    "乏力睡眠饮食运动体重情绪家属患者医院门诊检查结果影像化验手术康复护理注意避免坚持适当逐渐明显可能需要建议及时"
)
EN_TOPICS = (
    "high blood pressure", "type 2 diabetes", "asthma", "migraine", "iron deficiency", "pneumonia", "gastric ulcer",
    "kidney stones", "hepatitis B", "osteoporosis", "eczema", "insomnia", "anxiety", "gout", "hay fever", "shingles",
)  # fmt: skip
EN_ASK = (
    "I am {a} years old and was told {d} months ago that I have {t}. With {w}, what should I watch out for?",
    "My father is {a}, has {t}, and has felt weak for {d} days; {w}. Does he need to see a doctor?",
    "Can somebody with {t} and {w} exercise {d} times a week at the age of {a}?",
)
EN_SAY = (
    "With {t}, {w} at {a}.",
    "After {d} days {w}, and {w}.",
    "If {w}, then {w}.",
    "About {a} % {w} for {d} weeks.",
)
EN_LEXICON = """
patient doctor blood pressure sugar test result normal high low dose tablet daily morning evening meal water sleep pain
fever cough rash swelling weak tired breath heart liver kidney lung stomach bowel nerve bone joint muscle skin eye ear
throat take stop reduce raise check measure record watch avoid keep change return improve worsen heal rest walk swim eat
drink smoke alcohol salt fruit vegetable fibre weight age week month year early late mild severe acute chronic sudden
slow often rarely always never before after during without because although should may must can
"""


def write_file(path: Path, rows: int, seed: int = 0) -> dict[str, int]:
    """Write `rows` rows to `path`. Returns rows, bytes, and how many are exact, spaced and near copies."""
    rng = random.Random(seed)
    counts = {"rows": rows, "bytes": 0, "exact": 0, "spaced": 0, "near": 0}
    languages = [(_sentences(rng, chinese=True), "")] * 3 + [(_sentences(rng, chinese=False), " ")]
    lines = _lines(rng, languages, counts)
    with open(path, "wb") as file:
        for start in range(0, rows, BLOCK):
            block = "".join(next(lines) for _ in range(min(BLOCK, rows - start))).encode()
            counts["bytes"] += file.write(block)
    return counts


def _sentences(rng: random.Random, chinese: bool) -> tuple[list[str], list[str]]:
    """(questions, sentences of answers) of one language."""
    topics, asks, says = (ZH_TOPICS, ZH_ASK, ZH_SAY) if chinese else (EN_TOPICS, EN_ASK, EN_SAY)

    def clause() -> str:
        if chinese:
            return "".join(rng.choices(ZH_CHARACTERS, k=rng.randint(8, 18)))
        return " ".join(rng.choices(EN_LEXICON.split(), k=rng.randint(4, 10)))

    def filled(form: str) -> str:
        form = form.format(t=rng.choice(topics), a=rng.randint(18, 92), d=rng.randint(2, 30), w="{}")
        return form.format(*(clause() for _ in range(form.count("{}"))))

    questions, sentences = ([filled(rng.choice(forms)) for _ in range(SENTENCES)] for forms in (asks, says))
    return questions, sentences


def _lines(
    rng: random.Random, languages: list[tuple[tuple[list[str], list[str]], str]], counts: dict[str, int]
) -> Iterator[str]:
    earlier: list[tuple[str, list[str], str]] = []
    while True:
        chance = rng.random()
        if chance < EXACT + SPACED + NEAR and len(earlier) == REMEMBERED:
            question, said, space = rng.choice(earlier)
            if chance < EXACT:
                counts["exact"] += 1
            elif chance < EXACT + SPACED:
                counts["spaced"] += 1
                question = question.replace("，", ", ").replace(".", " .") + " "
            else:
                counts["near"] += 1
                said = [*said]
                said[rng.randrange(len(said))] = rng.choice(rng.choice(languages)[0][1])
            yield _line(question, said, space)
            continue
        (asks, says), space = rng.choice(languages)
        question = rng.choice(asks)
        said = rng.choices(says, k=rng.randint(3, 9))
        if len(earlier) < REMEMBERED:
            earlier.append((question, said, space))
        else:
            earlier[rng.randrange(REMEMBERED)] = (question, said, space)
        yield _line(question, said, space)


def _line(question: str, said: list[str], space: str) -> str:
    """One row as JSON; no sentence holds a character that JSON would escape."""
    answer = space.join(said)
    half = len(said) // 2
    if len(said) % 3:
        turns = f'{{"from":"human","value":"{question}"}},{{"from":"gpt","value":"{answer}"}}'
    else:
        first, rest = space.join(said[:half]), space.join(said[half:])
        turns = (
            f'{{"from":"human","value":"{question}"}},{{"from":"gpt","value":"{first}"}},'
            f'{{"from":"human","value":"{said[0]}"}},{{"from":"gpt","value":"{rest}"}}'
        )
    return f'{{"conversations":[{turns}]}}\n'


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a large ShareGPT file to measure with.")
    parser.add_argument("path", type=Path)
    parser.add_argument("--rows", type=int, default=2_400_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    began = time.monotonic()
    counts = write_file(args.path, args.rows, args.seed)
    print(json.dumps({**counts, "seconds": round(time.monotonic() - began, 1)}))


if __name__ == "__main__":
    main()
