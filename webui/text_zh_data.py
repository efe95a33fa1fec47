"""The Chinese wording of `core.messages_data`."""

from __future__ import annotations

DATA_ZH: dict[str, tuple[str, str]] = {
    "data.no_file": ("没有文件 {file}。", "请检查路径。"),
    "data.unreadable": ("没有权限读取 {file}。", "请修改文件权限。"),
    "data.empty_file": ("{file} 是空的，没有任何数据行。", "请选择其他文件。"),
    "data.wide_encoding": ("{file} 的编码是 {encoding}。", "请另存为 UTF-8，例如 `iconv -f {encoding} -t UTF-8`。"),
    "data.unknown_container": (
        "{file} 不是 Galen 能读取的数据文件。",
        "请使用 JSONL、JSON、CSV、Parquet 或 TXT（也可用 gzip 压缩），并保留通常的扩展名。",
    ),
    "data.gzip_broken": ("压缩文件在此处提前结束或已损坏。", "请重新获取或重新压缩。"),
    "data.parquet_broken": ("无法读取 Parquet 文件：{detail}。", "请重新获取或重新写出。"),
    "data.cell_unreadable": (
        "这一行有一个单元格无法读取：{detail}。",
        "请重新写出文件：文本用 UTF-8，日期在公元 1 至 9999 年之间。",
    ),
    "data.read_as": ("文件的编码是 {encoding}，已按该编码读取。", ""),
    "data.bom": ("文件开头的字节顺序标记（BOM）已略去。", ""),
    "data.shape": ("{shape}：前 {looked_at} 行中有 {matched} 行含有 {keys}。", ""),
    "data.no_shape": ("没有已知的行格式含有这些键：{keys}。", ""),
    "data.bad_rows": (
        "{file} 的 {rows} 行中有 {bad} 行不能用。",
        "请改正这些行，或用 data.bad_rows=drop（`data add --bad-rows drop`）接受舍弃。",
    ),
    "data.none_usable": ("{file} 的 {rows} 行全部不能用。", "前几行的问题见下。"),
    "data.disk_full": (
        "{folder} 空间不足：约需 {needed} MB，剩余 {free} MB。",
        "请腾出空间（可删除旧的运行、模型和数据集）后重试。",
    ),
    "data.no_dataset": (
        "工作区里没有数据集“{ref}”；现有 {known}。",
        "是不是想写“{nearest}”？ 用 `python -m core data add FILE` 添加文件。",
    ),
    "data.wrong_kind": (
        "{ref} 的数据类型是“{kind}”，这里需要“{needed}”。",
        "请选择其他数据集；`python -m core data list` 会说明每个数据集的用途。",
    ),
    "data.not_utf8": ("这一行的第 {byte} 个字节不是 UTF-8。", "请转换编码，例如 `iconv -f {guess} -t UTF-8`。"),
    "data.row_too_long": ("这一行有 {megabytes} MB，上限是 {limit} MB。", "请拆分或删除这一行。"),
    "data.truncated_line": ("文件在这一行中间就结束了。", "文件可能没有复制完整：请重新获取，或删除最后一行。"),
    "data.json_broken": ("第 {column} 列不是合法的 JSON：{detail}。", "请改正这一行。"),
    "data.json_ends": (
        "第 {column} 列不是合法的 JSON：{detail}。此后的内容无法读取。",
        "请改正这一行；改用 JSONL（每行一个对象）时，坏行只影响它自己。",
    ),
    "data.csv_broken": ("不是合法的 CSV：{detail}。", "请从这一行起检查引号。"),
    "data.csv_cells": (
        "这一行有 {found} 个单元格，首行有 {expected} 个。",
        "含分隔符或换行的单元格请加引号。",
    ),
    "data.not_object": ("这一行的类型是 {found}，不是带键的对象。", "每行请写一个 JSON 对象。"),
    "data.unknown_shape": ("这一行的键是 {found}，不符合任何已知格式。", "可用的格式：{would}。"),
    "data.missing_key": (
        "这一行的键是 {found}；本文件的 {shape} 格式需要 {missing}。",
        "请补上缺少的键，或把其他格式的行放到单独的文件里。",
    ),
    "data.not_text": ("“{key}”的类型是 {found}，不是文本。", "请给它的值加上引号。"),
    "data.empty_value": ("“{key}”是空的。", "请填写，或删除这一行。"),
    "data.not_turns": ("“{key}”的类型是 {found}，不是对话轮次的列表。", "请写成列表，每轮一项。"),
    "data.turn_not_object": ("第 {turn} 轮的类型是 {found}。", "请写成 from 和 value，或 role 和 content。"),
    "data.turn_keys": ("第 {turn} 轮的键是 {found}。", "需要 from 和 value，或 role 和 content。"),
    "data.turn_not_text": ("第 {turn} 轮（{role}）的类型是 {found}，不是文本。", "请写成文本。"),
    "data.turn_parts": ("第 {turn} 轮含有 {found} 类型的内容。", "只能使用文本：请删除这一行。"),
    "data.empty_turn": ("第 {turn} 轮（{role}）是空的。", "请填写，或删除这一行。"),
    "data.unknown_role": (
        "第 {turn} 轮的角色是“{role}”。",
        "角色只能是 system、user（或 human）和 assistant（或 gpt）。",
    ),
    "data.role_order": (
        "第 {turn} 轮是 {found}，此处应由 {expected} 发言。",
        "开头至多一条系统消息，之后用户与助手轮流发言。",
    ),
    "data.no_answer": ("对话没有以助手的回答结束。", "请删除最后的提问，或补上回答。"),
    "data.no_question": ("提示没有以用户的提问结束。", "请改正提示。"),
    "data.history_pair": ("“history”不是由文本对组成的列表。", "请写成 [[问, 答], …]。"),
    "data.no_prompt": ("这对回答没有提示：现有的键是 {found}。", "请补上 prompt、question 或 conversations。"),
    "data.pair_differs": ("“{key}”不是对同一提示的一个回答。", "chosen 与 rejected 必须是对同一提示的两个回答。"),
    "data.same_pair": ("“{chosen}”与“{rejected}”相同。", "请删除这一行：从中学不到东西。"),
    "data.choices": ("选项的类型是 {found}，或少于两个。", "请写 A 到 D 列，或 options 对象。"),
    "data.choice_answer": ("答案“{answer}”不在选项 {names} 之中。", "请写选项的字母。"),
    # the doctor: what may be wrong with rows that have the right shape
    "data.duplicate_key": (
        "同一个对象里键“{key}”出现了两次；多数程序会不声不响地只留最后一个。",
        "请保留真正要的那一个。",
    ),
    "data.same_role_twice": (
        "第 {before} 轮和第 {turn} 轮都是 {role}。",
        "请合并成一轮（--repair 可自动合并），或删除其中一轮。",
    ),
    "data.system_in_middle": ("第 {turn} 轮是系统消息；只有第一轮可以是系统消息。", "请移到开头，或删除。"),
    "data.tool_role": (
        "第 {turn} 轮的角色是“{role}”：这里不能学习工具调用及其结果。",
        "请去掉这些轮次，使用户与助手轮流发言，或删除这一行。",
    ),
    "data.reasoning_role": (
        "第 {turn} 轮的角色是“{role}”：这里不能把推理过程当作单独的一轮来学习。",
        "请写进助手的那一轮（放在 <think> 与 </think> 之间），或删除。",
    ),
    "data.answer_is_prompt": (
        "第 {turn} 轮的回答与它前面的问题完全相同。",
        "请写出回答，或删除这一行：它只会教模型重复提问。",
    ),
    "data.pair_shapes": (
        "“{chosen}”与“{rejected}”的写法不同：{first} 与 {second} 轮。",
        "请都写成文本，或都写成轮数相同的列表。",
    ),
    "data.pair_prompts_differ": (
        "“{chosen}”与“{rejected}”在第 {turn} 轮就不同了，早于最后的回答：两者的提示不一致。",
        "最后的回答之前，两段对话必须相同：请改正或删除这一行。",
    ),
    "data.control_characters": (
        "有 {count} 个控制字符：{names}。",
        "请删去（--repair 可自动删去）：它们是其他程序的残留，模型会学进去。",
    ),
    "data.invisible_characters": (
        "有 {count} 个看不见的字符：{names}。",
        "请删去（--repair 可自动删去）：没人看得见，却会把词切断。",
    ),
    "data.nothing_visible": ("有一段文本只有 {count} 个看不见的字符：{names}。", "请填写，或删除这一行。"),
    "data.double_encoded": ("“{found}”是解码错误，原意是“{meant}”。", "可以无损地重新解码（--repair 可自动完成）。"),
    "data.mojibake": (
        "“{found}”是解码错误后的残余，原来的内容已经丢失。",
        "请从完好的来源重新获取文件，或删除这一行。",
    ),
    "data.replacement_character": ("有一个字符已丢失，只剩 U+FFFD。", "若能判断是哪个字，请补上。"),
    "data.markup": (
        "“{found}”是网页的残留。",
        "请去掉标签，并把实体换成它代表的字符；否则模型会学着写它们。",
    ),
    "data.prompt_over_context": (
        "提示有 {tokens} 个词元；模型一次最多读 {context} 个。",
        "请缩短，或选用上下文更长的模型。",
    ),
    "data.rows_truncated": (
        "{count} 行超过 {max_length} 个词元：会先丢掉最早的轮次，再截去末尾。",
        "若要保留完整内容，请调大 data.max_length。",
    ),
    "data.unused_keys": (
        "这些键没有用到：{keys}。",
        "若其中有属于这一行的内容，请指明它对应哪个键，或换一种行格式（终端中用 --columns、--format）。",
    ),
    "data.column_twice": ("首行有重名的列：{columns}。每个只会读到最后一列。", "请给其他列改名。"),
    "data.file_changed": ("{file} 在读取过程中被改动了。", "请等没有程序写它之后再试。"),
    "data.no_such_column": ("文件里没有列“{column}”；现有 {known}。", "是不是想写“{nearest}”？"),
    "data.files_differ": (
        "{first} 的行格式是 {one}，{second} 的是 {other}：不能合成一个数据集。",
        "请逐个导入，或选择格式相同的文件。",
    ),
    # what a file is good for
    "data.fits_text": ("{count} 段可续读的文本。", ""),
    "data.fits_as_text": ("{count} 段对话，当作纯文本来读。", ""),
    "data.fits_answers": ("{count} 段带回答的对话可供学习。", ""),
    "data.fits_prompts": ("{count} 条可供作答的提示。", ""),
    "data.fits_pairs": ("{count} 对一好一差的回答。", ""),
    "data.fits_choice": ("{count} 道选择题。", ""),
    "data.none_left": ("没有一行能用。", "请看各行的问题。"),
    "data.needs_pretrain": ("预训练需要文本或对话；这些行的类型是“{kind}”。", ""),
    "data.needs_sft": ("监督微调需要带回答的对话；这些行的类型是“{kind}”。", ""),
    "data.needs_reward": ("奖励模型需要一好一差两个回答；这些行的类型是“{kind}”。", ""),
    "data.needs_dpo": ("DPO 需要一好一差两个回答；这些行的类型是“{kind}”。", ""),
    "data.needs_ppo": ("PPO 需要提示；这些行的类型是“{kind}”。", ""),
    "data.needs_evaluate": ("评测需要选择题；这些行的类型是“{kind}”。", ""),
    "data.nothing_to_learn": ("{ref} 没有一行在 {max_length} 个词元之内留有可学的回答。", "请调大 data.max_length。"),
    "data.in_use": ("数据集“{ref}”正被 {runs} 使用。", "请等它们结束，或先停止它们。"),
    "data.rows_without_label": (
        "{ref} 中有 {count} 行没有可学的内容。",
        "设 data.bad_rows=drop 可不带这些行训练，或调大 data.max_length。",
    ),
    "data.no_label_left": (
        "仅问题就占满了 data.max_length 的 {max_length} 个词元，没有留下回答。",
        "请调大 data.max_length，或丢弃这一行。",
    ),
    "data.template_refuses_row": ("模型的对话模板不接受它：{detail}", "请改正或丢弃这一行。"),
    # -- datasets of a hub
    "data.not_in_catalogue": (
        "“{name}”既不在目录中，也不是 owner/name 形式的数据集编号。",
        "是不是想写“{nearest}”？ 用 `python -m core data catalogue` 查看目录。",
    ),
    "data.not_hub_id": ("“{repo}”不是数据集编号。", "请按社区的写法填写 owner/name。"),
    "data.hub_script": (
        "{repo} 没有数据文件，只有脚本 {script}；Galen 不运行数据集自带的代码。",
        "请改用版本 refs/convert/parquet（许多此类数据集在那里有 Parquet 副本），或手动取得文件后填写路径。",
    ),
    "data.hub_no_files": (
        "{repo} 没有符合 {patterns} 的数据文件。其中有 {files}。",
        "请修改文件模式；可读取 JSON、JSONL、CSV、TSV、Parquet 和 TXT（均可 gzip）。",
    ),
    "data.no_such_shape": ("没有行格式“{name}”；现有 {known}。", "是不是想写“{nearest}”？ 留空则自动识别。"),
    "data.pair_label": ("标签“{found}”没有说明哪个回答更好。", "第一个更好写 1，第二个更好写 0。"),
    "data.not_answers": ("“{key}”的类型是 {found}，不是回答列表。", "请写成文本列表，或带文本和分数的对象列表。"),
    "data.unequal_scores": ("有 {answers} 个回答，却有 {scores} 个分数。", "请按相同顺序为每个回答写一个分数。"),
    "data.few_answers": (
        "{answers} 个回答中只有 {scored} 个有分数，至少要两个才能比较。",
        "请补上分数，或删除这一行。",
    ),
    "data.unequal_lists": (
        "有 {questions} 个问题，却有 {answers} 个回答。",
        "请为每个问题写一个回答，或为所有问题写同一个回答。",
    ),
    "data.not_parallel": ("“translation”的类型是 {found}，不是含两种语言的对象。", "请写成 {{zh: …, en: …}}。"),
    "data.no_thread": ("这棵对话树里没有任何回答。", "请删除。"),
    "data.no_ranks": ("这棵对话树里没有一个问题有两个带名次的回答。", "请删除，或改为导入其中的对话。"),
    "data.no_parent": ("这条消息所回复的消息 {parent} 不在文件中。", "请重新获取文件，或接受这一损失。"),
    "data.tree_depth": ("这棵对话树的深度超过 {limit} 条消息。", "请删除。"),
    "data.export_ending": (
        "“{name}”的扩展名没有说明写成什么格式。",
        "请用 .jsonl、.json 或 .parquet；前两种也可加 .gz。",
    ),
    "data.export_form": ("“{kind}”类型的行不能写成“{form}”。", "可以写成：{known}。"),
    "data.export_exists": ("{path} 已经存在。", "请换一个名称，或用 --overwrite 覆盖。"),
    "data.export_row": (
        "有一行若写成“{form}”，重新导入时会变成另一行：{text}",
        "请改用消息列表的形式（`--as preference`）。",
    ),
    "data.no_folder": ("没有文件夹 {folder}。", "请先建立它，或选择其他文件夹。"),
    # looking at a dataset, and mending it by hand
    "data.no_column": ("没有可用来排序的“{column}”列。", "可用的有 {known}。"),
    "data.not_shown_for": ("“{kind}”类的数据不用于 {stage} 阶段。", "请选择 {known}。"),
    "data.no_row": ("{ref} 没有第 {row} 行，它共有 {rows} 行。", "行号从 1 数起。"),
    "data.no_edits": ("{ref} 没有任何改动。", "请先删去或修改一行。"),
    "data.all_dropped": ("{ref} 的所有行都会被删去。", "请至少保留一行，或直接删除这个数据集。"),
    "data.by_hand": ("手工删去。", ""),
    "data.edit_line": (
        "{file} 第 {line} 行不是要改写的一行。",
        '请写成 {{"row": 行号, …}}，并带上该行的各列。',
    ),
}
