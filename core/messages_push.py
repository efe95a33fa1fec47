"""What is said where a run's result cannot be sent to a hub: sentence and remedy by code. See `core.messages`."""

from __future__ import annotations

PUSH: dict[str, tuple[str, str]] = {
    "push.no_run": (
        "'{run}' is no run: only what a run has delivered can be sent, no checkpoint and no model that was brought in.",
        "Name a finished run; `python -m core jobs list` lists them.",
    ),
    "push.unfinished": ("{run} has delivered nothing yet: it is {state}.", "Wait for it, or resume it."),
    "push.nothing": (
        "{run} has made neither an adapter nor a model: it is a run of the stage {stage}.",
        "Choose a run that trains, a merge, or an extended vocabulary.",
    ),
    "push.bad_repo": (
        "'{repo}' is no name of a repository.",
        "Write owner/name, in letters, digits and . _ - (at most 96 each), without -- or .. and not ending in .git.",
    ),
    "push.no_token": (
        "There is no token to write with: {token} is not set.",
        "Make a token with write access in the settings of your account on {hub}, and set {token} in the environment "
        "in which the page or the command is started.",
    ),
    "push.bad_token": (
        "{hub} does not accept the token in {token}.",
        "Make a new one with write access there, and set it in the environment at the start.",
    ),
    "push.forbidden": (
        "The token in {token} may not write to {repo}.",
        "Give it write access to that owner's repositories, or send to a repository of your own.",
    ),
    "push.not_found": (
        "{hub} has no {repo} that the token in {token} may write to, and did not make it.",
        "Check the owner's spelling, and that you belong to that organisation.",
    ),
    "push.is_public": (
        "{repo} is there already and public, and this was to be private.",
        "Make it private on its page, choose another repository, or allow it to be public.",
    ),
    "push.other_content": (
        "{repo} ({revision}) holds other weights, which would be loaded in place of these or mixed with them: {files}.",
        "Choose another repository or branch, or delete these files there; from here nothing is ever deleted.",
    ),
    "push.card_refused": (
        "{hub} does not accept what stands at the top of the card: {detail}.",
        "Mend the lines between the two --- of the card, or have it written anew.",
    ),
    "push.leak": (
        "{file} would tell a path of this machine: {path}.",
        "Take it out of the file, which lies in {folder}; of the card, in its text.",
    ),
    "push.no_network": (
        "{source} could not be reached: {detail}.",
        "Check the network, or set HF_ENDPOINT to a mirror at the start, then resume.",
    ),
    "push.failed": (
        "{hub} did not take {repo}: {detail}.",
        "Resume sends it again; what has arrived whole is not sent twice.",
    ),
}
