"""Run by the Python of the peer `fastmcp`: a FastMCP proxy, `start_fastmcp.py PORT UPSTREAM`."""

import sys

from fastmcp.server import create_proxy

if __name__ == "__main__":
    create_proxy(sys.argv[2], name="proxy").run(
        transport="http", host="127.0.0.1", port=int(sys.argv[1]), stateless_http=True, json_response=True,
        show_banner=False, log_level="error",
    )
