"""The chat server of examples/chat.ts on Python's asyncio.

usage: python3 python-chat.py [--host ADDRESS] [--port PORT]; prints `listening on HOST:PORT`.
"""
import asyncio
import itertools

from python_common import serve

members = {}
arrivals = itertools.count(1)


class Session(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
        self.pending = b''
        self.user = f'user{next(arrivals)}'
        self.tell(f'You are {self.user}.')
        for user, session in members.items():
            self.tell(f'{user} arrived.')
            session.tell(f'{self.user} arrived.')
        members[self.user] = self

    def tell(self, text):
        self.transport.write(f'{text}\n'.encode())

    def data_received(self, data):
        *lines, self.pending = (self.pending + data).split(b'\n')
        for line in lines:
            what = line.rstrip(b'\r').decode()
            for session in members.values():
                session.tell(f'{self.user}: {what}')

    def eof_received(self):
        return False

    def connection_lost(self, exc):
        del members[self.user]
        for session in members.values():
            session.tell(f'{self.user} departed.')


serve(Session)
