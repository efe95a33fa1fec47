"""The arguments that people have at hand, of training and of prediction: what each becomes here, or why nothing.

One line an argument: its name in Transformers (or in the scripts round it), the value that the article on MedicalGPT
prints for it, and either the setting that takes it or the code of a reason (`core.messages_training`). All 100 of the
article's are here, and all that it gives its scripts of inference; `core.configs.article` reads them,
`docs/arguments.md` is written from them. Left out: arguments of other trainers that mean what only these do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from core.errors import Problem

Given = Mapping[str, Any]  # all arguments that were given together
ABSENT: Literal["absent"] = "absent"  # of an argument that the article does not print
BY_STEPS = "steps"  # the strategy under which *_steps count


class Unfit(Exception):
    """A value that no setting takes; `problem` says why."""

    def __init__(self, code: str, **params: Any) -> None:
        self.problem = Problem(code, params)
        super().__init__(code)


class Take(NamedTuple):
    """How a value becomes the setting's: `of(value, all that was given)`, which may raise Unfit; and that in words."""

    of: Callable[[Any, Given], Any]
    how: str = ""


AS_IS = Take(lambda value, given: value)


@dataclass(frozen=True)
class Argument:
    """`keys`: the setting it becomes, the first of them that a stage has. Without, it becomes nothing, and `why` is the
    code of the reason. `secret`: its value is shown to nobody."""

    name: str
    printed: Any
    keys: tuple[str, ...] = ()
    take: Take = AS_IS
    why: str = ""
    secret: bool = False


# -- how values are taken ---------------------------------------------------------------------------------------------
def word(value: Any) -> str:
    """The word itself of `SchedulerType.LINEAR`, too."""
    return str(value).rsplit(".", 1)[-1].lower()


def words(table: Mapping[str, str]) -> Take:
    """A word for a word; others are Unfit."""

    def of(value: Any, given: Given) -> str:
        if word(value) not in table:
            raise Unfit("arguments.no_choice", value=value, known=", ".join(table))
        return table[word(value)]

    return Take(of, f"one of {', '.join(table)}")


def switch(on: Any) -> Take:
    """True is the value `on`; anything else leaves the setting alone."""

    def of(value: Any, given: Given) -> Any:
        if value is not True:
            raise Unfit("arguments.off")
        return on

    return Take(of, f"true: {', '.join(on) if isinstance(on, list) else on}")


def steps(*strategies: str) -> Take:
    """A number of steps, which only counts where the strategy, under one of its names, is to go by steps."""

    def of(value: Any, given: Given) -> Any:
        for name in strategies:
            if word(given.get(name, BY_STEPS)) != BY_STEPS:
                raise Unfit("arguments.decided", by=f"{name}: {given[name]}")
        if isinstance(value, float) and value < 1:
            raise Unfit("arguments.share_of_steps")
        return value

    return Take(of, f"unless {' or '.join(strategies)} is epoch or no")


def strategy(beside: str) -> Take:
    """When something happens: by steps, as the argument beside it says, or at the end of every epoch."""

    def of(value: Any, given: Given) -> None:
        if word(value) == BY_STEPS:
            raise Unfit("arguments.decided", by=beside)
        if word(value) != "epoch":
            raise Unfit("arguments.no_choice", value=value, known="steps, epoch")

    return Take(of, f"epoch: empty; steps: {beside} says it")


def _optional(value: Any, given: Given) -> Any:
    if value is None:
        raise Unfit("arguments.off")
    return value


def _optimizer(value: Any, given: Given) -> Any:
    if given.get("adafactor") is True:
        raise Unfit("arguments.decided", by="adafactor: true")
    return words(OPTIMIZERS).of(value, given)


def _reporters(value: Any, given: Given) -> bool:
    names = {word(name) for name in (value if isinstance(value, list) else [value])}
    if not {"tensorboard", "all"} & names:
        raise Unfit("arguments.reporters")
    return True


def _targets(value: Any, given: Given) -> list[Any]:
    names = value if isinstance(value, list) else [name.strip() for name in str(value).split(",")]
    return ["all-linear"] if names in (["all"], ["all-linear"]) else names


