"""The gateway as a service: what a company runs once, for agents in any language."""
