"""The Chinese wording of `core.messages_models`."""

from __future__ import annotations

IMPORTED_ZH: dict[str, tuple[str, str]] = {
    "model.wrong_shape": (
        "{path} 的权重 {tensor} 形状为 {found}，而 config.json 要求 {expected}。",
        "文件夹不完整，或混有两个模型的文件，请重新获取。",
    ),
    "model.unused_weights": (
        "{path} 含有 config.json 中没有的层的 {count} 个权重，例如 {example}。",
        "config.json 属于别的模型或别的大小：请重新获取该文件夹。",
    ),
    "model.integers": (
        "{path} 的权重是整数（{dtype}），而 config.json 没有说明量化方式。",
        "请获取 bf16、fp16 或 fp32 的模型。",
    ),
    "model.few_rows": (
        "{path} 的分词器有 {tokens} 个词元，词嵌入只有 {rows} 行：多出的词元会使运行中断。",
        "请从 tokenizer.json 和 tokenizer_config.json 中删去添加的词元，或获取它们所属的模型。",
    ),
    "model.malformed": ("{path} 的内容不合规范：{detail}。", "请重新获取；完整的错误信息在日志中。"),
    "model.link_out": ("{path} 里的 {file} 是指向文件夹之外的链接。", "请把文件本身放在那里。"),
    "model.pointed_at": (
        "模型 {models} 的文件就在 {path} 里。",
        "请先移除它们（`python -m core model rm 名称`），或从副本重新导入。",
    ),
    "model.published": (
        "{path} 是作者发布形式的 {kind}，只有运行其代码才能使用。",
        "请导入，导入时会转换：`python -m core model import {path}`。",
    ),
    "disk.filled": (
        "{folder} 所在磁盘中途写满；没有留下任何写到一半的文件。",
        "请腾出空间（`python -m core model disk` 会列出占用），然后重试。",
    ),
    "disk.being_written": ("{runs} 可能正在使用 {name}。", "请等它结束，或先停止它。"),
    "disk.gone": ("缓存中没有 {name}。", "`python -m core model disk` 会列出现有内容。"),
    "convert.unknown_tensor": (
        "{family} 的检查点里有 {tensor}，而该模型没有这个权重。",
        "config.json 属于别的模型，或检查点被改动过；请获取官方发布的版本。",
    ),
    "convert.wrong_shape": (
        "{tensor} 有 {found} 行；按 config.json 应为 {expected} 行。",
        "文件夹混有两个模型的文件，请重新获取。",
    ),
    "convert.setting": (
        "这个 {family} 的 {key}={value}，只有 {expected} 可以转换。",
        "量化版和位置被拉伸的长文本版不能转换：请获取普通的发布版本。",
    ),
    "convert.head_adapted": (
        "该适配器改动了 {family} 的输出层，而其作者在每一步都对它做归一化。",
        "请在转换后的模型上重新训练一个不含输出层的适配器。",
    ),
    "convert.no_layout": (
        "{path} 不是需要转换的发布格式；它的类型是“{kind}”。",
        "请直接导入：`python -m core model import {path}`。",
    ),
    "convert.target_exists": ("{path} 已存在。", "请指定一个不存在的文件夹。"),
    "convert.not_published": (
        "{run} 的基座不是从发布格式转换来的。",
        "它的适配器本来就是普通格式，在 output/ 下的文件夹里。",
    ),
    "tokenizer.unreadable": ("无法读取分词器文件 {path}：{detail}。", "请重新获取该文件。"),
    "tokenizer.unsupported": (
        "无法转换分词器文件 {path}：{detail}。",
        "请把用作者脚本写出的 tokenizer.json 放在它旁边。",
    ),
    "tokenizer.differs": (
        "由 {path} 转换出的分词器切分“{text}”的结果与 SentencePiece 不同。",
        "请把用作者脚本写出的 tokenizer.json 放在它旁边。",
    ),
    "difference.needs_base": (
        "从名称看，{path} 的权重须加到一个基座上。",
        "请指定基座：base=模型。如果权重是完整的：difference=no。",
    ),
    "difference.not_asked": (
        "从名称看，{path} 是完整模型；基座 {base} 不会用到。",
        "请不要填 base；若它的权重须加到该基座上：difference=yes。",
    ),
    "difference.other_base": (
        "{tensor} 与基座不符：差值里是 {found}，应为 {expected}。",
        "请指定差值作者所说的基座。",
    ),
    "difference.vocabulary": (
        "差值的词嵌入有 {found} 行，基座有 {rows} 行；新增的行要加到什么上面并不清楚。",
        "请先按作者的做法扩充基座词表，或获取其完整权重。",
    ),
    "difference.incomplete": (
        "差值缺少基座的 {count} 个权重，例如 {tensor}。",
        "请重新获取该文件夹，或指定差值作者所说的基座。",
    ),
    "difference.tokens": (
        "词元 {id} 在差值里是“{token}”，在基座里是“{expected}”。",
        "请指定差值作者所说的基座。",
    ),
    "difference.is_whole": (
        "{tensor} 不是差值：它与基座自己的权重方向一致。",
        "请不带基座导入该模型：difference=no。",
    ),
    "adapter.torn": ("{path} 里的适配器不完整：{detail}。", "请重新获取该文件夹。"),
    "adapter.kind": (
        "{path} 里的适配器类型是 {kind}；这里只能使用 LoRA。",
        "请用训练它的程序先合并，再导入完整模型。",
    ),
    "adapter.base_unknown": (
        "{path} 里的适配器属于基座“{base}”，这里没有。现有：{known}。",
        "请先导入该基座；若它在这里叫别的名字：base=名称。",
    ),
    "adapter.base_chain": (
        "{base} 本身是适配器，或一串适配器。",
        "请先合并（`python -m core merge model.base={base}`），再指定合并后的模型。",
    ),
    "adapter.no_layer": (
        "{path} 里的适配器改动了 {layer} 层，而 {base} 没有这一层。",
        "它是在别的模型上训练的：请用 base=名称 指定那个模型。",
    ),
    "adapter.other_shape": (
        "{path} 里的适配器把 {layer} 当作 {found}；在 {base} 里是 {expected}。",
        "它是在别的模型或别的大小上训练的：请用 base=名称 指定那个模型。",
    ),
    "adapter.vocabulary": (
        "{path} 里的适配器含 {found} 行 {layer}；{base} 有 {expected} 行：词表不同。",
        "请用 base=名称 指定它训练时所用的扩充词表的基座。",
    ),
    "adapter.tokens": (
        "{path} 里适配器所带的分词器有 {tokens} 个词元，而 {base} 只有 {rows} 行。",
        "它是在词表更大的基座上训练的：请用 base=名称 指定那个模型。",
    ),
    "adapter.head": (
        "{path} 里的打分层是 {found}；在 {base} 上应为 {expected}。",
        "只能使用宽度与基座相同、只给一个分数的打分层。",
    ),
    "model.type_differs": (
        "model_type={asked}，但 {path} 的类型是“{kind}”。",
        "请去掉 model_type，或填写文件夹实际的类型。",
    ),
}
