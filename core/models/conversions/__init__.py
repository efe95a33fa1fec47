"""Published checkpoints that nothing loads any more without their authors' code, and what they become.

    layout = find_layout(read_config(folder))          None: the folder is native already, or unknown
    layout.config(config)                              the native config.json
    native_tensors(layout, config, name, tensor)       one published tensor → those of the native class
    native_factors / published_factors                 the same for a LoRA adapter, there and back

A `Layout` is a table: which module is called what, and which of them are joined in one matrix. Every change is a new
name or a split of rows, so what the model computes stays the same to the last bit; the one exception is a head whose
authors normalise it at every step, which is done once. Nothing here loads a file (`core.models.rewriting`) or a library
of tensors: it calls their methods.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.models.conversions import baichuan, chatglm2, chatglm_6b
from core.models.conversions.layout import Layout, native_factors, native_tensors, published_factors

__all__ = ["LAYOUTS", "Layout", "find_layout", "native_factors", "native_tensors", "published_factors"]

LAYOUTS: tuple[Layout, ...] = (baichuan.ROTARY, baichuan.ALIBI, chatglm2.LAYOUT, chatglm_6b.LAYOUT)


def find_layout(config: Mapping[str, Any]) -> Layout | None:
    """The layout of the checkpoint that this config.json belongs to; None where nothing is to be converted."""
    return next((layout for layout in LAYOUTS if layout.accepts(config)), None)
