"""What learns in a PPO run, on disk: a checkpoint is loadable by plain PEFT or Transformers as the policy.

adapter_model.safetensors …    the policy, or a whole model's files
critic/                        the critic's adapter, and its head with it
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peft import set_peft_model_state_dict
from peft.utils import load_peft_weights

from core.ppo.roles import CRITIC, POLICY, Roles
from core.training.heads import load_head, save_head
from core.training.weights import load_trained


def save_roles(roles: Roles, tokenizer: Any, folder: Path) -> None:
    """The policy where other programs look for it, the critic and its head beside it in `critic/`."""
    adapters = [POLICY, CRITIC] if roles.policy is None else [CRITIC]
    # Not left to PEFT: to find out whether embeddings learn it looks for the backbone on the hub, by its name.
    roles.backbone.save_pretrained(str(folder), selected_adapters=adapters, save_embedding_layers=False)
    if roles.policy is not None:
        roles.policy.save_pretrained(str(folder), save_original_format=False)
        tokenizer.save_pretrained(str(folder))
    for readme in folder.rglob("README.md"):
        readme.unlink()  # PEFT's empty model card
    save_head(roles.critic, folder / CRITIC)


def load_roles(roles: Roles, folder: Path) -> None:
    """The reverse of `save_roles`."""
    if roles.policy is None:
        set_peft_model_state_dict(roles.backbone, load_peft_weights(str(folder), device="cpu"), adapter_name=POLICY)
    else:
        load_trained(roles.policy, folder)
    weights = load_peft_weights(str(folder / CRITIC), device="cpu")
    adapter = {name: tensor for name, tensor in weights.items() if "lora_" in name}
    set_peft_model_state_dict(roles.backbone, adapter, adapter_name=CRITIC)
    load_head(roles.critic, folder / CRITIC)
