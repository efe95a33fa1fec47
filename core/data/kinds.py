"""The kinds of canonical rows, and the stages that each is for.

`{"text"}`; `{"messages"}`; `{"prompt"}` (messages, the user last); `{"prompt", "chosen", "rejected"}` (three lists of
messages); `{"prompt", "answers": [{"content", "score"}]}` (a higher score is better, whatever the file wrote);
`{"question", "choices", "answer"}` (the answer as letters: A is the first choice).
"""

from __future__ import annotations

from typing import Any, Literal

Kind = Literal["text", "messages", "prompt", "preference", "ranked", "choice"]
Row = dict[str, Any]

STAGES_OF: dict[Kind, list[str]] = {
    "text": ["pretrain"],
    "messages": ["sft", "pretrain", "ppo"],
    "prompt": ["ppo"],
    "preference": ["reward", "dpo", "ppo"],
    "ranked": [],  # a step makes pairs of it
    "choice": ["evaluate"],
}
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"  # how the choices of a question are called


def kinds_for(stage: str) -> list[Kind]:
    """The kinds of rows that a stage takes."""
    return [kind for kind, stages in STAGES_OF.items() if stage in stages]
