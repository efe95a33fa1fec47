"""The training core: what a batch is, the fast path, losses, what learns, and Galen's Trainer."""

import logging

# PEFT imports bitsandbytes, which warns about a kernel package that only 4-bit inference on a CPU would use.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
