"""Sentences of the stages: what models are made from, training, rewards, vocabulary, merging, evaluating, fitting.

As in `core.messages`: code → (sentence, remedy), with placeholders.
"""

from __future__ import annotations

TRAINING: dict[str, tuple[str, str]] = {
    # -- chain and hand-over
    "run.needed": ("{run} cannot be deleted: {runs} starts from it.", "Wait until that has ended, or stop it."),
    "config.continue_needs_lora": (
        "An adapter can only be continued with method lora, and this is {method}.",
        "Set tuning.method=lora, or lora.start=new to merge the parent's adapter first.",
    ),
    "config.quantised_needs_lora": (
        "Weights in {kind} are frozen; the method {method} would train them.",
        "Set tuning.method=lora, or quantization.kind=none.",
    ),
    "parent.unfinished": (
        "{run} has not finished: it is {state}.",
        "Have this run wait for it: run.after={run}. Or name one of its checkpoints: {run}:last.",
    ),
    "parent.undelivered": (
        "{run} has delivered nothing (state: {state}).",
        "Resume it, or name one of its checkpoints: {run}:last.",
    ),
    "parent.no_weights": ("{run} has no weights: their folder is gone.", "Choose another run."),
    "parent.scores_only": (
        "{run} is a reward model: it scores answers and writes none.",
        "Choose what it was made of.",
    ),
    "parent.scores_nothing": ("{run} is no reward model: it writes answers.", "Choose a finished reward run."),
    "parent.nothing_to_merge": ("{run} is a whole model: there is no adapter to merge.", "Choose a run with adapters."),
    "parent.nothing_to_continue": (
        "{base} has no adapter that could be trained on.",
        "Set lora.start=new, or choose a run with method lora.",
    ),
    "parent.chain_broken": (
        "What {run} was trained on cannot be put together: of its parent {parent}, {detail}",
        "Use what {run} delivered, which holds its whole chain, or bring the parent back.",
    ),
    "chain.unreadable": ("The adapter in {path} cannot be read: {detail}.", "Get or train it again."),
    "chain.not_plain": (
        "The adapter in {path} is not plain LoRA ({detail}), and cannot be joined with others.",
        "Merge it into its base with the tool that made it, and start from that model.",
    ),
    "chain.other_model": (
        "The adapter in {path} does not fit this model: {layer} is missing or of another shape.",
        "Choose the base that it was trained on.",
    ),
    # -- pretrain
    "model.beyond_context": (
        "{asked} tokens are more than this model reads at once: {context}.",
        "Set at most {context}.",
    ),
    "model.no_end_mark": (
        "The tokenizer of {model} has no token that ends a text.",
        "Set data.end_mark=false, or give it an eos_token in tokenizer_config.json.",
    ),
    "worth.known": (
        "The model predicts {known} % of this text well already (under {border} bits a byte; {bits} over all of it): "
        "it has probably been trained on it, or on much like it.",
        "Pretraining on it would teach it little. Go on with SFT, or keep to the documents it predicts worst.",
    ),
    "worth.partly": (
        "The model predicts {known} % of this text well already (under {border} bits a byte; {bits} over all of it); "
        "the rest is news to it.",
        "Leave out what it knows: the recipe step quality takes this run's figures.",
    ),
    "worth.new": (
        "Most of this text is news to the model: {bits} bits a byte, and {known} % under {border}.",
        "Pretraining has something to teach here, if the text is good and there is enough of it.",
    ),
    "worth.noise": (
        "The model can make nothing of {noise} % of this text ({bits} bits a byte over all of it): a language or a "
        "script that it does not know, or no prose at all.",
        "Read the documents that it predicts worst. If they are sound, extend the vocabulary first.",
    ),
    "worth.little": (
        "{bytes} bytes of text are too few to say; {least} are the least.",
        "Measure more rows.",
    ),
    "data.no_document": (
        "No document of {ref} has a second token that could be predicted from the first.",
        "Choose other data.",
    ),
    # -- vocabulary and templates
    "vocabulary.no_source": (
        "There is nothing to take new tokens from.",
        "Name a corpus (words.corpus), a word list (words.list), or both.",
    ),
    "vocabulary.list_missing": ("There is no word list {path}.", "Name a text file with one word a line."),
    "vocabulary.list_not_text": ("The word list {path} is no UTF-8 text.", "Save it as UTF-8, one word a line."),
    "vocabulary.list_empty": ("The word list {path} holds no words.", "Write one word a line."),
    "vocabulary.nothing_new": (
        "There is nothing to add: of {count} units, {known} are one token already, and {failed} cannot become one.",
        "Lower words.min_count, or give another corpus or list.",
    ),
    "vocabulary.kind": (
        "Tokenizers of the kind {found} cannot be given new tokens.",
        "BPE (byte-level or of the SentencePiece kind) and Unigram can.",
    ),
    "vocabulary.no_merges": (
        "A Unigram tokenizer has no merges that could go on.",
        "Use words.unit=words or characters.",
    ),
    "vocabulary.no_embeddings": (
        "The embeddings of {architecture} cannot be resized.",
        "Choose a model whose class Transformers itself brings.",
    ),
    "vocabulary.not_kept": (
        "The tokenizer of {model} does not keep new tokens: {detail}.",
        "Its class builds its vocabulary in a way of its own; use a model with another tokenizer.",
    ),
    # -- reward and score
    "reward.unusable_pairs": (
        "{count} pair(s) of {ref} cannot be used.",
        "Mend or remove them, raise data.max_length, or set data.bad_rows=drop to train without them.",
    ),
    "reward.no_pairs": ("No pair of {ref} can be used.", "Choose other data, or raise data.max_length."),
    "reward.no_answer_left": (
        "Of one answer nothing is left within {max_length} tokens: the question alone is too long.",
        "Raise data.max_length, or shorten the question.",
    ),
    "reward.same_answers": (
        "Both answers are the same as far as {max_length} tokens reach.",
        "Raise data.max_length, or remove the pair.",
    ),
    "reward.no_head": (
        "{path} has no score head: it does not say what an answer is worth.",
        "Choose a finished reward run, or a sequence-classification model with one score.",
    ),
    "reward.not_one_score": (
        "{path} gives {count} scores for a text, not one.",
        "Choose a model that was trained as a reward model.",
    ),
    "reward.no_classifier": (
        "A whole {architecture} cannot be saved as a reward model: Transformers has no sequence-classification model "
        "of this kind.",
        "Set tuning.method=lora: the head is saved with the adapter.",
    ),
    "reward.no_noise": ("A reward model is trained without NEFTune's noise.", "Set optim.neftune_alpha=0."),
    "reward.not_measured": (
        "No pairs were held out, so nobody knows whether its order is right.",
        "Name validation data, or hold some out with data.validation_split.",
    ),
    "reward.few_pairs": (
        "{pairs} held-out pairs are too few to judge it by; {least} are the least.",
        "Hold out more.",
    ),
    "reward.chance": (
        "It orders {percent} % of {pairs} held-out pairs rightly, which chance alone may do.",
        "Use more pairs or more epochs, and look at the pairs: do the chosen answers differ in a way that can be seen?",
    ),
    "reward.low_accuracy": (
        "It orders only {percent} % of the held-out pairs rightly; {least} % are the least.",
        "Use more pairs or more epochs, or a larger model.",
    ),
    "reward.ties": (
        "{ties} of {pairs} pairs have the same score for both answers.",
        "Train longer, or with a higher learning rate; in 16 bits, equal scores may be rounding.",
    ),
    "reward.prefers_longer": (
        "Its score follows the length of the answer (correlation {correlation}): PPO would learn to write more.",
        "Balance the lengths of chosen and rejected answers.",
    ),
    "reward.prefers_shorter": (
        "Its score follows the shortness of the answer (correlation {correlation}): PPO would learn to write less.",
        "Balance the lengths of chosen and rejected answers.",
    ),
    "reward.fails_shorter": (
        "Where the better answer is the shorter one, it orders {percent} % of {pairs} pairs rightly: it has learnt "
        "length.",
        "Add pairs whose chosen answer is the shorter one.",
    ),
    "reward.too_sure": (
        "It is surer than it is right, by {percent} % on average: its scores are too far apart.",
        "Train for fewer epochs, lower the learning rate, or set optim.label_smoothing=0.1.",
    ),
    "reward.too_unsure": (
        "It is less sure than it is right, by {percent} % on average: its scores are too close together for PPO to "
        "feel the difference.",
        "Train longer, or with a higher learning rate.",
    ),
    # -- supervised fine-tuning, arguments
    "resume.schedule": (
        "It was {before} and cannot become {now} now: the optimizer's state and the schedule of the learning rate are "
        "loaded from the checkpoint, and were laid out with the old value.",
        "Start a new run with model.base={run}:last and lora.start=continue, or resume it as it was.",
    ),
    "resume.order": (
        "It was {before} and cannot become {now} now: the rows would come in another order, some twice, others never.",
        "Start a new run with model.base={run}:last and lora.start=continue, or resume it as it was.",
    ),
    "resume.weights": (
        "It was {before} and cannot become {now} now: the weights of the checkpoint were trained with the old value.",
        "Start a new run with model.base={run}:last, or resume it as it was.",
    ),
    "resume.step": (
        "A step had {rows} rows and would have {rows_now}: batch size × accumulation × devices must stay.",
        "Change two of them so that the product is {rows}, or start a new run with model.base={run}:last.",
    ),
    "training.nan_row": ("Its loss is infinite or not a number ({dataset}).", ""),
    "sft.no_difficulty": (
        "{ref} says of no row how difficult it is.",
        "Set data.difficulty=length or loss, or give it a difficulty with the step `bucket` of a recipe.",
    ),
    "arguments.unreadable": (
        "The arguments cannot be read, line {line}: {detail}.",
        'Give JSON such as {{"learning_rate": 2e-05}}, YAML, or words such as --learning_rate 2e-05.',
    ),
    "arguments.off": ("It is off, as it is here unless you switch it on.", ""),
    "arguments.decided": ("Another argument decides it: {by}.", ""),
    "arguments.no_choice": ("'{value}' is not to be had here; there are {known}.", "Set it by hand."),
    "arguments.other_stage": ("The stage {stage} has no such setting.", ""),
    "arguments.share_of_steps": ("A share of all steps; here it is a number of steps.", "Set it by hand."),
    "arguments.no_predictions": ("Evaluation sums up figures and keeps no predictions.", ""),
    "arguments.eval_delay": ("Evaluation begins with its first point.", "Set evaluation.steps."),
    "arguments.log_files": ("Progress, figures and log go to files of the run; every process has a log.", ""),
    "arguments.logging_strategy": ("Figures are always written by steps: logging.steps.", ""),
    "arguments.own_folder": ("A run has a folder of its own, with everything in it.", ""),
    "arguments.first_step": ("The first step is always logged.", ""),
    "arguments.nan": ("A loss that is no number stops the run; nothing is filtered out of the curve.", ""),
    "arguments.safetensors": ("Weights are always written as safetensors.", ""),
    "arguments.processes": ("Galen starts one process a device and connects them itself.", "Set devices.use."),
    "arguments.hardware": ("There is no such hardware here: CPUs and CUDA devices.", "Set devices.use."),
    "arguments.one_seed": ("run.seed is the seed of everything.", ""),
    "arguments.compiled": ("Nothing is compiled; the fast path has kernels of its own.", ""),
    "arguments.one_format": ("model.dtype is the number format of training and evaluation, by torch's own means.", ""),
    "arguments.debugging": ("No debugging hooks; the log holds the traceback.", ""),
    "arguments.whole_epochs": ("The last step of an epoch takes the rows that are left; none is dropped.", ""),
    "arguments.no_loader": ("Rows are read encoded from a memory map, without loader processes or columns.", ""),
    "arguments.no_padding": ("Rows are laid end to end without padding, so there is nothing to group by length.", ""),
    "arguments.best": ("What is best follows from the stage: the lowest evaluation loss.", ""),
    "arguments.resume": ("A run goes on from its own last checkpoint, in the very order of the rows.", "Use Resume."),
    "arguments.sharding": (
        "How devices share a model is one setting here, for FSDP2 and DeepSpeed alike.",
        "Set distributed.strategy.",
    ),
    "arguments.optimizer_args": ("The optimizer's arguments are the settings of optim.", ""),
    "arguments.memory_metrics": ("Memory is estimated before the start and shown while the run lives.", ""),
    "arguments.hub": ("Nothing is uploaded.", ""),
    "arguments.batch_size": ("The fit estimate says before the start which batch fits.", ""),
    "arguments.determinism": ("The same config gives the same result on the same machine.", ""),
    "arguments.search": ("There is no search over settings here.", ""),
    "arguments.reporters": ("Of the reporters there is TensorBoard; figures are always in metrics.jsonl.", ""),
    "arguments.by_hand": (
        "Other people's code runs only where you switch it on yourself.",
        "Set model.trust_remote_code by hand.",
    ),
    "arguments.stage": ("A stage always trains, and evaluates where rows are held out.", ""),
    # -- long runs
    "run.diverged": (
        "The loss of step {step} is infinite or not a number, whatever the rows: the training has diverged.",
        "Lower optim.learning_rate or raise schedule.warmup_steps, or use bf16 or fp32, and start again; the last good "
        "checkpoint is {checkpoint}.",
    ),
    # -- fit
    "fit.no_estimate": ("There is no estimate for the stage '{stage}': it loads no model.", ""),
    "fit.sampled_file": (
        "The rows were estimated from the beginning of {file}, which is no dataset yet.",
        "Import it for a better estimate; the start does so by itself.",
    ),
    "fit.rows_unknown": (
        "How many rows {file} has is not known before it is imported, so there is no time to finish, and every row is "
        "taken to be as long as it may be.",
        "Import it first.",
    ),
    "fit.busy": (
        "{device} has only {free} free now: something else uses it. Without that, the run would fit.",
        "The run waits for other runs of Galen by itself; end other programs.",
    ),
    "fit.main_memory": (
        "The weights are put together in main memory first, which takes {need}; {free} are free.",
        "End other programs, or start from a model that needs no merging and no quantisation.",
    ),
    "fit.disk": (
        "Checkpoints and output take up to {need} of disk; {free} are free.",
        "Keep fewer checkpoints (saving.limit), or free some space.",
    ),
    "fit.no_room": (
        "About {count} of {rows} rows have no room for an answer: their questions alone have more than {max_length} "
        "tokens.",
        "Raise data.max_length, or set data.bad_rows=drop to train without them.",
    ),
    "fit.over_context": (
        "{length} tokens are more than the {context} that the model reads at once.",
        "Lower the length.",
    ),
    "fit.rung_batch": ("Batch size 1; as many rows make a step as before, by accumulation.", ""),
    "fit.rung_length": ("At most 512 tokens: longer rows are cut, longer documents become more blocks.", ""),
    "fit.rung_checkpointing": ("Gradient checkpointing: activations are computed twice, about a third slower.", ""),
    "fit.rung_optimizer": ("The optimizer's state in 8 bits.", ""),
    "fit.rung_lora": ("LoRA in place of the weights themselves.", ""),
    "fit.rung_8bit": ("The frozen weights in 8 bits: slower, a little less exact.", ""),
    "fit.rung_4bit": ("The frozen weights in 4 bits (QLoRA): slower, less exact.", ""),
    "fit.rung_larger_batch": ("There is room: a larger batch, with less accumulation.", ""),
    "fit.rung_longer": ("There is room: longer rows, of which fewer are cut.", ""),
    "fit.rung_sampling": ("Fewer answers sampled at once: a smaller cache, slower.", ""),
    "fit.rung_learning": ("One answer learnt from at a time; the result is the same.", ""),
    "fit.rung_answers": ("Shorter answers: fewer tokens are kept and learnt from at once.", ""),
    "fit.rung_larger_packs": ("There is room: more answers at once. The result is the same.", ""),
    # -- PPO, before it starts
    "ppo.reward_twice": (
        "{run} stands among the reward models more than once.",
        "Name it once, with the weight that it is to have.",
    ),
    # -- evaluate
    "evaluate.nothing": (
        "There is nothing to compare the models on.",
        "Name datasets in data.rows, prompts in data.prompts, or sets in report.domain and report.general, or ask the "
        "red flags with safety.questions.",
    ),
    "evaluate.kind": (
        "{ref} holds rows of the kind {kind}, of which no figure is made; there are {kinds}.",
        "Take another dataset; of ranked answers a recipe makes pairs.",
    ),
    "evaluate.only_scores": (
        "A reward model scores answers; it predicts no text and writes none.",
        "Compare it on preference pairs.",
    ),
    "model.learns_last_only": (
        "{model} reads everything before its answer in both directions, so that only the last answer can be learnt.",
        "Set data.train_on=assistant.",
    ),
    "run.no_better": (
        "The run ended at step {step}: none of the last {patience} evaluations was better than the best before.",
        "Nothing is wrong; evaluation.patience sets how many it waits for.",
    ),
}
