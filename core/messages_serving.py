"""What the chat server says: part of `core.messages.MESSAGES`."""

from __future__ import annotations

SERVING: dict[str, tuple[str, str]] = {
    "serve.context": (
        "The conversation has {tokens} tokens and the model can hold {allowed}.",
        "Start a new conversation or shorten the question.",
    ),
    "serve.unknown_model": ("There is no model '{model}' here; there are {known}.", "Choose one of these."),
    "serve.only_scores": ("{model} is a reward model: it scores answers and writes none.", "Ask it at /v1/score."),
    "serve.scores_nothing": ("{model} writes answers and scores none.", "Name a reward run."),
    "serve.no_answer": (
        "A conversation is scored by its answer, and this one does not end with one.",
        "End it with a message whose role is assistant.",
    ),
    "serve.bad_request": ("The request cannot be read: {detail}.", "See the OpenAI chat completions format."),
    "serve.unsupported": ("'{field}' is not supported here.", "Leave it out."),
    "serve.unauthorised": ("The key is missing or wrong.", "Send it as `Authorization: Bearer KEY`."),
    "serve.failed": ("The chat server failed: {detail}.", "Try again; the server's log has the details."),
    "serve.not_finite": (
        "{model} computed no usable number: its weights are broken.",
        "Its training diverged; choose an earlier checkpoint.",
    ),
    "serve.start_failed": ("The chat server did not start: {detail}.", "Its log: {log}."),
    "serve.will_not_end": (
        "The chat server in {folder} does not end.",
        "End its process by hand; its pid is in server.json.",
    ),
    "serve.gone": ("The chat server has ended.", "Ask again; it is started anew."),
    "serve.public_without_key": (
        "{host} can be reached from other machines, and no key is set.",
        "Set GALEN_API_KEY in the environment, or serve on 127.0.0.1.",
    ),
    "serve.bad_key": (
        "GALEN_API_KEY holds a space or a character that a request's header cannot carry.",
        "Make it of ASCII letters, digits and signs.",
    ),
    "serve.no_address": (
        "Nothing can be served on {host}, port {port}: {detail}.",
        "Choose an address of this machine with host=…, and a port that you may use with port=….",
    ),
    "serve.gpu_busy": (
        "{device} is in use by {holder}. Use the CPU instead?",
        "Choose the CPU as device, wait for it to end, or stop it.",
    ),
    "serve.port_taken": ("Port {port} on {host} is taken.", "Choose another with port=…; port=0 takes a free one."),
}
