"""The sentences of `core.messages` about preparing datasets: why a step drops a row, what a recipe may not ask for."""

from __future__ import annotations

STEPS: dict[str, tuple[str, str]] = {
    # -- recipes ------------------------------------------------------------------------------------------------------
    "step.unknown": ("There is no step '{step}'.", "`python -m core data clean --help` lists them."),
    "step.wrong_kind": (
        "The step {step} cannot take rows of the kind '{kind}'; it takes {needed}.",
        "Put a step `convert` before it, or leave it out.",
    ),
    "step.kinds_differ": (
        "{other} holds rows of the kind '{other_kind}', {first} those of the kind '{kind}'.",
        "Mix datasets of one kind only; the step `convert` turns one kind into another.",
    ),
    "step.not_last": ("The step {step} makes several datasets.", "Put it at the end of the recipe."),
    "step.no_source": (
        "No row comes from a source '{source}'; there are {known}.",
        "Did you mean '{nearest}'?",
    ),
    "step.nothing_left": (
        "No row is left for {name}. Rows before and after each step: {steps}.",
        "Loosen the step that drops the most; the preview shows why rows go.",
    ),
    "step.not_words": (
        "'{text}' is no step.",
        "Write its name and settings, such as: near threshold=0.8.",
    ),
    "step.slow_pattern": (
        "The pattern {pattern} took more than {seconds} seconds on the row of line {line}.",
        "Write it without repeated choices: (a|aa)+ tries every way to part the text.",
    ),
    "step.no_words": ("There are no words to look for.", "Choose topics, or give words or a list of your own."),
    "step.words_not_utf8": ("The word list {file} is not UTF-8.", "Save it as UTF-8, one word a line."),
    "step.no_scores": ("No row has a score yet.", "Put the step `quality` before it, or have the rows annotated."),
    "step.no_losses": (
        "The run {run} has no perplexities.",
        "Name a finished run of the stage perplexity: `python -m core jobs list`.",
    ),
    # -- why a cleaning step drops a row ------------------------------------------------------------------------------
    "step.exact": ("It says the same as line {line} of {source}.", ""),
    "step.near": ("It is to {percent} % the same as line {line} of {source}.", ""),
    "step.few_chars": ("It has {count} characters, fewer than {limit}.", ""),
    "step.many_chars": ("It has {count} characters, more than {limit}.", ""),
    "step.few_answer": ("The answer has {count} characters, fewer than {limit}.", ""),
    "step.many_answer": ("The answer has {count} characters, more than {limit}.", ""),
    "step.few_turns": ("It has {count} turns, fewer than {limit}.", ""),
    "step.many_turns": ("It has {count} turns, more than {limit}.", ""),
    "step.repeated_pieces": ("{percent} % of a text was said before in it, such as: {text}", ""),
    "step.repeated_lines": ("{percent} % of a text are lines that stood before, such as: {text}", ""),
    "step.symbols": ("{percent} % of its characters are symbols or digits.", ""),
    "step.language": ("Its language is '{language}'.", ""),
    "step.contains": ("It holds {what}: {text}", ""),
    "step.lacks": ("It holds none of what was asked for: {what}.", ""),
    "step.words": ("It holds words on {topics}: {words}.", ""),
    "step.contaminated": ("It shares a passage with line {line} of the test {test}: {text}", ""),
    "step.low_score": ("Its score is {score}, lower than {limit}; the weakest sign is '{weakest}'.", ""),
    "step.unscored": ("It has no score.", ""),
    "step.low_own_score": ("Its score is {score}, lower than {limit}.", ""),
    "step.bucket": ("It is in bucket {bucket} of {buckets}; only {kept} stay.", ""),
    # -- shaping -------------------------------------------------------------------------------------------------------
    "step.cannot_convert": (
        "Rows of the kind '{kind}' cannot become '{to}'.",
        "They can become: {possible}.",
    ),
    "step.all_rows": (
        "The step {step} is for all rows, and only_sources or except_sources is set.",
        "Leave both empty, or make a dataset of those rows first.",
    ),
    "step.no_pairs": ("None of its {answers} answers is better than another by enough.", "Lower min_gap."),
    "step.taken_out": ("Taken out by its number.", ""),
    "step.split_too_many": (
        "The split asks for {wanted} rows, and there are {rows}.",
        "Ask for fewer validation or test rows.",
    ),
    "step.split_empty": (
        "No rows are left for the {name} set: too many of them are nearly the same and have to stay together.",
        "Drop duplicates first, ask for more rows, or turn `together` off.",
    ),
}
