"""Labels and Chinese help of the settings that pretrain, reward, merge, push, evaluate, score and vocabulary have.

`STAGE_FIELDS` has the form of `text_fields.FIELDS`, which takes it in; so have the sections' and choices' tables. A key
that means something else in one stage is there a second time as `stage:key`.
"""

from __future__ import annotations

_TOKENS = ("Tokens at a time", "单次词元数", "一次计算的词元数；越少越省内存。")
_TEMPLATE = ("Chat template", "对话模板", "模型没有对话模板时，用这个内置模板。")
_WEIGHTS = "权重的数值格式。auto：设备支持时用 bf16，否则 fp32。"

STAGE_FIELDS: dict[str, tuple[str, str, str]] = {
    # -- every training stage
    "run.webhook": (
        "Webhook",
        "通知地址",
        "运行结束时以 POST JSON 通知的地址。其中需要保密的部分请放进环境变量，写作 $NAME。",
    ),
    "run.after": (
        "Starts after",
        "在其后开始",
        "这些运行成功之后，本运行才开始，填写它们的编号。失败或停止的会让本运行搁置，直到它被继续并完成。",
    ),
    "run.rehearsal": ("Rehearsal", "预演", "所属的预演；留空表示不属于任何预演。同一次预演的运行一起列出、一起删除。"),
    "run.retries": ("Retries", "自动重试", "崩溃的运行最多自动重启几次，从最近的检查点继续。"),
    "lora.start": (
        "Parent's adapter",
        "父运行的适配器",
        "起点是带适配器的运行时：new 先把它合并进基座，再训练新的适配器；continue 接着训练原来那个适配器。",
    ),
    "lora.embeddings": (
        "Train embeddings",
        "训练词向量",
        "除适配器外，整体训练词向量和输出头。auto：扩充过词表时才训练。",
    ),
    "quantization.kind": (
        "Quantisation",
        "量化",
        "nf4：4 位，即 QLoRA 的做法；int8：8 位。只能配合 lora；较慢，但省很多内存。",
    ),
    "quantization.double": ("Double quantisation", "双重量化", "4 位分块的缩放系数也量化：每个权重再省 0.4 位。"),
    "schedule.max_tokens": ("Token budget", "词元预算", "训练大约这么多词元后停止，不管轮数。"),
    "optim.label_smoothing": ("Label smoothing", "标签平滑", "分给其他词元的目标概率；大于 0 时不用融合损失。"),
    # -- pretrain
    "pretrain:data.train": ("Corpus", "语料", "文档数据集，或对话数据集（当作纯文本），或一个文件。"),
    "pretrain:schedule.batch_size": ("Batch size", "批大小", "每个设备一次处理多少个文本块。"),
    "data.general": (
        "General text",
        "通用文本",
        "混入的通用文本，防止模型忘掉原有知识：数据集或文件。",
    ),
    "data.general_share": ("General share", "通用比例", "训练词元中通用文本所占的比例。"),
    "data.block_size": ("Block size", "块长度", "一块的词元数，即模型一次读入的长度；不超过模型的上下文。"),
    "data.packing": (
        "Packing",
        "拼接方式",
        "isolated：文档共用一批，但彼此不可见；joined：文档首尾相接，以结束符隔开，再切成等长的块，多数基座模型就是这样训练的。",
    ),
    "data.end_mark": ("End marks", "结束符", "每篇文档末尾加上分词器的文本结束符。"),
    # -- sft
    "data.mix": (
        "Mixed in",
        "混合数据",
        "更多数据集，每行一个，后写每轮的取用倍数：general: 0.5 表示取一半，2 表示每行取两次。"
        "留出验证数据时，各数据集单独计算验证损失。",
    ),
    "data.order": (
        "Order",
        "训练顺序",
        "课程学习。shuffled：不排序；easy_first：每轮从易到难；phases：难度逐阶段升高，阶段内打乱。",
    ),
    "data.difficulty": (
        "Difficulty by",
        "难度依据",
        "按什么判断难易：数据集的难度列、词元长度，或基座模型在该行上的损失。",
    ),
    "data.phases": ("Phases", "阶段数", "分阶段课程的阶段数。"),
    # -- reward
    "reward:data.max_length": ("Max tokens", "最大长度", "问题加回答允许的词元数。超长时先去掉最早的整轮。"),
    "reward:optim.label_smoothing": ("Mistaken preferences", "错误偏好的比例", "认为标错的偏好所占的比例。"),
    "reward:evaluation.batch_size": ("Eval batch", "评估批大小", "评估时一次处理的偏好对数。"),
    "reward:evaluation.patience": ("Patience", "早停耐心", "连续这么多次评估没有更好的结果就停止。留空：不早停。"),
    "reward:evaluation.keep_best": ("Keep the best", "交付最佳", "交付评估结果最好的检查点，而不是最后一个。"),
    "evaluation.best_by": ("Best by", "最佳标准", "什么算最好：验证损失最低，或偏好对准确率最高。"),
    "preference.margin": ("Margin", "间隔", "更好的回答至少应比较差的高出多少分。"),
    "preference.centring": ("Centring", "居中", "把一对得分的和拉向 0，使得分有固定的原点；0 为关闭。"),
    "preference.head_learning_rate": ("Head's rate", "打分头学习率", "打分头的学习率。留空：与其余部分相同。"),
    # -- vocabulary
    "vocabulary:model.base": (
        "Base model",
        "基座模型",
        "已完成的运行、工作区里的模型、本地文件夹，或已下载的仓库名。",
    ),
    "words.corpus": ("Corpus", "语料", "从这个数据集或文件中学习常用单元。"),
    "words.list": ("Word list", "词表文件", "每行一个词的文本文件；学到的词排在它之后。"),
    "words.unit": (
        "Unit",
        "单元",
        "学什么。characters：被分词器切成字节的单字；words：单字和词；pieces：最省词元的片段，就像重新训练一个分词器。",
    ),
    "words.size": ("New tokens", "新词元数", "最多新增多少个词元。"),
    "words.min_count": ("Min count", "最少次数", "单元在语料中至少出现的次数。"),
    "words.max_length": ("Max characters", "最多字数", "一个单元最多的字符数。"),
    "words.max_rows": ("Max rows", "最多行数", "只从这么多行学习，由随机种子选取。"),
    # -- merge
    "merge:model.base": ("Run", "运行", "把这个运行的适配器合并进它们的基座。"),
    "merge:model.dtype": ("Number format", "数值格式", "合并后权重的格式。auto：与基座自己的文件相同。"),
    "merge:model.folder": (
        "Name here",
        "本地名称",
        "合并后的模型在工作区里的名称。留空：留在运行里，由运行列出。",
    ),
    "model.verify": (
        "Check",
        "核对",
        "交付前核对什么。weights：写出的每一个数；auto：内存放得下整个模型时，还比较它的回答。",
    ),
    "model.shard_size": ("Shard size", "分片大小", "单个权重文件的最大尺寸。"),
    # -- push
    "push:model.base": ("Run", "运行", "发送这个运行的适配器或模型。只有已完成的运行才有。"),
    "model.card": ("Model card", "模型卡", "模型卡，Markdown 格式。留空：由运行、基座和数据的记录生成。"),
    "to.repo": ("Repository", "仓库", "仓库名，写作 owner/name；不存在时新建。"),
    "to.private": (
        "Private",
        "私有",
        "只有你和你允许的人能看到。已经公开的仓库这时会被拒绝。",
    ),
    "to.revision": ("Branch", "分支", "分支；不存在时从 main 处新建。"),
    "to.message": ("Message", "提交说明", "提交说明。留空：运行的名称。"),
    # -- evaluate
    "models.runs": ("Models", "模型", "运行和模型，每行一个，各占表中一行：一个基座，以及由它得到的模型。"),
    "models.dtype": ("Number format", "数值格式", _WEIGHTS),
    "models.template": _TEMPLATE,
    "models.trust_remote_code": (
        "Trust the models' code",
        "信任模型代码",
        "运行模型自带的 Python 代码。仅用于你信任的作者。",
    ),
    "data.rows": (
        "Test data",
        "测试数据",
        "数据集或文件，每行一个。文档和对话给出损失和困惑度，偏好对和选择题给出准确率。",
    ),
    "data.prompts": ("Prompts", "提示", "每个模型都要回答的提示：文件或数据集；纯文本则每行一个。"),
    "data.tokens": _TOKENS,
    "evaluate:data.max_rows": ("Max rows", "最多行数", "每个数据集最多用多少行，由随机种子选取。留空：全部。"),
    "generation.max_new_tokens": ("Answer length", "回答长度", "回答的长度上限（词元）。"),
    "generation.temperature": ("Temperature", "温度", "0：总是取概率最大的词元。"),
    "generation.top_p": ("Top-p", "Top-p", "从合计达到这个概率的最可能词元中采样。"),
    "generation.max_prompts": ("Max prompts", "最多提示数", "最多回答多少个提示。留空：全部。"),
    # -- score
    "score:model.base": ("Reward model", "奖励模型", "已完成的奖励模型运行，或序列分类模型的文件夹。"),
    "score:model.dtype": ("Number format", "数值格式", _WEIGHTS),
    "score:model.template": _TEMPLATE,
    "score:data.rows": ("Answers", "回答", "对话、带排序的回答或偏好对：数据集或文件。"),
    "score:data.max_rows": ("Max rows", "最多行数", "只给这么多行打分，由随机种子选取。"),
    "score:data.max_length": ("Max tokens", "最大长度", "问题加回答看多少个词元。"),
    # -- perplexity
    "perplexity:data.rows": ("Data", "数据", "对话或文档数据集，或一个文件。"),
    "perplexity:data.max_rows": ("Max rows", "最多行数", "只测量这么多行，由随机种子选取。"),
    "data.as_text": ("As plain text", "当作纯文本", "像预训练那样测量整段对话，而不是只看回答。"),
    "perplexity:data.max_length": ("Max tokens", "最大长度", "每行看多少个词元。"),
}

