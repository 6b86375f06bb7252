"""A peers' process without peers: it answers with made figures, and refuses torch.compile."""

import json
import os
import sys

for line in sys.stdin:
    request = json.loads(line)
    if request.get("peer") == "torch.compile":
        answer = {"error": "RuntimeError: no compiler"}
    elif request["task"] == "die":
        print("out of luck", file=sys.stderr)
        os._exit(3)
    else:
        answer = {"seconds": 0.5, "inertia": 1.0} if request["task"] == "kmeans" else {"seconds": 0.5}
    print(json.dumps(answer), flush=True)