def _cards(value: Any, given: Given) -> list[str]:
    if given.get("use_cpu") is True:
        raise Unfit("arguments.decided", by="use_cpu: true")
    numbers = value if isinstance(value, list) else [part.strip() for part in str(value).split(",") if part.strip()]
    if not numbers or not all(str(number).isdecimal() for number in numbers):
        raise Unfit("arguments.no_choice", value=value, known="0, 0,1, …")
    return [f"cuda:{number}" for number in numbers]


def _share(value: Any, given: Given) -> Any:
    return value / 100 if isinstance(value, int | float) else value


OPTIONAL = Take(_optional, "null: as it is")
COUNT = Take(lambda value, given: None if value is None or value == -1 else value, "−1 and null: no limit")
KEPT = Take(lambda value, given: 1000 if value is None else value, "null: all of them")
OPTIMIZER = Take(_optimizer, "unless adafactor is true")
TENSORBOARD = Take(_reporters, "where tensorboard is among them")
TARGETS = Take(_targets, "all: all-linear")
PERCENT = Take(_share, "per cent")
CARDS = Take(_cards, "0,1: cuda:0, cuda:1; unless use_cpu is true")
BEST = words({"loss": "loss", "eval_loss": "loss", "accuracy": "accuracy", "eval_accuracy": "accuracy"})
SCHEDULERS = {
    name: name for name in ("linear", "cosine", "constant", "constant_with_warmup", "polynomial", "inverse_sqrt")
}
OPTIMIZERS = {
    **dict.fromkeys(("adamw_torch", "adamw_torch_fused", "adamw_hf", "adamw_apex_fused"), "adamw"),
    **dict.fromkeys(("adamw_8bit", "adamw_bnb_8bit"), "adamw_8bit"),
    **dict.fromkeys(("paged_adamw", "paged_adamw_32bit"), "paged_adamw"),
    "paged_adamw_8bit": "paged_adamw_8bit",
    "adafactor": "adafactor",
    "lion_8bit": "lion_8bit",
    "sgd": "sgd",
}
DTYPES = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32", "auto": "auto"}


# -- the table --------------------------------------------------------------------------------------------------------
def to(name: str, printed: Any, *keys: str, take: Take | None = None) -> Argument:
    return Argument(name, printed, keys) if take is None else Argument(name, printed, keys, take)


def drop(name: str, printed: Any, why: str) -> Argument:
    return Argument(name, printed, why=f"arguments.{why}", secret="token" in name)


