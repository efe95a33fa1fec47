"""What is said when models are compared, and what the alignment-tax report says. See `core.messages`."""

from __future__ import annotations

EVALUATE: dict[str, tuple[str, str]] = {
    "evaluate.nobody": (
        "There is no model to measure.",
        "Name models and runs in models.runs, or a run whose chain is compared in models.chain.",
    ),
    "evaluate.no_chain": (
        "'{run}' is no run, so there is no chain to fill in.",
        "Name a run; a model alone belongs into models.runs.",
    ),
    "evaluate.no_endpoint": (
        "A judge behind an endpoint needs its address and the name of its model.",
        "Give both judging.url and judging.model, or set judging.by=none.",
    ),
    "evaluate.no_judge": ("No run is named that compares.", "Name it in judging.base, or set judging.by=none."),
    "evaluate.judge_down": (
        "The judge at {url} cannot be asked: {detail}.",
        "Check judging.url and judging.model; its key, if it needs one, is read from {key}. Resume the run then: "
        "nothing is asked twice.",
    ),
    "evaluate.both_sets": (
        "{ref} stands for the domain and for the general set.",
        "Take it out of one of them.",
    ),
    "flags.unusable": (
        "{path} holds no usable red-flag questions: {count} lines are none.",
        "Mend them; data/safety/en.jsonl shows the shape.",
    ),
    "flags.line": ("This is no red-flag question: {detail}.", "It needs a question, and rules in needs or forbids."),
    # -- the report
    "report.no_evaluation": (
        "{run} has compared nothing.",
        "Name finished runs of the stage evaluate; `python -m core jobs list` lists them.",
    ),
    "report.no_model": (
        "No model of {run} writes text, so there is nothing that training could have cost.",
        "Compare models that write; reward models are measured by their accuracy on pairs.",
    ),
    "report.live": ("{run} is still at work; it writes its own report at the end.", "Wait for it."),
    "report.told": ("{model} against {base}. In the domain: {domain}. In general: {general}.", ""),
    "report.no_roles": (
        "What {model} has gained over {base} cannot be told: no set stands for the domain or for everything else.",
        "Name them in report.domain and report.general.",
    ),
    "report.gained": ("better {changes}", ""),
    "report.lost": ("worse {changes}", ""),
    "report.open": ("nothing can be told, as every interval of a difference holds zero", ""),
    "report.not_named": ("no set was named", ""),
    "report.not_measured": ("there is no figure to compare", ""),
    "report.too_few": ("too few rows to tell a change from chance", ""),
    "report.change_accuracy": ("accuracy on {set}, {before} → {after} ({change} points, {low} to {high})", ""),
    "report.change_safe": (
        "share of red flags passed in {set}, {before} → {after} ({change} points, {low} to {high})",
        "",
    ),
    "report.change_win": ("win rate on {set}, {after} ({change} points from even, {low} to {high})", ""),
    "report.change_perplexity": ("perplexity on {set}, {before} → {after} ({change}, {low} to {high})", ""),
    "report.change_bits_per_byte": ("bits a byte on {set}, {before} → {after} ({change}, {low} to {high})", ""),
    "report.change_reward": ("reward on {set}, {before} → {after} ({change}, {low} to {high})", ""),
    "report.longer": ("longer answers on {set}, {before} → {after} tokens ({change}, {low} to {high})", ""),
    "report.shorter": ("shorter answers on {set}, {before} → {after} tokens ({change}, {low} to {high})", ""),
    "report.unread": (
        "The judge's words allowed no verdict on {unread} of {pairs} pairs of answers.",
        "Take a judge that follows instructions; a small model does not.",
    ),
    "report.few_rows": (
        "Fewer than {few} rows stand behind some figures ({sets}): their intervals are rough.",
        "Measure more rows.",
    ),
    "report.tokenizers_differ": (
        "The models cut text into different tokens: their perplexities do not compare, bits a byte do.",
        "",
    ),
    "report.settings_differ": (
        "The runs were made with different settings ({settings}): what differs may come from there.",
        "Measure all models in one run.",
    ),
    "report.smoke_test": (
        "Red flags are marked by rules that look for words, a smoke test: read the answers before you believe them.",
        "",
    ),
    "report.learnt": (
        "{set} is what {models} learnt from: being better on it need not mean being better. Measure on rows that no "
        "stage was trained on.",
        "",
    ),
    "report.many": (
        "The intervals are those of one difference each: of twenty differences that are none, one is expected to look "
        "like one.",
        "",
    ),
}
