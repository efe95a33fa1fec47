"""How each setting is shown: which widget, how wide, how tall, when. Its label and help are in `text_fields`."""

from __future__ import annotations

PICKERS = {  # chosen from what the workspace holds, or typed
    "model.base", "data.train", "data.validation", "data.general", "words.corpus", "models.runs", "data.rows",
    "data.prompts", "data.dev", "models.chain", "judging.reward", "judging.base", "report.domain", "report.general",
    "annotator.base", "answers.base", "data.file",
}  # fmt: skip
TEMPLATES = {"model.template", "models.template", "annotator.template"}  # from those that Galen brings, or none
NAME, DEVICES = "run.name", "devices.use"
LAUNCH = {NAME, DEVICES}  # belong to the run panel, wherever their sections are shown
LEFT_OUT = {  # on the page a model is picked, and says itself what it is; the others are rarely touched, or never
    "model.model_type", "run.after", "run.rehearsal", "safety.file", "judging.limit", "judging.timeout",
    "report.resamples",
}  # fmt: skip
LISTED = {  # lists with one entry a line, and the lines that are shown; other lists are separated by commas
    "evaluation.prompts": 3, "data.mix": 2, "rewards.models": 2, "rewards.rules": 3, "new.against": 2,
}  # fmt: skip
TALL = {  # texts of several lines
    "rewards.judge_prompt": 4, "judging.prompt_en": 4, "judging.prompt_zh": 4, "task.prompt_en": 7,
    "task.prompt_zh": 7, "model.card": 12,
}  # fmt: skip
WIDE = {
    "model.base", "model.source", "data.train", "data.validation", "data.general", "rewards.judge_url", "lora.targets",
    "lora.start", "words.corpus", "words.list", "models.runs", "data.rows", "data.prompts", "data.dev", "task.kind",
    "data.file", "data.system", "data.predictions", "model.lora", "models.chain", "report.domain", "report.general",
    "judging.reward", "judging.base", "judging.url",
}  # fmt: skip
HALF = {
    "tuning.method", "data.packing", "data.order", "data.difficulty", "words.unit", "lora.embeddings", "annotator.kind",
    "annotator.base", "annotator.url", "annotator.model", "answers.base", "task.ranks", "task.makes", "new.rows",
    "judging.by",
}  # fmt: skip
ONLY_WHEN = {  # section or key → style class
    "lora": "only-lora",
    "quantization": "only-lora",
    "tuning.trainable_layers": "only-freeze",
    "data.difficulty": "only-ordered",
    "data.phases": "only-phases",
    "judging.url": "only-endpoint",
    "judging.model": "only-endpoint",
    "judging.base": "only-run",
    "quantization.double": "only-quantised",
}
CLOSED = {"saving", "logging", "model", "quantization", "judging", "distributed"}  # sections that start folded
SEGMENTS = 3  # up to so many choices are shown side by side
SEGMENTED = {"task.kind"}  # and all of these
