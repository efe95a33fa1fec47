"""Labels and help of the settings. English help is the field's own description; Chinese help and all labels are here.

Keys are dotted (`optim.learning_rate`); a stage that means something else by the same key adds `stage:key`.
"""

from __future__ import annotations

from pydantic.fields import FieldInfo

from webui.text_fields_annotate import ANNOTATE_CHOICES, ANNOTATE_FIELDS, ANNOTATE_SECTIONS
from webui.text_fields_choice import CHOICE_CHOICES, CHOICE_FIELDS
from webui.text_fields_distributed import DISTRIBUTED_CHOICES, DISTRIBUTED_FIELDS, DISTRIBUTED_SECTIONS
from webui.text_fields_evaluating import EVALUATING_CHOICES, EVALUATING_FIELDS, EVALUATING_SECTIONS
from webui.text_fields_ppo import PPO_FIELDS, PPO_SECTIONS
from webui.text_fields_predict import PREDICT_FIELDS
from webui.text_fields_stages import STAGE_CHOICES, STAGE_FIELDS, STAGE_SECTIONS

# key: (English label, Chinese label, Chinese help)
FIELDS: dict[str, tuple[str, str, str]] = {
    "run.name": ("Name", "名称", "凡是能选运行的地方都显示这个名称。留空则由模型、阶段和数据集生成。"),
    "run.seed": ("Seed", "随机种子", "决定数据顺序、适配器初值和 dropout。"),
    "devices.use": ("Devices", "设备", "在哪里计算；选多个则每个设备一个进程。自动：优先第一块 GPU，否则 CPU。"),
    "model.base": (
        "Base model",
        "基座模型",
        "已完成的运行、工作区里的模型、本地文件夹、GGUF 文件，或 Qwen/Qwen3-0.6B 这样的仓库名。",
    ),
    "model.dtype": ("Number format", "数值格式", "冻结权重的格式。auto：设备支持时用 bf16，否则 fp32。"),
    "model.attention": ("Attention", "注意力实现", "auto：模型支持时用 sdpa。"),
    "model.trust_remote_code": (
        "Trust the model's code",
        "信任模型代码",
        "运行模型自带的 Python 代码。仅用于你信任的作者。",
    ),
    "model.template": (
        "Chat template",
        "对话模板",
        "内置对话模板的名称，用于没有模板、或曾用其他模板训练的模型。留空：用模型自带的模板。",
    ),
    "data.train": ("Training data", "训练数据", "工作区的数据集（名称或 名称@版本），或一个文件。"),
    "data.validation": ("Validation data", "验证数据", "仅用于评估的第二个数据集或文件。"),
    "data.validation_split": ("Held-out share", "验证比例", "未指定验证数据时，从训练数据中留出的比例。"),
    "data.max_length": ("Max tokens", "最大长度", "每行允许的词元数。超长时先去掉最早的整轮，再截断末尾。"),
    "data.max_rows": ("Max rows", "最多行数", "每个数据集只用这么多行，由随机种子选取。"),
    "data.bad_rows": ("Unusable rows", "不可用的行", "stop：启动前停下并列出；drop：丢弃并记录。"),
    "data.train_on": ("Learn from", "学习范围", "只学助手的回答，或学整段对话的每个词元。"),
    "tuning.method": ("Method", "微调方式", "lora：小型适配器；full：全部权重；freeze：只训练最后几层。"),
    "tuning.trainable_layers": ("Trained layers", "训练层数", "方式为 freeze 时，训练最后多少层。"),
    "tuning.gradient_checkpointing": (
        "Recompute activations",
        "重算激活值",
        "反向时重算激活值：更省内存，约慢三分之一。",
    ),
    "lora.rank": ("Rank", "秩", "适配器的秩。"),
    "lora.alpha": ("Alpha", "Alpha", "缩放：适配器输出乘以 alpha / 秩。"),
    "lora.dropout": ("Dropout", "Dropout", "适配器之前的 dropout。"),
    "lora.targets": (
        "Target layers",
        "目标层",
        "加适配器的线性层名称；all-linear：除输出头外的全部，混合专家模型只加在注意力层。",
    ),
    "optim.learning_rate": ("Learning rate", "学习率", "峰值学习率。LoRA 常用 2e-4，全参数常用 2e-5。"),
    "optim.optimizer": ("Optimizer", "优化器", "8bit：状态用 8 位存放；paged：GPU 放不下时状态移到内存。"),
    "optim.weight_decay": ("Weight decay", "权重衰减", "权重矩阵的衰减。"),
    "optim.adam_beta1": ("Adam β1", "Adam β1", "Adam 一阶矩的衰减。"),
    "optim.adam_beta2": ("Adam β2", "Adam β2", "Adam 二阶矩的衰减。"),
    "optim.adam_epsilon": ("Adam ε", "Adam ε", "Adam 的 epsilon。"),
    "optim.max_grad_norm": ("Gradient clip", "梯度裁剪", "梯度范数超过它时按比例缩小；0 为不裁剪。"),
    "optim.neftune_alpha": ("NEFTune noise", "NEFTune 噪声", "训练时给词向量加均匀噪声；常用 5，0 为关闭。"),
    "schedule.epochs": ("Epochs", "训练轮数", "训练数据过几遍。"),
    "schedule.max_steps": ("Max steps", "最多步数", "到这么多优化步就停，不管轮数。"),
    "schedule.batch_size": ("Batch size", "批大小", "每个设备一次处理的行数。"),
    "schedule.gradient_accumulation": ("Accumulation", "梯度累积", "每个优化步累积的批数。"),
    "schedule.scheduler": ("Schedule", "学习率曲线", "预热之后学习率如何变化。"),
    "schedule.warmup_steps": ("Warm-up steps", "预热步数", "学习率从 0 升起所用的步数。"),
    "schedule.warmup_ratio": ("Warm-up share", "预热比例", "预热步数为 0 时，按总步数的比例预热。"),
    "evaluation.steps": ("Evaluate every", "评估间隔", "每多少步评估一次。留空：每轮结束时。"),
    "evaluation.batch_size": ("Eval batch", "评估批大小", "评估时一次处理的行数。"),
    "evaluation.patience": ("Patience", "早停耐心", "连续这么多次评估无改善就停止。留空：不早停。"),
    "evaluation.keep_best": ("Keep the best", "交付最佳", "交付验证损失最低的检查点，而不是最后一个。"),
    "evaluation.prompts": ("Fixed prompts", "固定问题", "每次评估都会回答，便于阅读进步。每行一个，最多五个。"),
    "evaluation.max_new_tokens": ("Answer length", "回答长度", "固定问题回答的长度上限（词元）。"),
    "saving.steps": ("Save every", "保存间隔", "每多少步保存检查点。留空：每次评估时。"),
    "saving.limit": ("Checkpoints kept", "保留数量", "保留最新的几个检查点，最佳的总会保留。"),
    "logging.steps": ("Log every", "记录间隔", "每多少步写一次指标。"),
    "logging.tensorboard": (
        "TensorBoard",
        "TensorBoard",
        "同时写 TensorBoard 事件文件（在运行目录的 tensorboard/ 下）。",
    ),
    "model.source": ("Source", "来源", "starter、仓库名、含模型或 LoRA 适配器的文件夹，或 GGUF 文件。"),
    "model.hub": ("Hub", "模型站", "仓库名属于哪个模型站。"),
    "model.revision": ("Revision", "版本", "仓库的分支、标签或提交。"),
    "model.folder": ("Name here", "本地名称", "在工作区里的模型名称。留空则由来源生成。"),
    "fetch:model.base": (
        "Belongs to",
        "所属基座",
        "适配器、或以差值形式发布的权重所属的模型。留空：适配器自己写明的那个。",
    ),
    "model.model_type": ("Model type", "模型类型", "llama、bloom、chatglm 等：需要核对时填写。留空：以文件夹为准。"),
    "model.difference": (
        "Difference weights",
        "差值权重",
        "须加到基座上的权重，例如 Ziya-LLaMA-13B-v1 的发布形式。auto：由名称判断。",
    ),
    "fetch:model.template": (
        "Chat template",
        "对话模板",
        "适配器训练时所用的内置对话模板名称。留空：用分词器自带的模板。",
    ),
    **STAGE_FIELDS,
    **PPO_FIELDS,
    **CHOICE_FIELDS,
    **EVALUATING_FIELDS,
    **ANNOTATE_FIELDS,
    **PREDICT_FIELDS,
    **DISTRIBUTED_FIELDS,
}

