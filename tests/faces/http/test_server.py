"""What leaves a served connection, and when."""

import asyncio

from interlock.faces.http.server import Corked


class Wire(asyncio.Transport):
    """A transport that keeps what was written to it."""

    def __init__(self):
        super().__init__()
        self.written = []
        self.closed = False

    def write(self, data):
        assert not self.closed
        self.written.append(bytes(data))

    def close(self):
        self.closed = True

    def is_closing(self):
        return self.closed

    def pause_reading(self):
        """Nothing comes."""

    def resume_reading(self):
        """Nothing comes."""


HEAD, BODY = b"HTTP/1.1 200 OK\r\n\r\n", b"{}"


def on_a_loop(act):
    async def main():
        wire = Wire()
        await act(wire, Corked(wire, asyncio.get_running_loop()))
        return wire

    return asyncio.run(main())


def test_an_answer_leaves_in_one_write():
    async def answer(_wire, corked):
        corked.write(HEAD)
        corked.write(BODY)
        corked.write(b"more")
        await asyncio.sleep(0)

    assert on_a_loop(answer).written == [HEAD + BODY, b"more"]


def test_a_head_whose_body_comes_later_leaves_without_it():
    async def answer(wire, corked):
        corked.write(HEAD)
        assert wire.written == []
        await asyncio.sleep(0)
        assert wire.written == [HEAD]
        corked.write(BODY)

    assert on_a_loop(answer).written == [HEAD, BODY]


def test_closing_loses_no_head():
    async def refuse(wire, corked):
        corked.write(HEAD)
        corked.close()
        assert (wire.written, wire.closed, corked.is_closing()) == ([HEAD], True, True)
        await asyncio.sleep(0)

    assert on_a_loop(refuse).written == [HEAD]
