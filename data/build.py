"""Compose the sample rows of every stage from the table of medical facts in `facts/*.yaml`.

    python data/build.py            # writes {pretrain,sft,reward,ppo,evaluate}/{zh,en}.jsonl beside this file

The texts are written by hand; this script only chooses, joins and shuffles them, with a fixed seed, so that two runs
make the same bytes. It checks nothing: `tests/test_samples.py` does. README.md describes the columns.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import combinations, cycle
from pathlib import Path
from random import Random
from typing import Any

from ruamel.yaml import YAML

HERE = Path(__file__).resolve().parent
STAGES = ("pretrain", "sft", "reward", "ppo", "evaluate")
LANGUAGES = ("zh", "en")
LETTERS = "ABCD"
LEADS = 4  # paragraphs of a topic that open with a sentence of introduction
WORDINGS = 3  # statements and questions that every fact has
PER_PARAGRAPH = 3  # facts that one paragraph or one quick dialogue touches
WRONG = {"unhelpful": "helpful", "dishonest": "honest", "harmful": "harmless"}  # and the dimension that it violates

Row = dict[str, Any]
Fact = dict[str, Any]
Topic = dict[str, Any]  # {"topic", "leads": {zh, en}, "facts": [{"id", "zh", "en"}]}
Voices = dict[str, dict[str, list[str]]]  # kind of sentence → language → sentences


def load() -> tuple[list[Topic], Voices]:
    """The topics in the order of their file names, and `voices.yaml`: its kinds of sentences by language."""
    yaml = YAML(typ="safe", pure=True)
    topics = [yaml.load(path.read_text(encoding="utf-8")) for path in sorted((HERE / "facts").glob("*.yaml"))]
    return topics, yaml.load((HERE / "voices.yaml").read_text(encoding="utf-8"))


def groups(facts: list[Fact], rng: Random) -> list[list[Fact]]:
    """All facts of a topic, cut in random groups of three."""
    order = rng.sample(facts, len(facts))
    return [order[start : start + PER_PARAGRAPH] for start in range(0, len(order), PER_PARAGRAPH)]


# -- the five stages --------------------------------------------------------------------------------------------------
def pretrain(topic: Topic, language: str, rng: Random) -> Iterator[Row]:
    """Twelve paragraphs of three statements. Each wording occurs twice, and no two wordings meet twice."""
    space = "" if language == "zh" else " "
    while not (planned := companies(topic["facts"], rng)):
        pass
    leads = dict(zip(rng.sample(range(len(planned)), LEADS), topic["leads"][language], strict=True))
    for number, group in enumerate(planned):
        said = [fact[language]["statements"][wording] for fact, wording in group]
        opening = [leads[number]] if number in leads else []
        yield {
            "text": space.join([*opening, *said]),
            "category": topic["topic"][language],
            "facts": [fact["id"] for fact, _ in group],
        }


def companies(facts: list[Fact], rng: Random) -> list[list[tuple[Fact, int]]]:
    """Twelve groups of three facts, each with a wording; [] where two wordings would meet twice (try again)."""
    numbers = range(WORDINGS)
    turn = {fact["id"]: [*rng.sample(numbers, WORDINGS), *rng.sample(numbers, WORDINGS)] for fact in facts}
    planned: list[list[tuple[Fact, int]]] = []
    met: set[frozenset[tuple[str, int]]] = set()
    for layer in range(2 * WORDINGS):
        for group in groups(facts, rng):
            chosen = [(fact, turn[fact["id"]][layer]) for fact in group]
            pairs = {frozenset((fact["id"], wording) for fact, wording in pair) for pair in combinations(chosen, 2)}
            if met & pairs:
                return []
            met |= pairs
            planned.append(chosen)
    return planned


def sft(topic: Topic, language: str, rng: Random, voices: Voices) -> Iterator[Row]:
    """Of every fact a dialogue of one turn and one with a follow-up; of every three facts a quick round."""
    for fact in topic["facts"]:
        said = fact[language]
        once = [said["questions"][0], said["answers"][0]]
        twice = [said["questions"][1], said["answers"][1], said["follow_question"], said["follow_answer"]]
        for texts in (once, twice):
            voice = rng.choice(voices["plain"][language]) if rng.random() < 0.25 else None
            yield dialogue(texts, voice, topic["topic"][language], [fact])
    for group in groups(topic["facts"], rng):
        texts = [text for fact in group for text in (fact[language]["questions"][2], fact[language]["short"])]
        yield dialogue(texts, rng.choice(voices["brief"][language]), topic["topic"][language], group)


def dialogue(texts: list[str], voice: str | None, category: str, facts: list[Fact]) -> Row:
    """A ShareGPT row: the user and the assistant speak by turns, after the system turn where there is one."""
    said = [{"from": "system", "value": voice}] if voice else []
    said += [{"from": ("human", "gpt")[index % 2], "value": text} for index, text in enumerate(texts)]
    return {"conversations": said, "category": category, "facts": [fact["id"] for fact in facts]}


def reward(topic: Topic, language: str, evasions: Iterator[str]) -> Iterator[Row]:
    """Three pairs of every fact. Every other evading answer goes on at length: length alone must not win."""
    space = "" if language == "zh" else " "
    for number, fact in enumerate(topic["facts"]):
        said = fact[language]
        for question, answer, wrong in zip(said["questions"], [*said["answers"], said["short"]], WRONG, strict=True):
            rejected = [said[wrong], next(evasions)] if wrong == "unhelpful" and number % 2 else [said[wrong]]
            row = {"prompt": question, "chosen": answer, "rejected": space.join(rejected)}
            yield {**row, "category": WRONG[wrong], "wrong": wrong, "fact": fact["id"]}


def ppo(topic: Topic, language: str) -> Iterator[Row]:
    """Two prompts of every fact: somebody's own case, which no other stage has, and the short question."""
    for fact in topic["facts"]:
        for text in (fact[language]["ask"], fact[language]["questions"][2]):
            yield {"prompt": text, "category": topic["topic"][language], "fact": fact["id"]}


