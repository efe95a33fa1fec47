"""What is said of a multiple-choice exam that cannot be held: sentence and remedy by code. See `core.messages`."""

from __future__ import annotations

CHOICE: dict[str, tuple[str, str]] = {
    "evaluate.no_dev": (
        "{shots} examples are to stand before each multiple-choice question, but no dataset is named that has them.",
        "Name a dev set in data.dev, or set data.shots=0.",
    ),
    "evaluate.no_shots": (
        "A dataset of examples is named in data.dev, and data.shots asks for none of them.",
        "Set data.shots to how many stand before each question (5 is usual), or leave data.dev empty.",
    ),
    "evaluate.few_examples": (
        "{ref} has {rows} rows, and {shots} examples are asked for.",
        "Ask for fewer in data.shots, or take another dev set.",
    ),
    "evaluate.no_question": (
        "No question of {ref} fits into the {context} tokens that the model reads at once.",
        "Compare models with a longer context on it.",
    ),
}