STAGE_SECTIONS: dict[str, tuple[str, str]] = {
    "quantization": ("Quantisation", "量化"),
    "preference": ("Preference loss", "偏好损失"),
    "words": ("New words", "新词"),
    "models": ("Models", "模型"),
    "generation": ("Answers", "回答"),
    "to": ("Where to", "去向"),
}

STAGE_CHOICES: dict[tuple[str, str], tuple[str, str]] = {
    ("lora.start", "new"): ("Merge, new adapter", "合并后新建"),
    ("lora.start", "continue"): ("Continue it", "继续训练"),
    ("lora.embeddings", "auto"): ("auto", "自动"),
    ("lora.embeddings", "yes"): ("Yes", "是"),
    ("lora.embeddings", "no"): ("No", "否"),
    ("quantization.kind", "none"): ("None", "不量化"),
    ("quantization.kind", "nf4"): ("4 bits (NF4)", "4 位（NF4）"),
    ("quantization.kind", "fp4"): ("4 bits (FP4)", "4 位（FP4）"),
    ("quantization.kind", "int8"): ("8 bits (INT8)", "8 位（INT8）"),
    ("data.packing", "isolated"): ("Isolated", "相互隔离"),
    ("data.packing", "joined"): ("Joined", "首尾相接"),
    ("data.order", "shuffled"): ("Shuffled", "打乱"),
    ("data.order", "easy_first"): ("Easy first", "先易后难"),
    ("data.order", "phases"): ("Phases", "分阶段"),
    ("data.difficulty", "column"): ("Column", "难度列"),
    ("data.difficulty", "length"): ("Length", "长度"),
    ("data.difficulty", "loss"): ("Loss", "损失"),
    ("evaluation.best_by", "loss"): ("Loss", "损失"),
    ("evaluation.best_by", "accuracy"): ("Accuracy", "准确率"),
    ("model.verify", "auto"): ("Numbers and answers", "数值和回答"),
    ("model.verify", "weights"): ("Numbers only", "仅数值"),
    ("words.unit", "characters"): ("Characters", "单字"),
    ("words.unit", "words"): ("Words", "词"),
    ("words.unit", "pieces"): ("Pieces", "片段"),
}
