"""The models of a chain, from its base on: what a comparison of all its stages compares. Torch-free."""

from __future__ import annotations

from core.errors import ModelError
from core.models.library import find_base
from core.models.parents import resolve_parent
from core.workspace import Workspace

TEACH = ("pretrain", "sft", "dpo", "ppo", "fetch")  # stages whose runs write differently from what they started from


def stages_of(workspace: Workspace, text: str) -> list[str]:
    """What the chain of the run `text` is made of, as `resolve_parent` takes it: base first, then whoever writes.

    Reward runs score and write nothing, merges and new vocabularies write what lies beneath: they are left out. Where
    the chain leads to a run that is gone, it begins with the root that its manifest names. Raises ModelError
    `evaluate.no_chain` where `text` is no run, and as `resolve_parent` for a run that has delivered nothing.
    """
    ref = find_base(workspace, text)
    if ref is None:
        raise ModelError("evaluate.no_chain", run=text)
    root = resolve_parent(workspace, text, hashed=False, scoring=True).root.path
    found: list[str] = []
    below = text
    while (ref := find_base(workspace, below)) is not None and str(ref) not in found:
        run = workspace.run(ref.run)
        if run.stage in TEACH:
            found.insert(0, str(ref))
        below = str((run.config().get("model") or {}).get("base") or "")
    return [below if _exists(workspace, below) else root, *found]


def _exists(workspace: Workspace, text: str) -> bool:
    try:
        resolve_parent(workspace, text, hashed=False)
    except ModelError:
        return False
    return True
