"""What the runs that one has waited for have made goes into its config: `python -m core.jobs.handing_over RUN_DIR`.

Started by the run's supervisor once nothing is waited for any longer, in a process of its own, so that the supervisor
stays small. All that could not be told at submission is checked now; where it is wrong, result.json says so and the
exit status is 2.
"""

from __future__ import annotations

import sys
from typing import Any

import orjson
from pydantic import ValidationError

from core.configs.files import dump_yaml, stage_of
from core.errors import GalenError, RunError
from core.jobs.failures import first_problem, result_for
from core.jobs.pinning import pin
from core.rundir import RunDir, write_record, write_text
from core.workspace import Workspace


def write_config(run: RunDir, data: dict[str, Any]) -> None:
    """config.yaml and config.json, each whole or not at all. The caller holds the run's lock."""
    header = f"# Everything this run was started with. Again: python -m core {run.stage} --config config.yaml\n"
    write_text(run.config_yaml, header + dump_yaml(data))
    write_text(run.config_json, orjson.dumps(data, option=orjson.OPT_INDENT_2).decode() + "\n")


def hand_over(run: RunDir) -> None:
    """Pin the config of `run` to what there is now; its waiting is over, for later attempts, too.

    Raises as `pinning.pin`; RunError `run.bad_config`.
    """
    stage, before = stage_of(run.stage), run.config()
    try:
        config = stage.config.model_validate(before)
    except ValidationError as error:
        raise RunError("run.bad_config", detail=first_problem(error)) from error
    now = pin(Workspace(run.path.parent.parent), stage, config, {}).model_dump(mode="json")
    now["run"]["after"] = []
    write_config(run, now)


def main(folder: str) -> int:
    run = RunDir(folder)
    try:
        hand_over(run)
    except GalenError as error:
        print(error, file=sys.stderr)
        write_record(run.result_file, result_for(error))
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
