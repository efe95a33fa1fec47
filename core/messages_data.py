"""The sentences of `core.messages` about files, rows and datasets."""

from __future__ import annotations

DATA: dict[str, tuple[str, str]] = {
    "data.no_file": ("There is no file {file}.", "Check the path."),
    "data.unreadable": ("{file} may not be read.", "Change its permissions."),
    "data.empty_file": ("{file} is empty: it has no rows.", "Choose another file."),
    "data.wide_encoding": (
        "{file} is written in {encoding}.",
        "Save it as UTF-8, for example with `iconv -f {encoding} -t UTF-8`.",
    ),
    "data.unknown_container": (
        "{file} is no file of rows that Galen can read.",
        "Use JSONL, JSON, CSV, Parquet or TXT, or one of these compressed with gzip, with its usual ending.",
    ),
    "data.gzip_broken": ("The compressed file ends too early or is damaged here.", "Fetch or compress it anew."),
    "data.parquet_broken": ("The Parquet file cannot be read: {detail}.", "Fetch or write it anew."),
    "data.cell_unreadable": (
        "A cell of this row cannot be read: {detail}.",
        "Write the file anew, with text as UTF-8 and dates of the years 1 to 9999.",
    ),
    "data.read_as": ("The file is written in {encoding}; it was read as that.", ""),
    "data.bom": ("The file begins with a byte order mark, which was left out.", ""),
    "data.shape": ("{shape}: {matched} of the first {looked_at} rows have {keys}.", ""),
    "data.no_shape": ("No known row shape has the keys {keys}.", ""),
    "data.bad_rows": (
        "{bad} of the {rows} rows of {file} cannot be used.",
        "Mend them, or accept the loss with data.bad_rows=drop (`data add --bad-rows drop`).",
    ),
    "data.none_usable": ("None of the {rows} rows of {file} can be used.", "See the first of them below."),
    "data.disk_full": (
        "No space left in {folder}: about {needed} MB are needed, {free} MB are free.",
        "Make room (old runs, models and datasets can be deleted) and try again.",
    ),
    "data.no_dataset": (
        "There is no dataset '{ref}' in this workspace; there are {known}.",
        "Did you mean '{nearest}'? Add a file with `python -m core data add FILE`.",
    ),
    "data.in_use": ("The dataset '{ref}' is in use by {runs}.", "Wait for these to end, or stop them first."),
    "data.wrong_kind": (
        "{ref} holds rows of the kind '{kind}'; this needs '{needed}'.",
        "Choose another dataset; `python -m core data list` says what each one is for.",
    ),
    "data.not_utf8": (
        "Byte {byte} of this line is not UTF-8.",
        "Convert the file, for example with `iconv -f {guess} -t UTF-8`.",
    ),
    "data.row_too_long": ("This row has {megabytes} MB; {limit} MB is the limit.", "Split it, or take it out."),
    "data.truncated_line": (
        "The file ends in the middle of this row.",
        "It was probably not copied whole: fetch it anew, or take the last line out.",
    ),
    "data.json_broken": ("Not valid JSON at column {column}: {detail}.", "Mend the line."),
    "data.json_ends": (
        "Not valid JSON at column {column}: {detail}. Nothing after it could be read.",
        "Mend the line; as JSONL (one object a line) a broken row costs only itself.",
    ),
    "data.csv_broken": ("Not valid CSV: {detail}.", "Check the quotation marks from this line on."),
    "data.csv_cells": (
        "This row has {found} cells, the first line has {expected}.",
        "Put cells that hold the separator or a line break into quotation marks.",
    ),
    "data.not_object": ("The row is of type {found}, not an object with keys.", "Write one JSON object a row."),
    "data.unknown_shape": ("The row has the keys {found}, which fit no known shape.", "These would: {would}."),
    "data.missing_key": (
        "The row has the keys {found}; {shape} rows, as this file has, need {missing}.",
        "Add what is missing, or put rows of another shape into a file of their own.",
    ),
    "data.not_text": ("'{key}' is of type {found}, not text.", "Put its value into quotation marks."),
    "data.empty_value": ("'{key}' is empty.", "Fill it in, or take the row out."),
    "data.not_turns": ("'{key}' is of type {found}, not a list of turns.", "Write a list with one entry a turn."),
    "data.turn_not_object": ("Turn {turn} is of type {found}.", "Write it as from and value, or role and content."),
    "data.turn_keys": ("Turn {turn} has the keys {found}.", "It needs from and value, or role and content."),
    "data.turn_not_text": ("Turn {turn} ({role}) is of type {found}, not text.", "Write its text."),
    "data.turn_parts": ("Turn {turn} has a part of type {found}.", "Only text can be used: take the row out."),
    "data.empty_turn": ("Turn {turn} ({role}) is empty.", "Fill it in, or take the row out."),
    "data.unknown_role": (
        "Turn {turn} has the role '{role}'.",
        "Roles are system, user (or human) and assistant (or gpt).",
    ),
    "data.role_order": (
        "Turn {turn} is {found} where {expected} should speak.",
        "User and assistant speak by turns, after at most one system message at the start.",
    ),
    "data.no_answer": (
        "The conversation does not end with an answer of the assistant.",
        "Take the last question out, or answer it.",
    ),
    "data.no_question": ("The prompt does not end with a question of the user.", "Mend the prompt."),
    "data.history_pair": ("'history' is not a list of pairs of texts.", "Write [[question, answer], …]."),
    "data.no_prompt": ("The pair has no prompt: the keys are {found}.", "Add a prompt, question or conversations."),
    "data.pair_differs": (
        "'{key}' is not one answer to the same prompt.",
        "Chosen and rejected must be two answers to one and the same prompt.",
    ),
    "data.same_pair": ("'{chosen}' and '{rejected}' are the same.", "Take the row out: nothing can be learnt from it."),
    "data.choices": ("The choices are of type {found}, or fewer than two.", "Write A to D, or an options object."),
    "data.choice_answer": ("The answer '{answer}' is none of the choices {names}.", "Write the letter of a choice."),
    # the doctor: what may be wrong with rows that have the right shape
    "data.duplicate_key": (
        "The key '{key}' stands twice in one object; most programs would silently keep the last.",
        "Keep the one that is meant.",
    ),
    "data.same_role_twice": (
        "Turns {before} and {turn} are both of the role {role}.",
        "Join them to one turn (--repair does), or take one out.",
    ),
    "data.system_in_middle": (
        "Turn {turn} is a system message; only the first turn may be one.",
        "Move it to the beginning, or take it out.",
    ),
    "data.tool_role": (
        "Turn {turn} has the role '{role}': calls of tools and their results cannot be learnt here.",
        "Take these turns out so that user and assistant speak by turns, or take the row out.",
    ),
    "data.reasoning_role": (
        "Turn {turn} has the role '{role}': reasoning as a turn of its own cannot be learnt here.",
        "Write it into the assistant's turn (between <think> and </think>), or take it out.",
    ),
    "data.answer_is_prompt": (
        "Turn {turn}, an answer, is the same as the question before it.",
        "Write the answer, or take the row out: it would teach the model to repeat what it is asked.",
    ),
    "data.pair_shapes": (
        "'{chosen}' and '{rejected}' are written differently: {first} and {second} turn(s).",
        "Write both as text, or both as lists with equally many turns.",
    ),
    "data.pair_prompts_differ": (
        "'{chosen}' and '{rejected}' part at turn {turn}, before the last answer: their prompts differ.",
        "Both must be the same dialogue up to the last answer: mend the row, or take it out.",
    ),
    "data.control_characters": (
        "{count} control character(s): {names}.",
        "Take them out (--repair does): they are remains of another program, and a model would learn them.",
    ),
    "data.invisible_characters": (
        "{count} invisible character(s): {names}.",
        "Take them out (--repair does): nobody sees them, and they break words for the tokenizer.",
    ),
    "data.nothing_visible": (
        "A text consists of {count} invisible character(s) only: {names}.",
        "Fill it in, or take the row out.",
    ),
    "data.double_encoded": (
        "'{found}' was decoded wrongly; '{meant}' was meant.",
        "It can be decoded again without loss (--repair does).",
    ),
    "data.mojibake": (
        "'{found}' is what is left of text that was decoded wrongly; what it said is lost.",
        "Fetch the file anew from where it was whole, or take the row out.",
    ),
    "data.replacement_character": (
        "A character was lost and stands as U+FFFD.",
        "Put the character in, if you can tell which it was.",
    ),
    "data.markup": (
        "'{found}' is left over from a web page.",
        "Take tags out and write entities as the characters they stand for; the model would learn to write them.",
    ),
    "data.prompt_over_context": (
        "The prompt has {tokens} tokens; the model can read {context} at once.",
        "Shorten it, or choose a model with a longer context.",
    ),
    "data.rows_truncated": (
        "{count} row(s) have more than {max_length} tokens: they will lose their oldest turns, then their end.",
        "Raise data.max_length to keep them whole.",
    ),
    "data.unused_keys": (
        "These keys are not used: {keys}.",
        "If one of them belongs to the row, say which key it is, or choose another row shape (in a terminal: "
        "--columns, --format).",
    ),
    "data.column_twice": (
        "The first line names a column twice: {columns}. Only the last of each is read.",
        "Rename the others.",
    ),
    "data.file_changed": ("{file} was changed while it was read.", "Try again once nobody writes to it."),
    "data.no_such_column": ("The file has no column '{column}'; it has {known}.", "Did you mean '{nearest}'?"),
    "data.files_differ": (
        "{first} is of the row shape {one}, {second} of {other}: they cannot be one dataset.",
        "Bring them in one by one, or choose files of one shape.",
    ),
    # what a file is good for
    "data.fits_text": ("{count} text(s) to read on.", ""),
    "data.fits_as_text": ("{count} dialogue(s), read as plain text.", ""),
    "data.fits_answers": ("{count} dialogue(s) with answers to learn.", ""),
    "data.fits_prompts": ("{count} prompt(s) to answer.", ""),
    "data.fits_pairs": ("{count} pair(s) of a better and a worse answer.", ""),
    "data.fits_choice": ("{count} question(s) with choices.", ""),
    "data.none_left": ("No row can be used.", "See what is wrong with them."),
    "data.needs_pretrain": ("Pretraining needs texts or dialogues; these rows are '{kind}'.", ""),
    "data.needs_sft": ("SFT needs dialogues with answers; these rows are '{kind}'.", ""),
    "data.needs_reward": ("A reward model needs a chosen and a rejected answer; these rows are '{kind}'.", ""),
    "data.needs_dpo": ("DPO needs a chosen and a rejected answer; these rows are '{kind}'.", ""),
    "data.needs_ppo": ("PPO needs prompts; these rows are '{kind}'.", ""),
    "data.needs_evaluate": ("Evaluation needs questions with choices; these rows are '{kind}'.", ""),
    "data.rows_without_label": (
        "{count} rows of {ref} leave nothing to learn.",
        "Set data.bad_rows=drop to train without them, or raise data.max_length.",
    ),
    "data.no_label_left": (
        "The question alone fills the {max_length} tokens of data.max_length, so no answer is left.",
        "Raise data.max_length, or drop the row.",
    ),
    "data.template_refuses_row": ("The model's chat template refuses it: {detail}", "Mend or drop the row."),
    "data.nothing_to_learn": (
        "No row of {ref} is left with an answer to learn within {max_length} tokens.",
        "Raise data.max_length.",
    ),
    # -- datasets of a hub ---------------------------------------------------------------------------------------------
    "data.not_in_catalogue": (
        "'{name}' is neither in the catalogue nor a dataset id of the form owner/name.",
        "Did you mean '{nearest}'? `python -m core data catalogue` lists the sets.",
    ),
    "data.not_hub_id": ("'{repo}' is no dataset id.", "Write it as owner/name, as the hub does."),
    "data.hub_script": (
        "{repo} holds no data files, only the script {script}; Galen runs no code of a dataset.",
        "Use revision refs/convert/parquet, where the hub keeps a Parquet copy of many such sets; "
        "or get its files by hand and give their path.",
    ),
    "data.hub_no_files": (
        "{repo} has no data file that matches {patterns}. It holds {files}.",
        "Change the pattern; JSON, JSONL, CSV, TSV, Parquet and TXT can be read, each also gzip'd.",
    ),
    # -- shapes of rows ------------------------------------------------------------------------------------------------
    "data.no_such_shape": (
        "There is no row shape '{name}'; there are {known}.",
        "Did you mean '{nearest}'? Leave it empty to have the shape detected.",
    ),
    "data.pair_label": (
        "The label '{found}' does not say which answer was preferred.",
        "Write 1 where it was the first, 0 where it was the second.",
    ),
    "data.not_answers": (
        "'{key}' is of type {found}, not a list of answers.",
        "Write a list of texts, or of objects with a text and a score.",
    ),
    "data.unequal_scores": (
        "There are {answers} answers and {scores} scores.",
        "Write one score for every answer, in the same order.",
    ),
    "data.few_answers": (
        "Of the {answers} answers {scored} have a score, and two at least are needed to compare.",
        "Add scores, or take the row out.",
    ),
    "data.unequal_lists": (
        "There are {questions} questions and {answers} answers.",
        "Write one answer for every question, or one for all of them.",
    ),
    "data.not_parallel": (
        "'translation' is of type {found}, not an object with two languages.",
        "Write {{zh: …, en: …}}.",
    ),
    "data.no_thread": ("Nothing in this tree was answered.", "Take it out."),
    "data.no_ranks": ("No question of this tree has two ranked answers.", "Take it out, or import its threads."),
    "data.no_parent": (
        "The message {parent}, which this one answers, is not in the file.",
        "Fetch the file anew, or accept the loss.",
    ),
    "data.tree_depth": ("The tree is more than {limit} messages deep.", "Take it out."),
    # -- export --------------------------------------------------------------------------------------------------------
    "data.export_ending": (
        "The ending of '{name}' does not say how to write it.",
        "Use .jsonl, .json or .parquet; the first two also with .gz.",
    ),
    "data.export_form": (
        "Rows of the kind '{kind}' cannot be written as '{form}'.",
        "They can be written as {known}.",
    ),
    "data.export_exists": ("{path} is there already.", "Choose another name, or write over it with --overwrite."),
    "data.export_row": (
        "A row cannot be written as '{form}' without being read back as another: {text}",
        "Export with messages (`--as preference`).",
    ),
    "data.no_folder": ("There is no folder {folder}.", "Make it, or choose another one."),
    # looking at a dataset, and mending it by hand
    "data.no_column": ("There is no column '{column}' to sort by.", "There are {known}."),
    "data.not_shown_for": ("Rows of the kind '{kind}' are not used by the stage {stage}.", "Choose {known}."),
    "data.no_row": ("{ref} has no row {row}; it has {rows}.", "Rows count from 1."),
    "data.no_edits": ("Nothing of {ref} was changed.", "Drop or edit a row first."),
    "data.all_dropped": ("Every row of {ref} would be dropped.", "Keep at least one, or delete the dataset."),
    "data.by_hand": ("Dropped by hand.", ""),
    "data.edit_line": (
        "Line {line} of {file} is not a row to rewrite.",
        'Write {{"row": its number, …}} with the columns of the row.',
    ),
}
