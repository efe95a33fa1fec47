"""What is said where rows cannot be annotated: sentence and remedy by code. See `core.messages`."""

from __future__ import annotations

ANNOTATE: dict[str, tuple[str, str]] = {
    # -- settings
    "annotate.no_url": (
        "An endpoint is to answer, and there is no address.",
        "Set annotator.url, such as http://127.0.0.1:8000/v1, or choose another annotator with annotator.kind.",
    ),
    "annotate.bad_url": (
        "This is no address of an endpoint.",
        "Write it with http:// or https:// and the host, such as http://127.0.0.1:8000/v1.",
    ),
    "annotate.key_in_url": (
        "The address holds a name or a password, and settings are written to files.",
        "Take it out, and put the key into the environment variable {variable}.",
    ),
    "annotate.no_model": (
        "An endpoint is to answer, and its model is not named.",
        "Set annotator.model to the name that the endpoint knows it by.",
    ),
    "annotate.no_base": (
        "A model is to answer, and none is named.",
        "Set annotator.base to a finished run or a model of the workspace.",
    ),
    "annotate.person_writes_none": (
        "A person judges rows that are there; new ones are written by an endpoint or a model.",
        "Choose another task, or another annotator.",
    ),
    "annotate.prompt_lacks": (
        "The prompt has no {names}, which the task {task} needs.",
        "Put it where the text of the row is to stand, or leave the prompt empty to take the one that ships.",
    ),
    "annotate.no_answers": (
        "The rows of {ref} have one answer at most, and there is nothing to put in order.",
        "Set answers.base to a model that writes answers, or take ranked answers or preference pairs.",
    ),
    # -- a run
    "annotate.endpoint_down": (
        "The endpoint at {url} does not answer: {detail}.",
        "Check its address, its model's name and the key in {key}, and that it is running; then resume the run. What "
        "it has said is kept.",
    ),
    "annotate.model_silent": (
        "The model has answered none of the rows: {detail}.",
        "Choose a model with a chat template (or set annotator.template) and a longer context, or shorter rows.",
    ),
    "annotate.nothing": (
        "None of the {count} rows came to anything; most of them for this reason: {reason}",
        "Try the prompt by hand, name a model that follows instructions, or change task.prompt_en and task.prompt_zh.",
    ),
    "annotate.waiting": (
        "{total} rows wait for a person; {rated} are judged.",
        "Judge them on the page (Data, Annotate) or with `python -m core rate {run}`; resuming the run then makes the "
        "dataset.",
    ),
    "annotate.made_and_waiting": (
        "{dataset} was made of the {rated} rows that are judged; {total} there are.",
        "Go on with `python -m core rate {run}` or on the page; resuming the run then makes the rest. Or leave it.",
    ),
    "annotate.nothing_waits": (
        "{run} has no rows that wait for a person.",
        "Start a run with annotator.kind=person, or wait until it has put them there.",
    ),
    "annotate.no_terminal": (
        "Rows are judged with single keys, which takes a terminal.",
        "Judge those of {run} on the page (Data, Annotate), or call this from a terminal.",
    ),
    "annotate.bad_judgement": ("This is no judgement on a row of the run: {said}.", "Load the page anew."),
    # -- why a row came to nothing
    "annotate.failed": ("It got no reply: {detail}", ""),
    "annotate.nonsense": ("The reply says nothing that can be used: {said}", ""),
    "annotate.one_answer": ("It has no two different answers to compare: {answers}", ""),
    "annotate.many_answers": ("It has {answers} answers; a person can put {most} in order, with a key for each", ""),
    "annotate.all_bad": ("All of its {answers} answers were called bad.", ""),
    "annotate.skipped": ("It was skipped.", ""),
    "annotate.unjudged": ("It was not judged yet.", ""),
    "annotate.fine": ("Its answer was called good as it is, so there is no pair.", ""),
    "annotate.same": ("The better answer is the old one, so there is no pair.", ""),
}
