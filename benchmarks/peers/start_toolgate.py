"""Run by the Python of the peer `toolgate`: its server as its own `main` starts it, `start_toolgate.py PORT`.

Only its limits of 300 calls and 60 tokens a minute for each grant are lifted, because they cannot be set from outside.
"""

import sys

import uvicorn
from toolgate.server.app import create_app
from toolgate.server.context import create_app_context
from toolgate.server.ratelimit import SlidingWindowLimiter

if __name__ == "__main__":
    context = create_app_context(public_url=f"http://127.0.0.1:{sys.argv[1]}", dev_mode=False)
    context.gate_limiter = SlidingWindowLimiter(10_000_000, 60.0)
    context.token_limiter = SlidingWindowLimiter(10_000_000, 60.0)
    uvicorn.run(create_app(context), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
