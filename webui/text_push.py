"""Strings of the card that sends a run's result to a hub."""

from __future__ import annotations

PUSH_TEXT: dict[str, tuple[str, str]] = {
    "stage.push": ("sending", "发送"),
    "phase.uploading": ("Sending", "上传"),
    "push.title": ("Send to a hub", "发送到模型站"),
    "push.intro": (
        "Puts a run's adapter or model, and its model card, into a repository on Hugging Face. Read the card first and "
        "change what you like; no path of this machine goes out. The token (HF_TOKEN) is taken from the environment of "
        "the page.",
        "把运行的适配器或模型连同模型卡放进 Hugging Face 的一个仓库。请先阅读并按需修改模型卡；本机路径不会发出。"
        "令牌（HF_TOKEN）取自启动页面时的环境变量。",
    ),
    "push.repo_hint": ("owner/name", "owner/name"),
    "push.card_hint": ("Choose a run: its card is written here.", "选择一个运行，模型卡会写在这里。"),
    "push.edited": (
        "This is the card as you have edited it; “Write the card anew” gives the one that the run's files make.",
        "这是你编辑过的模型卡；点“重新生成模型卡”可恢复由运行文件生成的版本。",
    ),
    "push.again": ("Write the card anew", "重新生成模型卡"),
    "push.start": ("Send", "发送"),
    "push.sent": ("{size} in {count} files lie on the hub, {seen}:", "{count} 个文件（{size}）已在模型站上，{seen}："),
    "push.private": ("private", "私有"),
    "push.public": ("public", "公开"),
}