def evaluate(topics: list[Topic], language: str, rng: Random) -> Iterator[Row]:
    """The test questions. In the table the right choice stands first; here every letter is right equally often."""
    tests = [(topic, fact, test) for topic in topics for fact in topic["facts"] for test in fact[language]["tests"]]
    right = [LETTERS[index % len(LETTERS)] for index in range(len(tests))]
    rng.shuffle(right)
    for (topic, fact, test), letter in zip(tests, right, strict=True):
        first, *others = test["choices"]
        rng.shuffle(others)
        others.insert(LETTERS.index(letter), first)
        asked = {"question": test["question"], **dict(zip(LETTERS, others, strict=True)), "answer": letter}
        yield {**asked, "category": topic["topic"][language], "fact": fact["id"]}


# -- all of it --------------------------------------------------------------------------------------------------------
def compose() -> dict[str, list[Row]]:
    """Every file that ships, by its path under this folder. Seeded per file: a change in one moves no other."""
    topics, voices = load()
    files = {}
    for language in LANGUAGES:
        for stage in STAGES:
            name = f"{stage}/{language}.jsonl"
            rng = Random(name)
            files[name] = list(rows_of(stage, language, topics, voices, rng))
            rng.shuffle(files[name])
    return files


def rows_of(stage: str, language: str, topics: list[Topic], voices: Voices, rng: Random) -> Iterator[Row]:
    """The rows of one file, topic after topic."""
    if stage == "evaluate":
        yield from evaluate(topics, language, rng)
        return
    evasions = cycle(voices["evasions"][language])
    for topic in topics:
        if stage == "pretrain":
            yield from pretrain(topic, language, rng)
        elif stage == "sft":
            yield from sft(topic, language, rng, voices)
        elif stage == "reward":
            yield from reward(topic, language, evasions)
        else:
            yield from ppo(topic, language)


def as_lines(rows: list[Row]) -> str:
    """JSON Lines, one row a line, characters as they are."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def main() -> None:
    for name, rows in compose().items():
        path = HERE / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(as_lines(rows), encoding="utf-8")
        print(f"{name}: {len(rows)} rows")


if __name__ == "__main__":
    main()
