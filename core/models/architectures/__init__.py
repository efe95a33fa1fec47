"""Models that Transformers has no class for (any more), written here and made known to its Auto classes.

Left out: how a published folder becomes one of ours (`core.models.conversions`). Imports torch.
"""

from core.models.architectures import baichuan, chatglm


def register() -> None:
    """So that AutoConfig and AutoModelFor… read their folders. To be called before a model is loaded; again is fine."""
    baichuan.register()
    chatglm.register()
