"""What is said where a file of prompts cannot be answered, or one line of it: sentence and remedy by code. See
`core.messages`."""

from __future__ import annotations

PREDICT: dict[str, tuple[str, str]] = {
    # -- before the start ---------------------------------------------------------------------------------------------
    "predict.no_model": (
        "No model is named.",
        "Set model.base (base_model), or model.lora (lora_model) to a run, which knows its base.",
    ),
    "predict.raw_system": (
        "A system message is part of a conversation, and without the template there is none.",
        "Leave data.system empty, or set data.with_prompt=true.",
    ),
    "predict.raw_template": (
        "Without the template nothing is asked in {template}.",
        "Leave model.template empty, or set data.with_prompt=true.",
    ),
    "predict.no_template": (
        "{model} has no chat template, so nobody knows how it wants to be asked.",
        "Set model.template={suggested}, the usual one of its family, or another of these: {known}. With "
        "data.with_prompt=false (with_prompt=false) it goes on writing the lines as they are.",
    ),
    "predict.no_adapter": (
        "There is no adapter '{adapter}': no run is called so, and no folder.",
        "`python -m core jobs list` lists the runs; one from a hub is brought in first: "
        "`python -m core model import {adapter} base=BASE`.",
    ),
    "predict.whole_model": (
        "{adapter} is a whole model: there is nothing to lay on {base}.",
        "Name it as model.base (base_model), and no adapter.",
    ),
    "predict.other_base": (
        "{adapter} was trained on {expected}, not on {base}.",
        "Choose that base, or an adapter of this one. If it is the same model under another name: "
        "`python -m core model import {adapter} base={base}`, then name the run that comes of it.",
    ),
    "predict.no_tokenizer": ("There is no tokenizer in {path}.", "Name the folder that holds tokenizer.json."),
    "predict.large_tokenizer": (
        "The tokenizer in {path} has {tokens} tokens, the model has rows for {rows}.",
        "Name the tokenizer that the model was trained with, or leave model.tokenizer (tokenizer_path) empty.",
    ),
    "predict.same_file": (
        "{path} is the file of the prompts itself.",
        "Name another file for the answers.",
    ),
    "predict.no_folder": ("There is no folder {path} to write the answers into.", "Make it, or name another file."),
    "predict.is_folder": ("{path} is a folder.", "Name a file in it, such as {path}/predictions.jsonl."),
    "predict.would_overwrite": (
        "{path} is there already, and holds no predictions.",
        "Name another file, or move that one away.",
    ),
    "predict.gpus": (
        "'{value}' names no GPUs.",
        "Write their numbers: gpus=0, or gpus=0,1.",
    ),
    "chat.one_model": (
        "One model at a time answers with another tokenizer, or without a template: {names} are several.",
        "Name one of them as lora_model.",
    ),
    # -- in the run ---------------------------------------------------------------------------------------------------
    "predict.changed": (
        "{count} lines were answered before these settings were others: {keys}.",
        "Set them as they were, or start a new run.",
    ),
    "resume.answers": (
        "It was {before} when the first lines were answered, and would be {now} for the others.",
        "Resume {run} without it, or start a new run.",
    ),
    "predict.file_changed": (
        "{file} is not what it was when the first {count} lines were answered.",
        "Bring the old content back, or start a new run.",
    ),
    "predict.weights_changed": (
        "The weights are not those that answered the first {count} lines.",
        "Bring them back, or start a new run.",
    ),
    "predict.nothing": (
        "None of the {count} lines could be answered, the first because: {detail}",
        "output/predictions.jsonl has a reason for each.",
    ),
    # -- of one line --------------------------------------------------------------------------------------------------
    "predict.blank_line": ("The line is empty.", ""),
    "predict.asks_nothing": (
        "The row asks nothing: it has {found}.",
        "Write a text, or prompt, instruction, question, messages or conversations.",
    ),
    "predict.asks_more": (
        "The row holds {count} questions, and a line gets one answer.",
        "Put each on a line of its own.",
    ),
    "predict.raw_turns": (
        "The row is a conversation, which only a template makes a text of.",
        "Set data.with_prompt=true, or write plain texts.",
    ),
    "predict.no_room": (
        "The prompt has {tokens} tokens, and the model holds {context}: there is no room for an answer.",
        "Shorten it.",
    ),
}
