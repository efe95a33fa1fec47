"""Who plays which role: adapters laid on the backbone, reward models shared with it or loaded apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from core.configs.ppo import PolicyLora
from core.configs.sections import weighted
from core.models.library import find_base
from core.models.parents import Parent
from core.models.runs import weights_folder
from core.models.weights import ADAPTER_CONFIG
from core.ppo.roles import CRITIC, POLICY, Roles
from core.training.heads import lay_adapter, new_head
from core.training.judges import head_of
from core.training.tuning import new_lora
from core.workspace import Workspace


@dataclass(frozen=True)
class RewardLine:
    """A line of rewards.models: what it names, its weight, and its adapter where it sits on the policy's backbone."""

    text: str
    weight: float
    label: str
    adapter: Path | None = None


def reward_lines(workspace: Workspace, lines: Sequence[str], parent: Parent, template: str) -> list[RewardLine]:
    """The reward models of a config, and which of them can share the backbone of `parent`: those that were trained on
    it (equal `backbone_id`), on conversations as the policy's chat template writes them (`template`, its SHA-256).
    """
    found = []
    for text, weight in map(weighted, lines):
        ref = find_base(workspace, text)
        if ref is None:
            found.append(RewardLine(text, weight, Path(text).name))
            continue
        run = workspace.run(ref.run)
        manifest = run.manifest()
        label = (manifest.name if manifest is not None else "") or run.id
        shared = (
            manifest is not None
            and manifest.kind == "reward"
            and manifest.backbone_id == parent.backbone_id
            and manifest.template.get("sha256") == template
        )
        folder = weights_folder(run, ref.which)
        if manifest is not None and manifest.adapter_stage is not None and ref.which == "output":
            folder = run.output / manifest.adapter_stage
        alike = shared and (folder / ADAPTER_CONFIG).is_file()
        found.append(RewardLine(text, weight, label, folder if alike else None))
    return found


def cast(
    backbone: PreTrainedModel,
    lora: PolicyLora,
    shared: Sequence[Path],
    *,
    policy: PreTrainedModel | None = None,
    autocast: torch.dtype | None = None,
) -> Roles:
    """The roles on `backbone`. shared: folders of reward adapters; the critic begins as the first of them [rule 20].

    policy: a model of which every weight learns, in place of an adapter. New adapter weights are drawn from torch's
    global generator: seed it first.
    """
    if policy is None:
        laid: PreTrainedModel | PeftModel = new_lora(backbone, lora)
    else:
        laid = backbone
    critic = new_head(backbone.config.get_text_config().hidden_size)
    judges = {}
    for number, folder in enumerate(shared):
        name = f"reward-{number}"
        laid = lay_adapter(laid, folder, name)
        judges[name] = head_of(folder)
    if shared:
        laid = lay_adapter(laid, shared[0], CRITIC)
        critic.weight.data.copy_(head_of(shared[0]).weight)
    elif isinstance(laid, PeftModel):
        laid.add_adapter(CRITIC, laid.peft_config[POLICY])
    else:
        laid = new_lora(laid, lora, name=CRITIC)
    assert isinstance(laid, PeftModel)
    return Roles(laid, critic, judges, policy=policy, autocast=autocast)