SECTIONS: dict[str, tuple[str, str]] = {
    "model": ("Model", "模型"),
    "data": ("Data", "数据"),
    "run": ("Run", "运行"),
    "tuning": ("Tuning", "微调"),
    "lora": ("LoRA", "LoRA"),
    "schedule": ("Schedule", "训练安排"),
    "optim": ("Optimizer", "优化"),
    "evaluation": ("Evaluation", "评估"),
    "saving": ("Checkpoints", "检查点"),
    "logging": ("Logging", "记录"),
    "devices": ("Devices", "设备"),
    **STAGE_SECTIONS,
    **PPO_SECTIONS,
    **EVALUATING_SECTIONS,
    **ANNOTATE_SECTIONS,
    **DISTRIBUTED_SECTIONS,
}

# (key, value): (English label, Chinese label); values without one are shown as they are.
CHOICES: dict[tuple[str, str], tuple[str, str]] = {
    ("tuning.method", "lora"): ("LoRA", "LoRA"),
    ("tuning.method", "full"): ("Full", "全参数"),
    ("tuning.method", "freeze"): ("Freeze", "冻结"),
    ("model.hub", "huggingface"): ("Hugging Face", "Hugging Face"),
    ("model.hub", "modelscope"): ("ModelScope", "ModelScope"),
    ("model.difference", "auto"): ("auto", "自动"),
    ("model.difference", "yes"): ("yes", "是"),
    ("model.difference", "no"): ("no", "否"),
    ("data.bad_rows", "stop"): ("Stop", "停下"),
    ("data.bad_rows", "drop"): ("Drop", "丢弃"),
    ("data.train_on", "assistant"): ("Answers", "回答"),
    ("data.train_on", "all"): ("All", "全部"),
    ("schedule.scheduler", "linear"): ("linear", "线性"),
    ("schedule.scheduler", "cosine"): ("cosine", "余弦"),
    ("schedule.scheduler", "constant"): ("constant", "恒定"),
    ("schedule.scheduler", "constant_with_warmup"): ("constant, warm-up", "恒定（含预热）"),
    ("schedule.scheduler", "polynomial"): ("polynomial", "多项式"),
    ("schedule.scheduler", "inverse_sqrt"): ("inverse root", "平方根倒数"),
    **STAGE_CHOICES,
    **CHOICE_CHOICES,
    **EVALUATING_CHOICES,
    **ANNOTATE_CHOICES,
    **DISTRIBUTED_CHOICES,
}


def label(stage: str, key: str, lang: str) -> str:
    """The field's short name; a field nobody named is shown by its key's last part."""
    found = FIELDS.get(f"{stage}:{key}") or FIELDS.get(key)
    if found is None:
        return key.rsplit(".", 1)[-1].replace("_", " ").capitalize()
    return found[1] if lang == "zh" else found[0]


def help_text(stage: str, key: str, field: FieldInfo, lang: str) -> str:
    found = FIELDS.get(f"{stage}:{key}") or FIELDS.get(key)
    return found[2] if lang == "zh" and found else field.description or ""


def section_name(section: str, lang: str) -> str:
    english, chinese = SECTIONS.get(section, (section.capitalize(), section.capitalize()))
    return chinese if lang == "zh" else english


def choice_label(key: str, value: str, lang: str) -> str:
    english, chinese = CHOICES.get((key, value), (value, value))
    return chinese if lang == "zh" else english
