"""The Chinese wording of `core.messages_annotate`: what is said where rows cannot be annotated."""

from __future__ import annotations

ANNOTATE_ZH: dict[str, tuple[str, str]] = {
    # -- settings
    "annotate.no_url": (
        "选择了由接口回答，但没有填地址。",
        "请填写 annotator.url，例如 http://127.0.0.1:8000/v1，或用 annotator.kind 选择其他标注者。",
    ),
    "annotate.bad_url": (
        "这不是接口的地址。",
        "请写成 http:// 或 https:// 加主机名，例如 http://127.0.0.1:8000/v1。",
    ),
    "annotate.key_in_url": (
        "地址里带有用户名或密码，而设置会写入文件。",
        "请从地址中去掉，把密钥放进环境变量 {variable}。",
    ),
    "annotate.no_model": ("选择了由接口回答，但没有写模型名称。", "请把 annotator.model 设为接口所用的模型名称。"),
    "annotate.no_base": (
        "选择了由模型回答，但没有指定模型。",
        "请把 annotator.base 设为已完成的运行或工作区里的模型。",
    ),
    "annotate.person_writes_none": (
        "人工标注只评判已有的行；新的行由接口或模型来写。",
        "请换一个任务，或换一种标注者。",
    ),
    "annotate.prompt_lacks": (
        "提示词里没有 {names}，而任务 {task} 需要它。",
        "请把它写在该行内容出现的位置，或留空以使用自带的提示词。",
    ),
    "annotate.no_answers": (
        "{ref} 的每行最多只有一个回答，没有可以排序的。",
        "请把 answers.base 设为用来写回答的模型，或改用排序数据或偏好对。",
    ),
    # -- a run
    "annotate.endpoint_down": (
        "接口 {url} 没有应答：{detail}。",
        "检查地址、模型名称和 {key} 中的密钥，以及它是否在运行，然后继续运行；已得到的回复都已保存。",
    ),
    "annotate.model_silent": (
        "模型一行也没有回答：{detail}。",
        "请选择带对话模板的模型（或设置 annotator.template）、上下文更长的模型，或更短的行。",
    ),
    "annotate.nothing": (
        "{count} 行都没有得到结果，多数的原因是：{reason}",
        "请手工试一试提示词，换一个会听从指令的模型，或修改 task.prompt_en 和 task.prompt_zh。",
    ),
    "annotate.waiting": (
        "{total} 行等待人工标注，已标注 {rated} 行。",
        "在页面（数据 → 标注）或用 `python -m core rate {run}` 标注；之后继续运行即可生成数据集。",
    ),
    "annotate.made_and_waiting": (
        "已用标注过的 {rated} 行生成 {dataset}；总共 {total} 行。",
        "可用 `python -m core rate {run}` 或在页面上接着标注，再继续运行一次；也可以到此为止。",
    ),
    "annotate.nothing_waits": (
        "{run} 没有等待人工标注的行。",
        "请用 annotator.kind=person 启动一个运行，或等它把行准备好。",
    ),
    "annotate.no_terminal": (
        "标注靠单个按键进行，需要在终端里。",
        "请在页面（数据 → 标注）上标注 {run}，或在终端里运行这个命令。",
    ),
    "annotate.bad_judgement": ("这不是对该运行某一行的评判：{said}。", "请重新载入页面。"),
    # -- why a row came to nothing
    "annotate.failed": ("没有得到回复：{detail}", ""),
    "annotate.nonsense": ("回复无法使用：{said}", ""),
    "annotate.one_answer": ("没有两个不同的回答可以比较：{answers}", ""),
    "annotate.many_answers": ("有 {answers} 个回答；人工最多排 {most} 个，每个一个按键", ""),
    "annotate.all_bad": ("它的 {answers} 个回答都被判为不好。", ""),
    "annotate.skipped": ("被跳过。", ""),
    "annotate.unjudged": ("尚未标注。", ""),
    "annotate.fine": ("原回答被判为无需修改，因此没有偏好对。", ""),
    "annotate.same": ("改写后的回答与原回答相同，因此没有偏好对。", ""),
}
