"""What is said of conversations that are saved, and of votes: sentence and remedy by code. See `core.messages`."""

from __future__ import annotations

CHAT: dict[str, tuple[str, str]] = {
    "chat.nothing_said": ("There is nothing to save yet.", "Ask something first."),
    "chat.name_taken": ("Another conversation is saved as '{name}'.", "Choose another name, or delete that one."),
    "chat.not_saved": ("There is no saved conversation '{name}'.", "It may have been deleted; choose one of the list."),
    "chat.too_many": (
        "{count} models were named, and {most} stand side by side at most.",
        "Name fewer in lora_model.",
    ),
    "chat.not_here": ("'{model}' cannot be asked here; there are {known}.", "Choose one of these."),
    "votes.no_pairs": (
        "No vote makes a pair yet: {ties} tie(s), {bad} where all were bad, {histories} answer(s) to another history, "
        "{same} with the same text.",
        "Ask two models in the Chat tab and say which answer is better.",
    ),
}
