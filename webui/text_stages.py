"""Strings of the stage pages: pretrain, SFT, reward, what they start from, fit estimate, arguments, vocabulary."""

from __future__ import annotations

STAGES_TEXT: dict[str, tuple[str, str]] = {
    "tab.pretrain": ("Pretrain", "继续预训练"),
    "tab.reward": ("Reward", "奖励模型"),
    "stage.vocabulary": ("vocabulary", "扩充词表"),
    "stage.merge": ("merge", "合并"),
    "stage.score": ("scoring", "打分"),
    # -- what a stage starts from
    "form.run_choice": ("{name} · {stage} · {when}", "{name} · {stage} · {when}"),
    "form.this_run": ("this run", "该运行"),
    "form.this_model": ("this model", "该模型"),
    "form.models_elsewhere": (
        "No model yet: the Pretrain and SFT tabs bring one in.",
        "还没有模型：可在“继续预训练”或“监督微调”页获取。",
    ),
    "pretrain.intro": (
        "This stage is optional. Most projects go straight to SFT.\n"
        "It pays with good documents the model has never seen; text of poor quality makes its answers worse.\n"
        "What the base was trained on already, such as Wikipedia or arXiv, teaches it nothing.\n"
        "It needs memory: blocks of 1024 or 2048 tokens, with LoRA, too.",
        "本阶段可选，请慎重；多数项目直接做监督微调即可。\n"
        "只有模型没见过的高质量文档才值得用；质量不高的文本会损害原模型的生成能力。\n"
        "基座预训练时已经用过的数据，如维基百科、arXiv，没有必要再训练。\n"
        "显存要求高：即使用 LoRA，也要放得下 1024 或 2048 词元的文本块。",
    ),
    # -- the pairs of a reward run
    "run.pairs": ("Pairs", "偏好对"),
    "pairs.none": (
        "At every evaluation the held-out pairs are scored; the figures appear here.",
        "每次评估都会给留出的偏好对打分，结果显示在这里。",
    ),
    "pairs.fit": ("Fit for PPO, by {n} held-out pairs.", "可用于 PPO（依据 {n} 个留出的偏好对）。"),
    "pairs.not_fit": ("Not fit for PPO:", "不能用于 PPO："),
    "pairs.accuracy": ("pair accuracy", "配对准确率"),
    "pairs.accuracy_help": (
        "Share of the pairs whose chosen answer has the higher score; equal scores count as wrong.",
        "更好的回答得分更高的偏好对所占比例；得分相同算错。",
    ),
    "pairs.margin": ("mean margin", "平均分差"),
    "pairs.margin_help": (
        "How far the chosen answer's score lies above the rejected one's, on average.",
        "更好的回答平均比较差的高多少分。",
    ),
    "pairs.ties": ("ties", "平局"),
    "pairs.ties_help": ("Pairs whose two answers have the same score.", "两个回答得分相同的偏好对。"),
    "pairs.length": ("score and length", "得分与长度相关"),
    "pairs.length_help": (
        "Correlation of an answer's score with its length; near 1 the model mostly counts tokens.",
        "得分与回答长度的相关系数；接近 1 说明模型主要在数词元。",
    ),
    "pairs.shorter": ("right where the better is shorter", "较短者更好时的准确率"),
    "pairs.shorter_help": (
        "Accuracy on the pairs whose chosen answer is the shorter one, and how many these are.",
        "更好的回答较短的那些偏好对上的准确率，括号内为数量。",
    ),
    "pairs.calibration_error": ("calibration error", "校准误差"),
    "pairs.calibration_help": (
        "How far the model's certainty lies from how often it is right, on average.",
        "模型的把握与实际正确率平均相差多少。",
    ),
    "pairs.scores": ("Scores", "得分分布"),
    "pairs.chosen": ("chosen", "更好"),
    "pairs.rejected": ("rejected", "较差"),
    "pairs.calibration": ("Certainty and accuracy", "把握与正确率"),
    "pairs.bin": ("{predicted} sure, {observed} right ({n} pairs)", "把握 {predicted}，正确 {observed}（{n} 对）"),
    "pairs.worst_one": ("The worst mis-ordered pair", "排序最错的偏好对"),
    "pairs.worst": ("The {n} worst mis-ordered pairs", "排序最错的 {n} 个偏好对"),
    "pairs.no_worst": ("No held-out pair is in the wrong order.", "留出的偏好对都排对了。"),
    "pairs.where": ("{dataset} · line {line}", "{dataset} · 第 {line} 行"),
    # -- is it worth it?
    "worth.title": ("Is it worth it?", "值得训练吗？"),
    "worth.help": (
        "Scores 200 documents of the corpus under the chosen model. Text that it predicts well already has nothing to "
        "teach it.",
        "用所选模型给语料中的 200 篇文档打分。模型本来就能很好预测的文本，没有什么可教给它的。",
    ),
    "worth.start": ("Score a sample", "抽样打分"),
    "worth.facts": (
        "{rows} documents, {tokens} tokens, {size}: perplexity {perplexity}, {bits} bits a byte.",
        "{rows} 篇文档，{tokens} 词元，{size}：困惑度 {perplexity}，每字节 {bits} 比特。",
    ),
    "worth.buckets": ("Documents by bits a byte", "按每字节比特数划分的文档"),
    "worth.bucket": ("{bits} bits a byte: {rows} documents", "每字节 {bits} 比特：{rows} 篇"),
    "worth.examples": ("Examples", "示例"),
    "worth.best": ("Predicted best (bits a byte)", "预测得最好的（每字节比特数）"),
    "worth.worst": ("Predicted worst", "预测得最差的"),
    "worth.line": ("line {line}", "第 {line} 行"),
    # -- vocabulary
    "vocabulary.title": ("Extend the vocabulary first", "先扩充词表"),
    "vocabulary.help": (
        "Words that the tokenizer cuts into many pieces become one token each. Worth it where a language is cut into "
        "bytes; the new model needs pretraining before it understands them.",
        "让被切成许多片段的词各成为一个词元。适合某种语言被切成字节的情况；新模型要先经过预训练才懂得这些词。",
    ),
    "vocabulary.corpus_help": ("Empty: the corpus above.", "留空：用上面的语料。"),
    "vocabulary.start": ("Extend", "扩充"),
    "vocabulary.rate": ("{before} → {after} characters per token.", "每词元字符数 {before} → {after}。"),
    "vocabulary.facts": (
        "{units} new units and {parts} parts of them: {before} → {after} tokens.",
        "新增 {units} 个单元和 {parts} 个组成片段：词表 {before} → {after}。",
    ),
    "vocabulary.shown": ("New tokens", "新词元"),
    "vocabulary.left": ("Left out: {what}.", "未加入：{what}。"),
    "vocabulary.left_known": ("{n} known already", "{n} 个已有"),
    "vocabulary.left_double": ("{n} given twice", "{n} 个重复"),
    "vocabulary.left_blank": ("{n} blank lines", "{n} 个空行"),
    "vocabulary.left_failed": ("{n} that the tokenizer cannot join", "{n} 个分词器无法合并"),
    "vocabulary.left_room": ("{n} beyond the limit", "{n} 个超出上限"),
    # -- fit estimate
    "fit.fits": ("Fits", "放得下"),
    "fit.tight": ("Tight", "勉强放下"),
    "fit.no": ("Does not fit", "放不下"),
    "fit.memory": ("about {total}; {places}", "约需 {total}；{places}"),
    "fit.place": ("{free} free on {device}", "{device} 空闲 {free}"),
    "fit.batch": ("{rows} rows, {tokens} tokens a step", "每步 {rows} 行、{tokens} 词元"),
    "fit.steps": ("{n} steps", "{n} 步"),
    "fit.time": ("about {time}, evaluations left out", "约 {time}（不含评估）"),
    "fit.disk": ("checkpoints {disk} of {free} free", "检查点 {disk}，磁盘空闲 {free}"),
    "fit.ladder": ("What would make it fit", "怎样才放得下"),
    "fit.room": ("What there is room for", "还可以加大"),
    "fit.apply": ("Apply", "采用"),
    "fit.again": ("Start again with it", "改用它重新开始"),
    "fit.part_weights": ("weights", "权重"),
    "fit.part_copies": ("working copies", "计算副本"),
    "fit.part_adapters": ("adapters", "适配器"),
    "fit.part_gradients": ("gradients", "梯度"),
    "fit.part_optimizer": ("optimizer", "优化器"),
    "fit.part_activations": ("activations", "激活值"),
    "fit.part_logits": ("logits", "logits"),
    "fit.part_reference": ("reference", "参考模型"),
    "fit.part_policy": ("policy's own weights", "策略自己的权重"),
    "fit.part_rewards": ("reward models apart", "单独的奖励模型"),
    "fit.part_sampling": ("sampling", "采样"),
    "fit.part_runtime": ("libraries", "程序库"),
    "fit.part_loading": ("loading", "加载"),
    "fit.part_rest": ("rest", "其余"),
    # -- training arguments
    "arguments.title": ("Paste training arguments", "粘贴训练参数"),
    "arguments.text": ("Training arguments", "训练参数"),
    "arguments.hint": (
        '{{"learning_rate": 2e-05, …}}, YAML, or the words of a script: --learning_rate 2e-5',
        '{{"learning_rate": 2e-05, …}}、YAML，或脚本中的参数：--learning_rate 2e-5',
    ),
    "arguments.take": ("Put them into the form", "填入表单"),
    "arguments.done": (
        "{mapped} became settings, {dropped} were left out, {unknown} are unknown.",
        "{mapped} 项已填入，{dropped} 项未采用，{unknown} 项不认识。",
    ),
    "arguments.mapped": ("Became settings", "已填入"),
    "arguments.dropped": ("Left out", "未采用"),
    "arguments.unknown": ("Unknown", "不认识"),
}
