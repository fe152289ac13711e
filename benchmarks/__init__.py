"""What Interlock costs, measured beside its yardsticks. `python -m benchmarks`; see docs/performance.md.

Not a test: a bench judges nothing about speed. Law: every figure is a ratio inside one run, interleaved with its
yardstick, or an absolute that says so; and no figure stands whose load was not checked: effects once, budgets exact,
an audit entry for every effect, a chain that verifies.
"""
