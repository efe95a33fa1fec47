"""One rank of a training run that leaves its gradients and parameters: `python -m tests.rank_probe RUN_DIR FOLDER`."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import torch

from core.configs.stages import STAGES
from core.ppo.loop import Loop
from core.report import Report, RunContext
from core.rundir import RunDir
from core.training.trainer import StageTrainer
from core.workspace import Workspace


def main(run: RunDir, folder: Path) -> None:
    rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))

    stage = STAGES[run.stage]
    recipe = importlib.import_module(stage.recipe)
    trainer = getattr(recipe, "StageTrainer", None) or getattr(recipe, "PairTrainer", StageTrainer)

    class Probe(trainer):
        def training_step(self, model, inputs, num_items_in_batch=None):
            loss = super().training_step(model, inputs, num_items_in_batch)
            if self.state.global_step == 0:
                torch.save([p.grad.clone() for p in self.learning()], folder / f"gradients-{rank}.pt")
            return loss

        def learning(self):
            return [p for p in self.model.parameters() if p.requires_grad]

        def continue_or_start(self) -> None:
            super().continue_or_start()
            torch.save([p.detach() for p in self.learning()], folder / f"parameters-{rank}.pt")

    class LoopProbe(Loop):
        def run(self) -> None:
            super().run()
            learning = [p for p in self.scene.roles.parameters() if p.requires_grad]
            torch.save([p.detach() for p in learning], folder / f"parameters-{rank}.pt")

    recipe.StageTrainer, recipe.PairTrainer, recipe.Loop = Probe, Probe, LoopProbe
    config = stage.config.model_validate(run.config())
    workspace = Workspace(run.path.parent.parent)
    recipe.main(RunContext(run, workspace, config, Report(run, rank), rank, world_size))


if __name__ == "__main__":
    main(RunDir(sys.argv[1]), Path(sys.argv[2]))
