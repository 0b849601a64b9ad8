"""Python's asyncio: a Protocol per connection (faster than its streams), which has TCP_NODELAY by
default. Reading pauses while the peer doesn't take what was written.

usage: python3 python-echo.py [--host ADDRESS] [--port PORT]; prints `listening on HOST:PORT`.
"""
import asyncio

from python_common import serve


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)

    def pause_writing(self):
        self.transport.pause_reading()

    def resume_writing(self):
        self.transport.resume_reading()


serve(Echo)
