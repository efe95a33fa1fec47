"""Rows to measure with: Alpaca-shaped medical instructions, written by a small grammar, the same for everybody.

Lengths follow Alpaca's: questions of 10 to 60 words, answers with a median of about 60 words and a long tail.
"""

from __future__ import annotations

import random

TOPICS = (
    "high blood pressure", "type 2 diabetes", "asthma", "migraine", "iron deficiency", "pneumonia", "gastric ulcer",
    "kidney stones", "hepatitis B", "osteoporosis", "eczema", "insomnia", "anxiety", "gout", "anaemia", "hay fever",
)  # fmt: skip
QUESTIONS = (
    "What are the early signs of {t}, and when should somebody see a doctor?",
    "Explain to a patient in plain words how {t} is treated.",
    "My father, who is {a} years old, was told that he has {t}. What should he change in his daily life?",
    "List the tests that are usually done when {t} is suspected and say what each of them shows.",
    "Compare two common medicines for {t}, their benefits and their side effects.",
)
CONTEXTS = (
    "The patient is {a} years old, does not smoke and takes no other medicine.",
    "Symptoms began {d} days ago, became worse at night and improved somewhat with rest and fluids.",
    "Laboratory values were normal apart from a slightly raised inflammation marker, measured {d} days ago.",
)
ANSWERS = (
    "{t} often begins quietly, so regular checks matter more than waiting for symptoms.",
    "A doctor will ask how long the complaints have lasted, what makes them better, and which medicines are taken.",
    "Rest, enough fluids and a balanced diet help in mild cases, but they do not replace treatment.",
    "After about {d} days without improvement, or at once with fever or severe pain, medical advice is needed.",
    "Treatment of {t} usually combines a medicine, taken every day at the same hour, with changes in daily habits.",
    "Side effects are mostly mild, such as nausea or tiredness, and pass within {d} days.",
    "Blood tests show whether the organs work normally and how well the treatment is doing.",
    "People over {a} need smaller doses, because the kidneys remove the medicine more slowly.",
    "Do not stop the medicine on your own, even when you feel well, because {t} may return.",
    "Smoking and alcohol make {t} worse, and giving them up has an effect within weeks.",
    "Children and pregnant women should only be treated by a specialist who knows {t} well.",
    "Keep a diary of the complaints, because it shows the doctor what triggers them.",
)


def alpaca_rows(count: int, seed: int = 0) -> list[dict[str, str]]:
    """`count` rows with instruction, input (empty in six of ten) and output."""
    rng = random.Random(seed)
    rows = []
    for _ in range(count):
        fill = {"t": rng.choice(TOPICS), "a": rng.randint(20, 90), "d": rng.randint(2, 14)}
        length = min(24, max(1, round(rng.lognormvariate(1.3, 0.8))))
        sentences = [rng.choice(ANSWERS).format(**{**fill, "d": rng.randint(2, 21)}) for _ in range(length)]
        context = " ".join(rng.sample(CONTEXTS, rng.randint(1, 3))).format(**fill) if rng.random() < 0.4 else ""
        rows.append(
            {"instruction": rng.choice(QUESTIONS).format(**fill), "input": context, "output": " ".join(sentences)}
        )
    return rows


def pair_rows(count: int, seed: int = 0) -> list[dict[str, str]]:
    """`count` questions as above, each with a chosen and a rejected answer of such lengths, drawn one by one.

    The chosen answer is about the question's topic; the rejected one is about another, and tells the patient to wait.
    """
    rng = random.Random(seed)
    rows = []
    for row in alpaca_rows(count, seed):
        topic = next(topic for topic in TOPICS if topic in row["instruction"])
        other = rng.choice([each for each in TOPICS if each != topic])
        rows.append(
            {
                "prompt": row["instruction"] + ("\n" + row["input"] if row["input"] else ""),
                "chosen": _answer(rng, topic),
                "rejected": f"{_answer(rng, other)} There is no need to see anybody: simply wait.",
            }
        )
    return rows


def _answer(rng: random.Random, topic: str) -> str:
    fill = {"t": topic, "a": rng.randint(20, 90), "d": rng.randint(2, 21)}
    length = min(24, max(1, round(rng.lognormvariate(1.3, 0.8))))
    return " ".join(rng.choice(ANSWERS).format(**fill) for _ in range(length))


def document_rows(count: int, seed: int = 0) -> list[dict[str, str]]:
    """`count` plain documents of 2 to 120 sentences, most of them short, as paragraphs of a textbook are."""
    rng = random.Random(seed)
    rows = []
    for _ in range(count):
        fill = {"t": rng.choice(TOPICS), "a": rng.randint(20, 90)}
        sentences = [
            rng.choice(ANSWERS).format(**fill, d=rng.randint(2, 21))
            for _ in range(min(120, max(2, round(rng.lognormvariate(1.8, 0.9)))))
        ]
        rows.append({"text": " ".join(sentences)})
    return rows
