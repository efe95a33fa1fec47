"""A folder to a repository of Hugging Face, as one commit that deletes nothing.

    python -m core.models.upload '{"hub": "huggingface", "repo": …, "revision": …, "private": …, "message": …, …}'

    1. make the repository, and the branch, unless they are there
    2. refuse a public one where a private one was meant, and one with weights that would be mixed up with these
    3. send the large files one by one; what the hub has already is not sent again
    4. commit them all at once: nobody ever finds half of a model

`core.recipes.push` runs it as a child, which can be killed at any moment: before step 4 nothing of the content has
changed. It prints lines of JSON: `{"sent": bytes}` after each file of step 3, `{"commit", "url", "private"}` at the
end, or `{"error": {"code", "params"}}`. The token comes from the environment only. Torch-free. Left out: ModelScope,
whose library has other ideas of all of this.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from core.errors import GalenError, InputError
from core.hubs import HUBS, NETWORK_ERRORS, TOKENS, answer, say

MAIN = "main"
LOADED = (".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json", "adapter_config.json")


def _huggingface(spec: dict[str, Any]) -> None:
    try:
        _send(spec)
    except GalenError:
        raise
    except Exception as error:
        raise refused(error, spec) from error


def _send(spec: dict[str, Any]) -> None:
    from huggingface_hub import CommitOperationAdd, HfApi

    repo, revision, folder = spec["repo"], spec["revision"], Path(spec["folder"])
    api = HfApi(token=os.environ[TOKENS["huggingface"]])
    api.create_repo(repo, private=spec["private"], exist_ok=True)  # 1
    if revision != MAIN:
        api.create_branch(repo, branch=revision, exist_ok=True)
    info = api.model_info(repo, revision=revision)  # 2
    if spec["private"] and not info.private:
        raise InputError("push.is_public", repo=repo)
    paths = sorted(folder.iterdir())
    check_others((file.rfilename for file in info.siblings or []), paths, repo, revision)
    additions = [CommitOperationAdd(path.name, path) for path in paths]
    sent = 0
    for path, addition in zip(paths, additions, strict=True):  # 3
        api.preupload_lfs_files(repo, [addition], revision=revision, free_memory=False)
        sent += path.stat().st_size
        say({"sent": sent})
    made = api.create_commit(repo, additions, commit_message=spec["message"], revision=revision)  # 4
    place = "" if revision == MAIN else f"/tree/{revision}"
    say({"commit": made.oid, "url": f"{api.endpoint}/{repo}{place}", "private": bool(info.private)})


def check_others(there: Iterable[str], sent: Iterable[Path], repo: str, revision: str) -> None:
    """Raise InputError `push.other_content` for weights that would lie beside those that are sent.

    Transformers takes `model.safetensors` before shards, and an adapter before anything: what loads would not be this.
    """
    own = {path.name for path in sent}
    others = sorted(name for name in there if "/" not in name and name.endswith(LOADED) and name not in own)
    if others:
        raise InputError("push.other_content", repo=repo, revision=revision, files=", ".join(others[:8]))


def refused(error: Exception, spec: dict[str, Any]) -> InputError:
    """An exception of huggingface_hub as one of ours: by the status that the hub gave, else by its class's name."""
    kinds = {kind.__name__ for cause in (error, error.__cause__, error.__context__) for kind in type(cause).__mro__}
    status = getattr(getattr(error, "response", None), "status_code", None)
    hub, repo, token = HUBS[spec["hub"]], spec["repo"], TOKENS[spec["hub"]]
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    detail = (lines[-1] if lines else type(error).__name__).rstrip(".")
    if "HFValidationError" in kinds:
        return InputError("push.bad_repo", repo=repo)
    if status == 401:
        return InputError("push.bad_token", hub=hub, token=token)
    if status == 403:
        return InputError("push.forbidden", repo=repo, token=token)
    if status == 404:
        return InputError("push.not_found", hub=hub, repo=repo, token=token)
    if isinstance(error, ValueError) and "README.md" in str(error):
        return InputError("push.card_refused", hub=hub, detail=detail.removeprefix("- "))
    if kinds & NETWORK_ERRORS:
        return InputError("push.no_network", source=os.environ.get("HF_ENDPOINT") or hub, detail=detail)
    return InputError("push.failed", hub=hub, repo=repo, detail=detail)


if __name__ == "__main__":
    sys.exit(answer(sys.argv[1:], {"huggingface": _huggingface}))
