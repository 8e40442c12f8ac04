"""Everything of exphil but the workbench: data, models, training, runs and the command line."""

import os

# Torch's CPU threads wait for each other in busy loops, 300,000 turns long unless OpenMP is told otherwise before
# torch is loaded. Beside any other busy process that costs nearly everything; 5,000 turns cost a few per cent of an
# idle machine (both measured: docs/measurements.md). What a person has set stays.
TRAINING_SPINS = "5000"
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", TRAINING_SPINS)
