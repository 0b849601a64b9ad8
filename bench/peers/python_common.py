"""What the Python servers share: the command line, and listening."""
import argparse
import asyncio
import platform


def serve(protocol):
    """Listens as the command line says, prints where, and serves for ever."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--host', default='127.0.0.1')
    parser.add_argument('--port', type=int, default=0)
    arguments = parser.parse_args()

    async def run():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            protocol, arguments.host, arguments.port, backlog=4096)
        host, port = server.sockets[0].getsockname()[:2]
        print(f'version: Python {platform.python_version()}', flush=True)
        print(f'listening on {host}:{port}', flush=True)
        await server.serve_forever()

    asyncio.run(run())
