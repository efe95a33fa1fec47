"""The Chinese wording of `core.messages_push`: what stands in the way of sending a result to a hub."""

from __future__ import annotations

PUSH_ZH: dict[str, tuple[str, str]] = {
    "push.no_run": (
        "“{run}”不是运行：只能发送运行交付的结果，不能发送检查点或导入的模型。",
        "请指定一个已完成的运行；`python -m core jobs list` 可列出。",
    ),
    "push.unfinished": ("{run} 还没有交付结果：状态为{state}。", "请等它完成，或继续运行。"),
    "push.nothing": (
        "{run} 既没有产生适配器，也没有产生模型：它属于阶段 {stage}。",
        "请选择训练、合并或扩充词表的运行。",
    ),
    "push.bad_repo": (
        "“{repo}”不能作仓库名。",
        "请写 owner/name：字母、数字和 . _ -（每部分最多 96 个字符），不含 -- 或 ..，也不以 .git 结尾。",
    ),
    "push.no_token": (
        "没有写入用的令牌：未设置 {token}。",
        "请在 {hub} 的账户设置中创建有写权限的令牌，并在启动页面或命令的环境中设置 {token}。",
    ),
    "push.bad_token": ("{hub} 不接受 {token} 中的令牌。", "请在那里新建有写权限的令牌，并在启动时设置。"),
    "push.forbidden": (
        "{token} 中的令牌无权写入 {repo}。",
        "请授予它对该所有者仓库的写权限，或发送到你自己的仓库。",
    ),
    "push.not_found": (
        "{hub} 上没有 {token} 中的令牌可以写入的 {repo}，也没有新建。",
        "请检查所有者的拼写，并确认你属于该组织。",
    ),
    "push.is_public": (
        "{repo} 已经存在且是公开的，而这次要求私有。",
        "请在其页面上改为私有、换一个仓库，或允许公开。",
    ),
    "push.other_content": (
        "{repo}（{revision}）中有其他权重，加载时会取代这些权重或与之混用：{files}。",
        "请换一个仓库或分支，或到那里删除这些文件；这里从不删除任何内容。",
    ),
    "push.card_refused": (
        "{hub} 不接受模型卡开头的内容：{detail}。",
        "请改正模型卡中两行 --- 之间的内容，或重新生成。",
    ),
    "push.leak": (
        "{file} 会泄露本机路径：{path}。",
        "请从文件中去掉它，文件在 {folder} 中；若是模型卡，请修改其文字。",
    ),
    "push.no_network": ("无法连接 {source}：{detail}。", "请检查网络，或在启动时用 HF_ENDPOINT 指定镜像，然后继续。"),
    "push.failed": ("{hub} 没有接收 {repo}：{detail}。", "继续会重新发送；已完整到达的内容不会再发。"),
}