PRINTED = (
    to("per_device_train_batch_size", 8, "schedule.batch_size"),
    to("per_device_eval_batch_size", 8, "evaluation.batch_size"),
    to("per_gpu_train_batch_size", None, "schedule.batch_size", take=OPTIONAL),
    to("per_gpu_eval_batch_size", None, "evaluation.batch_size", take=OPTIONAL),
    to("gradient_accumulation_steps", 1, "schedule.gradient_accumulation"),
    drop("eval_accumulation_steps", None, "no_predictions"),
    drop("eval_delay", 0, "eval_delay"),
    to("learning_rate", 2e-5, "optim.learning_rate"),
    to("weight_decay", 0.0, "optim.weight_decay"),
    to("adam_beta1", 0.9, "optim.adam_beta1"),
    to("adam_beta2", 0.999, "optim.adam_beta2"),
    to("adam_epsilon", 1e-8, "optim.adam_epsilon"),
    to("max_grad_norm", 1.0, "optim.max_grad_norm"),
    to("num_train_epochs", 10.0, "schedule.epochs"),
    to("max_steps", -1, "schedule.max_steps", take=COUNT),
    to("lr_scheduler_type", "linear", "schedule.scheduler", take=words(SCHEDULERS)),
    to("warmup_ratio", 0.0, "schedule.warmup_ratio"),
    to("warmup_steps", 50, "schedule.warmup_steps"),
    drop("log_level", "passive", "log_files"),
    drop("log_level_replica", "warning", "log_files"),
    drop("log_on_each_node", True, "log_files"),
    drop("logging_dir", "outputs-ziya-llama-13b-sft-med-v2/logs", "own_folder"),
    drop("logging_strategy", "steps", "logging_strategy"),
    drop("logging_first_step", False, "first_step"),
    to("logging_steps", 50, "logging.steps", take=steps("logging_strategy")),
    drop("logging_nan_inf_filter", True, "nan"),
    to("save_strategy", "steps", "saving.steps", take=strategy("save_steps")),
    to("save_steps", 50, "saving.steps", take=steps("save_strategy")),
    to("save_total_limit", 3, "saving.limit", take=KEPT),
    drop("save_safetensors", False, "safetensors"),
    drop("save_on_each_node", False, "processes"),
    to("no_cuda", False, "devices.use", take=switch(["cpu"])),
    drop("use_mps_device", False, "hardware"),
    to("seed", 42, "run.seed"),
    drop("data_seed", None, "one_seed"),
    drop("jit_mode_eval", False, "compiled"),
    drop("use_ipex", False, "hardware"),
    to("bf16", False, "model.dtype", take=switch("bf16")),
    to("fp16", True, "model.dtype", take=switch("fp16")),
    drop("fp16_opt_level", "O1", "one_format"),
    drop("half_precision_backend", "cuda_amp", "one_format"),
    drop("bf16_full_eval", False, "one_format"),
    drop("fp16_full_eval", False, "one_format"),
    drop("tf32", None, "one_format"),
    drop("local_rank", 0, "processes"),
    drop("xpu_backend", None, "hardware"),
    drop("tpu_num_cores", None, "hardware"),
    drop("tpu_metrics_debug", False, "hardware"),
    drop("debug", [], "debugging"),
    drop("dataloader_drop_last", False, "whole_epochs"),
    to("eval_steps", 50, "evaluation.steps", take=steps("evaluation_strategy", "eval_strategy")),
    drop("dataloader_num_workers", 0, "no_loader"),
    drop("past_index", -1, "no_predictions"),
    to("run_name", "outputs-ziya-llama-13b-sft-med-v2", "run.name"),
    drop("disable_tqdm", False, "log_files"),
    drop("remove_unused_columns", False, "no_loader"),
    drop("label_names", None, "no_loader"),
    to("load_best_model_at_end", True, "evaluation.keep_best"),
    to("metric_for_best_model", "loss", "evaluation.best_by", take=BEST),
    drop("greater_is_better", False, "best"),
    drop("ignore_data_skip", False, "resume"),
    drop("sharded_ddp", [], "sharding"),
    drop("fsdp", [], "sharding"),
    drop("fsdp_min_num_params", 0, "sharding"),
    drop("fsdp_config", {"fsdp_min_num_params": 0, "xla": False, "xla_fsdp_grad_ckpt": False}, "sharding"),
    drop("fsdp_transformer_layer_cls_to_wrap", None, "sharding"),
    drop("deepspeed", None, "sharding"),
    to("label_smoothing_factor", 0.0, "optim.label_smoothing"),
    to("optim", "adamw_torch", "optim.optimizer", take=OPTIMIZER),
    drop("optim_args", None, "optimizer_args"),
    to("adafactor", False, "optim.optimizer", take=switch("adafactor")),
    drop("group_by_length", False, "no_padding"),
    drop("length_column_name", "length", "no_padding"),
    to("report_to", ["tensorboard"], "logging.tensorboard", take=TENSORBOARD),
    drop("ddp_find_unused_parameters", False, "processes"),
    drop("ddp_bucket_cap_mb", None, "processes"),
    drop("dataloader_pin_memory", True, "no_loader"),
    drop("skip_memory_metrics", True, "memory_metrics"),
    drop("use_legacy_prediction_loop", False, "no_predictions"),
    drop("push_to_hub", False, "hub"),
    drop("resume_from_checkpoint", None, "resume"),
    drop("hub_model_id", None, "hub"),
    drop("hub_strategy", "every_save", "hub"),
    drop("hub_token", "<hub_token>", "hub"),
    drop("hub_private_repo", False, "hub"),
    to("gradient_checkpointing", False, "tuning.gradient_checkpointing"),
    drop("include_inputs_for_metrics", False, "no_predictions"),
    drop("fp16_backend", "auto", "one_format"),
    drop("push_to_hub_model_id", None, "hub"),
    drop("push_to_hub_organization", None, "hub"),
    drop("push_to_hub_token", "<push_to_hub_token>", "hub"),
    drop("mp_parameters", "", "sharding"),
    drop("auto_find_batch_size", False, "batch_size"),
    drop("full_determinism", False, "determinism"),
    drop("torchdynamo", None, "compiled"),
    drop("ray_scope", "last", "search"),
    drop("ddp_timeout", 1800, "processes"),
    drop("torch_compile", False, "compiled"),
    drop("torch_compile_backend", None, "compiled"),
    drop("torch_compile_mode", None, "compiled"),
)
# What stands beside them in scripts of today: the same trainer's newer names, and those of the model and the data.
BESIDE = (
    to("evaluation_strategy", ABSENT, "evaluation.steps", take=strategy("eval_steps")),
    to("eval_strategy", ABSENT, "evaluation.steps", take=strategy("eval_steps")),
    to("use_cpu", ABSENT, "devices.use", take=switch(["cpu"])),
    to("neftune_noise_alpha", ABSENT, "optim.neftune_alpha", take=OPTIONAL),
    to("model_name_or_path", ABSENT, "model.base"),
    to("torch_dtype", ABSENT, "model.dtype", take=words(DTYPES)),
    to("attn_implementation", ABSENT, "model.attention"),
    drop("trust_remote_code", ABSENT, "by_hand"),
    to("lora_rank", ABSENT, "lora.rank"),
    to("lora_r", ABSENT, "lora.rank"),
    to("lora_alpha", ABSENT, "lora.alpha"),
    to("lora_dropout", ABSENT, "lora.dropout"),
    to("target_modules", ABSENT, "lora.targets", take=TARGETS),
    to("load_in_4bit", ABSENT, "quantization.kind", take=switch("nf4")),
    to("load_in_8bit", ABSENT, "quantization.kind", take=switch("int8")),
    to("block_size", ABSENT, "data.block_size"),
    to("model_max_length", ABSENT, "data.max_length", "data.block_size"),
    to("max_length", ABSENT, "data.max_length", "data.block_size"),
    to("max_train_samples", ABSENT, "data.max_rows", take=COUNT),
    to("validation_split_percentage", ABSENT, "data.validation_split", take=PERCENT),
    drop("output_dir", ABSENT, "own_folder"),
    drop("overwrite_output_dir", ABSENT, "own_folder"),
    drop("cache_dir", ABSENT, "own_folder"),
    drop("do_train", ABSENT, "stage"),
    drop("do_eval", ABSENT, "stage"),
)
# What the article gives its scripts of inference, and what their later versions take beside it.
INFERENCE = (
    to("model_type", ABSENT, "model.model_type"),
    to("base_model", ABSENT, "model.base"),
    to("lora_model", ABSENT, "model.lora"),
    to("tokenizer_path", ABSENT, "model.tokenizer"),
    to("with_prompt", ABSENT, "data.with_prompt"),
    to("data_file", ABSENT, "data.file"),
    to("predictions_file", ABSENT, "data.predictions"),
    to("gpus", ABSENT, "devices.use", take=CARDS),
    to("template_name", ABSENT, "model.template"),
    to("system_prompt", ABSENT, "data.system"),
    to("output_file", ABSENT, "data.predictions"),
    to("max_new_tokens", ABSENT, "generation.max_new_tokens"),
    to("temperature", ABSENT, "generation.temperature"),
    to("top_p", ABSENT, "generation.top_p"),
    to("top_k", ABSENT, "generation.top_k"),
    to("repetition_penalty", ABSENT, "generation.repetition_penalty"),
)
TALKING = ("interactive", "single_turn")  # of inference: not what a run is, but that there is a conversation instead
ARGUMENTS: dict[str, Argument] = {argument.name: argument for argument in (*PRINTED, *BESIDE, *INFERENCE)}

# Of the printed ones, those that Transformers 5 no longer knows; a test asks it.
_GONE = """
per_gpu_train_batch_size per_gpu_eval_batch_size warmup_ratio logging_dir save_safetensors no_cuda use_mps_device
jit_mode_eval use_ipex fp16_opt_level half_precision_backend xpu_backend tpu_num_cores tpu_metrics_debug past_index
sharded_ddp fsdp_min_num_params fsdp_transformer_layer_cls_to_wrap adafactor group_by_length mp_parameters
use_legacy_prediction_loop include_inputs_for_metrics fp16_backend push_to_hub_model_id push_to_hub_organization
push_to_hub_token torchdynamo ray_scope
"""
GONE = frozenset(_GONE.split())
