"""What goes over the wire of /v1: bodies, queries and answers, a module for each part of the API.

Not what the ledger keeps: a field of a record is here only where a client may see it. Law: strict, an unknown field is
refused; times are microseconds since 1970 in UTC, money is micro-dollars where a field says so and dollars in `usd`
of a request; a value that may be anything is JSON of limited depth.
"""
