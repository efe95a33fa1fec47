"""bitsandbytes is imported where something is quantised, and nowhere else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from core.__main__ import main
from core.workspace import Workspace

BEGIN = """
import sys
from core import late
with late.left_out():
    import core.recipes.sft
    from peft.import_utils import is_bnb_available
from transformers.utils import is_bitsandbytes_available
assert "bitsandbytes" not in sys.modules
assert not is_bnb_available()
assert is_bitsandbytes_available()  # its optimizers in 8 bits ask
"""
ADAPTER = """
import torch
from torch import nn
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import Linear
model = get_peft_model(nn.Sequential(nn.Linear(8, 8)), LoraConfig(target_modules=["0"]))
assert isinstance(model.base_model.model[0], Linear)
assert "bitsandbytes" not in sys.modules
"""
QUANTISED = """
bnb = late.bitsandbytes()
assert is_bnb_available()
part = nn.Sequential(bnb.nn.Linear4bit(8, 8))
part.is_loaded_in_4bit = True
model = get_peft_model(part, LoraConfig(target_modules=["0"]))
assert type(model.base_model.model[0]).__name__ == "Linear4bit", type(model.base_model.model[0])
"""


@pytest.mark.slow
def test_an_optimizer_in_8_bits_finds_it(workspace: Workspace, tiny_model: Path, chat_file: Path) -> None:
    """In a run's own process, which begins without it."""
    words = [f"model.base={tiny_model}", f"data.train={chat_file}", "devices.use=[cpu]", "schedule.max_steps=1",
             "optim.optimizer=adamw_8bit"]  # fmt: skip
    assert main(["--workspace", str(workspace.path), "sft", *words]) == 0


@pytest.mark.slow
def test_it_is_imported_only_where_something_is_quantised() -> None:
    done = subprocess.run([sys.executable, "-c", BEGIN + ADAPTER + QUANTISED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
