"""Tools that live behind an HTTP API which an OpenAPI document describes: one client, kept open, for each upstream.

Not the governing of them: that is the gateway's. What the document says is hostile text, and so is what the API
answers. Law: a request goes to the one origin that the config, or the pinned document, names, by the path of its
operation and by no other; NotDone is raised only where nothing was sent, or where the API refused with a 4xx.

    source.py     a file's text → a JSON value, within limits
    document.py   the value → operations, and why others were left out
    schemas.py    schemas of OpenAPI → JSON Schema 2020-12, closed
    arguments.py  parameters and body → the arguments of one tool
    offer.py      operations → tools, as their owner declares them
    request.py    arguments → one HTTP request
    addresses.py  which addresses may be connected to
    wire.py       the client
    reply.py      what came back, and what it proves
    upstream.py   all of it for one line of `upstreams:`

`wire.py` and `upstream.py` import aiohttp: import them only where an upstream is configured.
"""
