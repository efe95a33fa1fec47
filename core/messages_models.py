"""What is said of models and adapters that are brought in from elsewhere; see `core.messages`."""

from __future__ import annotations

IMPORTED: dict[str, tuple[str, str]] = {
    "model.already_quantised": (
        "The weights are quantised to {bits} bits, and nothing brings back what that rounded off.",
        "Bring in the same model with its full weights.",
    ),
    "model.ice_text": (
        "{path} is not the tokenizer of ChatGLM-6B as it is read here: {detail}.",
        "Get the model's current files.",
    ),
    "model.needs_code": (
        "{path} is of the kind '{kind}', which works only by running Python code that came with it.",
        "Choose a model of the kind '{nearest}', its nearest kin; or, if you trust its authors, register its folder "
        "and set model.trust_remote_code=true.",
    ),
    "model.needs_code_alone": (
        "{path} is of the kind '{kind}', which works only by running Python code that came with it.",
        "Choose a model of another kind; or, if you trust its authors, register its folder and set "
        "model.trust_remote_code=true.",
    ),
    "model.unknown_architecture": (
        "{path} is of the kind '{kind}', which the installed Transformers does not know.",
        "Its nearest kin that works is '{nearest}': choose a model of that kind, or update Transformers.",
    ),
    "model.unknown_kind": (
        "{path} is of the kind '{kind}', which the installed Transformers does not know.",
        "Choose a model of another kind, or update Transformers. No kin of it is known here.",
    ),
    "model.wrong_shape": (
        "The weight {tensor} of {path} has the shape {found}, its config.json needs {expected}.",
        "The folder is incomplete or mixed from two models; get it again.",
    ),
    "model.unused_weights": (
        "{path} holds {count} weights of layers that its config.json does not have, for example {example}.",
        "The config belongs to another model, or another size of it: get the folder again.",
    ),
    "model.integers": (
        "The weights of {path} are whole numbers ({dtype}), and its config.json does not say how they were quantised.",
        "Get the model in bf16, fp16 or fp32.",
    ),
    "model.few_rows": (
        "The tokenizer of {path} has {tokens} tokens, its embeddings have {rows} rows: the others would break a run.",
        "Remove the added tokens from tokenizer.json and tokenizer_config.json, or get the model that they belong to.",
    ),
    "model.malformed": (
        "{path} is not as such a folder is: {detail}.",
        "Get it again; the log has the whole traceback.",
    ),
    "model.link_out": (
        "{file} in {path} is a link to a file outside of that folder.",
        "Put the file itself there.",
    ),
    "model.pointed_at": (
        "The models {models} have their files in {path}.",
        "Remove them first (`python -m core model rm NAME`), or bring them in again from a copy.",
    ),
    "model.published": (
        "{path} is a {kind} as its authors published it, which works only by running their code.",
        "Bring it in, and it is converted: `python -m core model import {path}`.",
    ),
    "disk.filled": (
        "The disk of {folder} filled up in the middle; nothing half-written was kept.",
        "Make room (`python -m core model disk` says what takes it), then try again.",
    ),
    "disk.being_written": (
        "{name} may be in use by {runs}.",
        "Wait until that has ended, or stop it.",
    ),
    "disk.gone": ("There is no {name} in the cache.", "`python -m core model disk` lists what there is."),
    # -- published layouts --------------------------------------------------------------------------------------------
    "convert.unknown_tensor": (
        "The checkpoint of {family} holds {tensor}, which that model does not have.",
        "Its config.json belongs to another model, or it was changed; get the published one.",
    ),
    "convert.wrong_shape": (
        "{tensor} has {found} rows; the config.json makes them {expected}.",
        "The folder is mixed from two models; get it again.",
    ),
    "convert.setting": (
        "This {family} has {key}={value}, and only {expected} can be converted.",
        "Quantised copies and those with stretched positions cannot be: get the plain published model.",
    ),
    "convert.head_adapted": (
        "The adapter changes the head of {family}, which its authors normalise at every step.",
        "Train an adapter without the head on the converted model.",
    ),
    "convert.no_layout": (
        "{path} is no published layout that would have to be converted; it is of the kind '{kind}'.",
        "Bring it in as it is: `python -m core model import {path}`.",
    ),
    "convert.target_exists": ("{path} exists already.", "Name a folder that does not."),
    "convert.not_published": (
        "The base of {run} was not converted from a published layout.",
        "Its adapter is a plain one already, in its folder under output/.",
    ),
    # -- tokenizers ---------------------------------------------------------------------------------------------------
    "tokenizer.unreadable": ("The tokenizer file {path} cannot be read: {detail}.", "Get the file again."),
    "tokenizer.unsupported": (
        "The tokenizer file {path} cannot be converted: {detail}.",
        "Put a tokenizer.json, written by its authors' script, beside it.",
    ),
    "tokenizer.differs": (
        "The tokenizer made of {path} would cut “{text}” in another way than SentencePiece does.",
        "Put a tokenizer.json, written by its authors' script, beside it.",
    ),
    # -- differences --------------------------------------------------------------------------------------------------
    "difference.needs_base": (
        "{path} holds weights that have to be added to a base, by its name.",
        "Name that base: base=MODEL. If the weights are whole: difference=no.",
    ),
    "difference.not_asked": (
        "{path} is a whole model by its name; the base {base} would not be used.",
        "Leave base out; or, if its weights have to be added to that base: difference=yes.",
    ),
    "difference.other_base": (
        "{tensor} does not fit the base: {found} in the difference, {expected} expected.",
        "Name the base that the authors of the difference name.",
    ),
    "difference.vocabulary": (
        "The difference has {found} rows of embeddings, the base {rows}: what are the others added to?",
        "Extend the base's vocabulary as the authors did first, or get their whole weights.",
    ),
    "difference.incomplete": (
        "The difference lacks {count} of the base's weights, for example {tensor}.",
        "Get its folder again, or name the base that its authors name.",
    ),
    "difference.tokens": (
        "Token {id} is “{token}” in the difference and “{expected}” in the base.",
        "Name the base that the authors of the difference name.",
    ),
    "difference.is_whole": (
        "{tensor} is no difference: it points the way of the base's own weights.",
        "Bring the model in without a base: difference=no.",
    ),
    # -- adapters -----------------------------------------------------------------------------------------------------
    "adapter.torn": ("The adapter in {path} is not whole: {detail}.", "Get its folder again."),
    "adapter.kind": (
        "The adapter in {path} is of the kind {kind}; only LoRA can be used here.",
        "Merge it with the program that made it, and bring the whole model in.",
    ),
    "adapter.base_unknown": (
        "The adapter in {path} belongs to the base '{base}', which is not here. There are {known}.",
        "Bring that base in first; or, if it has another name here: base=NAME.",
    ),
    "adapter.base_chain": (
        "{base} is an adapter itself, or a chain of them.",
        "Merge it first (`python -m core merge model.base={base}`), and name the merge.",
    ),
    "adapter.no_layer": (
        "The adapter in {path} changes the layer {layer}, which {base} does not have.",
        "It was trained on another model: name that one with base=NAME.",
    ),
    "adapter.other_shape": (
        "The adapter in {path} changes {layer} as {found}; in {base} it is {expected}.",
        "It was trained on another model, or another size of it: name that one with base=NAME.",
    ),
    "adapter.vocabulary": (
        "The adapter in {path} holds {found} rows of {layer}; {base} has {expected}: their vocabularies differ.",
        "Name the base with the extended vocabulary that it was trained on: base=NAME.",
    ),
    "adapter.tokens": (
        "The tokenizer beside the adapter in {path} has {tokens} tokens, and {base} has rows for {rows}.",
        "It was trained on a base with a larger vocabulary: name that one with base=NAME.",
    ),
    "adapter.head": (
        "The score head in {path} is {found}; on {base} it must be {expected}.",
        "Only heads with one score, of the base's width, can be used.",
    ),
    "model.type_differs": (
        "model_type={asked}, but {path} is of the kind '{kind}'.",
        "Leave model_type out, or name what the folder holds.",
    ),
}
