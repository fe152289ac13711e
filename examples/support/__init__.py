"""A support agent, real MCP servers and one ticket that lies: the world of `make demo`."""
