"""How many faults were injected, by their kinds, and how much of the long form is asked for."""

import os
from collections import Counter

INJECTED = Counter()
# As DEC_JAX_FAULTS=1 of the normal tests; `make faults` asks for more.
SCALE = int(os.environ.get("DEC_JAX_FAULTS", "1"))
