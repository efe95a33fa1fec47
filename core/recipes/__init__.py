"""One readable file a stage. Each has `main(context)`; only `core.jobs.worker` imports them, by name, from STAGES."""

import logging
import warnings

# What libraries say at every import, to nobody's use: bitsandbytes misses a package that only 4-bit inference on a CPU
# would use; PEFT asks Transformers by a name that is about to change.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")
