"""The harness of the public-services sandbox: prepare, decode, measure."""

import os

# The evaluation has threads of its own; those of the linear algebra would only wait for one another. Before numpy's import.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
