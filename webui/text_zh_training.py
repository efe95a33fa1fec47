"""The Chinese wording of `core.messages_training`."""

from __future__ import annotations

TRAINING_ZH: dict[str, tuple[str, str]] = {
    # 模型链与交接
    "run.needed": ("无法删除 {run}：{runs} 以它为起点。", "请等后者结束，或先停止它。"),
    "config.continue_needs_lora": (
        "只有 lora 方法能接着训练适配器，而这里是 {method}。",
        "请设置 tuning.method=lora，或设置 lora.start=new，先合并父运行的适配器。",
    ),
    "config.quantised_needs_lora": (
        "{kind} 权重是冻结的，而方法 {method} 要训练它们。",
        "请设置 tuning.method=lora，或 quantization.kind=none。",
    ),
    "parent.unfinished": (
        "{run} 尚未结束，状态：{state}。",
        "可让本运行等它：run.after={run}；或指定它的检查点：{run}:last。",
    ),
    "parent.undelivered": ("{run} 没有产出，状态：{state}。", "请继续运行它，或指定它的检查点：{run}:last。"),
    "parent.no_weights": ("{run} 没有权重：其目录已不存在。", "请选择其他运行。"),
    "parent.scores_only": ("{run} 是奖励模型：只给回答打分，不生成文字。", "请选择它所基于的模型。"),
    "parent.scores_nothing": ("{run} 不是奖励模型：它生成回答。", "请选择已完成的奖励模型运行。"),
    "parent.nothing_to_merge": ("{run} 是完整模型，没有可合并的适配器。", "请选择带适配器的运行。"),
    "parent.nothing_to_continue": (
        "{base} 没有可以继续训练的适配器。",
        "请设置 lora.start=new，或选择用 lora 方法训练的运行。",
    ),
    "parent.chain_broken": (
        "无法还原 {run} 的训练基础：父运行 {parent} 有问题，{detail}",
        "请使用 {run} 的产出（其中包含整条链），或恢复父运行。",
    ),
    "chain.unreadable": ("无法读取 {path} 中的适配器：{detail}。", "请重新获取或重新训练。"),
    "chain.not_plain": (
        "{path} 中的适配器不是普通 LoRA（{detail}），无法与其他适配器相接。",
        "请用生成它的工具合并到其基座，再从合并后的模型开始。",
    ),
    "chain.other_model": ("{path} 中的适配器与该模型不匹配：{layer} 不存在或形状不同。", "请选择它训练时所用的基座。"),
    # 继续预训练
    "model.beyond_context": ("{asked} 个词元超过了该模型一次能读的长度：{context}。", "最多设为 {context}。"),
    "model.no_end_mark": (
        "{model} 的分词器没有表示文本结束的词元。",
        "请设置 data.end_mark=false，或在 tokenizer_config.json 中给出 eos_token。",
    ),
    "worth.known": (
        "模型已能很好地预测这些文本的 {known} %（每字节低于 {border} 比特；总体为 {bits}）："
        "它很可能学过这些或类似的内容。",
        "在其上继续预训练收益不大。请直接做 SFT，或只保留它预测得最差的文档。",
    ),
    "worth.partly": (
        "模型已能很好地预测这些文本的 {known} %（每字节低于 {border} 比特；总体为 {bits}）；其余对它是新内容。",
        "去掉它已会的部分：配方步骤 quality 可使用本次运行的结果。",
    ),
    "worth.new": (
        "这些文本大多对模型是新内容：每字节 {bits} 比特，低于 {border} 的占 {known} %。",
        "如果文本质量好且数量足够，继续预训练能教给它新东西。",
    ),
    "worth.noise": (
        "这些文本的 {noise} % 模型完全读不懂（总体每字节 {bits} 比特）：可能是它不认识的语言或文字，或者根本不是正文。",
        "请看一看它预测得最差的文档。若内容没有问题，请先扩充词表。",
    ),
    "worth.little": ("{bytes} 字节的文本太少，无法判断；至少需要 {least} 字节。", "请测量更多行。"),
    "data.no_document": ("{ref} 中没有一篇文档含有可由前文预测的第二个词元。", "请选择其他数据。"),
    # 词表与模板
    "vocabulary.no_source": ("没有新词元的来源。", "请给出语料（words.corpus）、词表文件（words.list），或两者都给。"),
    "vocabulary.list_missing": ("没有词表文件 {path}。", "请给出每行一个词的文本文件。"),
    "vocabulary.list_not_text": ("词表文件 {path} 不是 UTF-8 文本。", "请另存为 UTF-8，每行一个词。"),
    "vocabulary.list_empty": ("词表文件 {path} 中没有词。", "请每行写一个词。"),
    "vocabulary.nothing_new": (
        "没有可新增的词元：{count} 个单元中，{known} 个已是一个词元，{failed} 个无法成为一个词元。",
        "请降低 words.min_count，或换一份语料或词表。",
    ),
    "vocabulary.kind": (
        "无法为 {found} 类型的分词器新增词元。",
        "可用的有 BPE（字节级或 SentencePiece 式）和 Unigram。",
    ),
    "vocabulary.no_merges": ("Unigram 分词器没有可以继续的合并规则。", "请用 words.unit=words 或 characters。"),
    "vocabulary.no_embeddings": ("{architecture} 的词嵌入无法扩充。", "请选择由 Transformers 自带类实现的模型。"),
    "vocabulary.not_kept": (
        "{model} 的分词器没有保留新词元：{detail}。",
        "它的类用自己的方式构建词表；请换用其他分词器的模型。",
    ),
    # 奖励模型与打分
    "reward.unusable_pairs": (
        "{ref} 中有 {count} 对无法使用。",
        "修正或删除它们，调高 data.max_length，或设置 data.bad_rows=drop 以在训练中跳过它们。",
    ),
    "reward.no_pairs": ("{ref} 中没有一对可以使用。", "换用其他数据，或调高 data.max_length。"),
    "reward.no_answer_left": (
        "在 {max_length} 个 token 之内，有一个回答什么也没剩下：仅问题就已经太长。",
        "调高 data.max_length，或缩短问题。",
    ),
    "reward.same_answers": (
        "在 {max_length} 个 token 的范围内，两个回答完全相同。",
        "调高 data.max_length，或删除这一对。",
    ),
    "reward.no_head": (
        "{path} 没有打分头：它不能给回答打分。",
        "请选择一个已完成的奖励模型运行，或只输出一个分数的序列分类模型。",
    ),
    "reward.not_one_score": (
        "{path} 对一段文本给出 {count} 个分数，而不是一个。",
        "请选择作为奖励模型训练出来的模型。",
    ),
    "reward.no_classifier": (
        "完整的 {architecture} 无法保存为奖励模型：Transformers 没有这一类的序列分类模型。",
        "请设置 tuning.method=lora：打分头会与适配器一起保存。",
    ),
    "reward.no_noise": ("奖励模型训练时不加 NEFTune 噪声。", "请设置 optim.neftune_alpha=0。"),
    "reward.not_measured": (
        "没有留出任何偏好对，因此无法知道它的排序是否正确。",
        "请指定验证数据，或用 data.validation_split 留出一部分。",
    ),
    "reward.few_pairs": (
        "留出的偏好对只有 {pairs} 个，不足以判断；至少需要 {least} 个。",
        "请留出更多。",
    ),
    "reward.chance": (
        "在 {pairs} 个留出的偏好对中，它排对了 {percent} %，单凭运气也可能做到。",
        "使用更多偏好对或更多轮数，并查看数据：被选中的回答是否有看得出来的不同？",
    ),
    "reward.low_accuracy": (
        "它只排对了 {percent} % 的留出偏好对；至少应为 {least} %。",
        "使用更多偏好对、更多轮数，或更大的模型。",
    ),
    "reward.ties": (
        "{pairs} 对中有 {ties} 对的两个回答得分相同。",
        "训练更久，或调高学习率；在 16 位精度下，得分相同可能是舍入所致。",
    ),
    "reward.prefers_longer": (
        "它的分数随回答的长度而变（相关系数 {correlation}）：PPO 会学成越写越长。",
        "请平衡被选与被拒回答的长度。",
    ),
    "reward.prefers_shorter": (
        "它的分数偏向短回答（相关系数 {correlation}）：PPO 会学成越写越短。",
        "请平衡被选与被拒回答的长度。",
    ),
    "reward.fails_shorter": (
        "在较好的回答更短的 {pairs} 对中，它只排对了 {percent} %：它学到的是长度。",
        "请增加被选回答较短的偏好对。",
    ),
    "reward.too_sure": (
        "它的把握平均比实际正确率高 {percent} %：分数拉得太开。",
        "减少轮数，调低学习率，或设置 optim.label_smoothing=0.1。",
    ),
    "reward.too_unsure": (
        "它的把握平均比实际正确率低 {percent} %：分数太接近，PPO 感觉不到差别。",
        "训练更久，或调高学习率。",
    ),
    # 监督微调与参数
    "resume.schedule": (
        "原来是 {before}，现在不能改为 {now}：优化器状态和学习率计划从检查点载入，是按旧值安排的。",
        "请用 model.base={run}:last 和 lora.start=continue 新建运行，或按原样继续。",
    ),
    "resume.order": (
        "原来是 {before}，现在不能改为 {now}：数据行的顺序会改变，有的行会出现两次，有的永远不出现。",
        "请用 model.base={run}:last 和 lora.start=continue 新建运行，或按原样继续。",
    ),
    "resume.weights": (
        "原来是 {before}，现在不能改为 {now}：检查点的权重是按旧值训练的。",
        "请用 model.base={run}:last 新建运行，或按原样继续。",
    ),
    "resume.step": (
        "每步原有 {rows} 行，现在会变成 {rows_now} 行：批大小 × 累积 × 设备数必须不变。",
        "请同时改动其中两项，使乘积仍为 {rows}，或用 model.base={run}:last 新建运行。",
    ),
    "training.nan_row": ("它的损失为无穷大或不是数（{dataset}）。", ""),
    "sft.no_difficulty": (
        "{ref} 没有任何一行标明难度。",
        "请设置 data.difficulty=length 或 loss，或用配方步骤 `bucket` 给出难度。",
    ),
    "arguments.unreadable": (
        "无法读取这些参数，第 {line} 行：{detail}。",
        '请给出 JSON，例如 {{"learning_rate": 2e-05}}，或 YAML，或 --learning_rate 2e-05 这样的命令行参数。',
    ),
    "arguments.off": ("该参数处于关闭状态；这里默认也是关闭的。", ""),
    "arguments.decided": ("由另一个参数决定：{by}。", ""),
    "arguments.no_choice": ("这里没有“{value}”；可选：{known}。", "请手动设置。"),
    "arguments.other_stage": ("阶段 {stage} 没有这个设置。", ""),
    "arguments.share_of_steps": ("这是占总步数的比例；这里要填步数。", "请手动设置。"),
    "arguments.no_predictions": ("评估只累计指标，不保留预测结果。", ""),
    "arguments.eval_delay": ("从第一个评估点开始评估。", "请设置 evaluation.steps。"),
    "arguments.log_files": ("进度、指标和日志都写入运行目录；每个进程各有日志。", ""),
    "arguments.logging_strategy": ("指标总是按步写入：logging.steps。", ""),
    "arguments.own_folder": ("每次运行都有自己的目录，所有内容都在其中。", ""),
    "arguments.first_step": ("第一步总会记录。", ""),
    "arguments.nan": ("损失不是数时运行会停止；曲线中不过滤任何值。", ""),
    "arguments.safetensors": ("权重总是保存为 safetensors。", ""),
    "arguments.processes": ("Galen 为每个设备启动一个进程，并自行建立连接。", "请设置 devices.use。"),
    "arguments.hardware": ("这里没有这类硬件，只有 CPU 和 CUDA 设备。", "请设置 devices.use。"),
    "arguments.one_seed": ("run.seed 是唯一的随机种子。", ""),
    "arguments.compiled": ("不做编译；快速路径有自己的内核。", ""),
    "arguments.one_format": ("训练与评估的数值格式都由 model.dtype 决定，使用 torch 自带的混合精度。", ""),
    "arguments.debugging": ("没有调试钩子；日志中有完整的错误堆栈。", ""),
    "arguments.whole_epochs": ("每轮最后一步使用剩下的行，不丢弃任何一行。", ""),
    "arguments.no_loader": ("编码后的行从内存映射文件读取，没有加载进程，也没有列。", ""),
    "arguments.no_padding": ("各行首尾相接，没有填充，因此无需按长度分组。", ""),
    "arguments.best": ("最佳由阶段决定：评估损失最低者。", ""),
    "arguments.resume": ("运行从自己的最后一个检查点继续，数据顺序完全一致。", "请使用“继续”。"),
    "arguments.sharding": (
        "各设备如何分担模型在这里是一项设置，FSDP2 和 DeepSpeed 都用它。",
        "请设置 distributed.strategy。",
    ),
    "arguments.optimizer_args": ("优化器的参数就是 optim 中的设置。", ""),
    "arguments.memory_metrics": ("开始前估算内存，运行中显示实际用量。", ""),
    "arguments.hub": ("不会上传任何内容。", ""),
    "arguments.batch_size": ("资源估算在开始前就说明多大的批次放得下。", ""),
    "arguments.determinism": ("同样的配置在同一台机器上得到同样的结果。", ""),
    "arguments.search": ("这里不搜索超参数。", ""),
    "arguments.reporters": ("可用的记录方式只有 TensorBoard；指标总会写入 metrics.jsonl。", ""),
    "arguments.by_hand": ("只有你亲自打开，才会运行他人的代码。", "请手动设置 model.trust_remote_code。"),
    "arguments.stage": ("每个阶段都会训练；留出了数据时也会评估。", ""),
    # 长时间运行
    # 资源估算
    "fit.no_estimate": ("阶段“{stage}”不加载模型，没有估算。", ""),
    "fit.sampled_file": (
        "{file} 还不是数据集，行数和长度由文件开头估计。",
        "先导入可得到更准的估计；启动时也会自动导入。",
    ),
    "fit.rows_unknown": (
        "导入之前不知道 {file} 有多少行，所以没有完成时间，并按每行都达到最大长度计算。",
        "请先导入。",
    ),
    "fit.busy": (
        "{device} 现在只有 {free} 空闲：有其他程序在用。若没有它，这次训练放得下。",
        "Galen 的其他运行结束后会自动开始；请结束其他程序。",
    ),
    "fit.main_memory": (
        "权重要先在内存里合成，需要 {need}；现在空闲 {free}。",
        "请结束其他程序，或从不需要合并和量化的模型开始。",
    ),
    "fit.disk": (
        "检查点和输出最多占用磁盘 {need}；现在空闲 {free}。",
        "少保留一些检查点（saving.limit），或腾出空间。",
    ),
    "fit.no_room": (
        "{rows} 行中约有 {count} 行仅问题就超过 {max_length} 个词元，没有回答的位置。",
        "请调大 data.max_length，或设 data.bad_rows=drop 以跳过它们。",
    ),
    "fit.over_context": ("{length} 个词元超过了模型一次能读的 {context} 个。", "请减小长度。"),
    "fit.rung_batch": ("批大小改为 1；用梯度累积保持每步的行数不变。", ""),
    "fit.rung_length": ("最多 512 个词元：更长的行会被截断，更长的文档分成更多块。", ""),
    "fit.rung_checkpointing": ("梯度检查点：激活值计算两次，约慢三分之一。", ""),
    "fit.rung_optimizer": ("优化器状态用 8 位存储。", ""),
    "fit.rung_lora": ("改用 LoRA，不训练权重本身。", ""),
    "fit.rung_8bit": ("冻结的权重用 8 位存储：更慢，精度略低。", ""),
    "fit.rung_4bit": ("冻结的权重用 4 位存储（QLoRA）：更慢，精度更低。", ""),
    "fit.rung_larger_batch": ("还有余量：加大批，减少梯度累积。", ""),
    "fit.rung_longer": ("还有余量：更长的行，被截断的更少。", ""),
    "fit.rung_sampling": ("同时采样的回答更少：缓存更小，更慢。", ""),
    "fit.rung_learning": ("每次只学习一个回答；结果相同。", ""),
    "fit.rung_answers": ("更短的回答：同时保存和学习的词元更少。", ""),
    "fit.rung_larger_packs": ("还有余量：同时处理更多回答，结果相同。", ""),
    "ppo.reward_twice": ("{run} 在奖励模型中列了不止一次。", "只列一次，并写上它应有的权重。"),
    # 合并与评估
    "evaluate.nothing": (
        "没有可用来比较模型的内容。",
        "请在 data.rows 中指定数据集、在 data.prompts 中指定问题、在 report.domain 和 report.general 中指定数据集，"
        "或用 safety.questions 提出红线问题。",
    ),
    "evaluate.kind": (
        "{ref} 的数据行类型是 {kind}，无法得出指标；可用的类型有 {kinds}。",
        "请换一个数据集；排序的回答可先用配方转成偏好对。",
    ),
    "evaluate.only_scores": ("奖励模型只给回答打分，既不预测文本也不写回答。", "请在偏好对上比较它。"),
}
