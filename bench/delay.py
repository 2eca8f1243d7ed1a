"""A proxy of plain bytes that delays: `delay.py LISTEN_PORT HOST PORT MILLISECONDS`, the latter for a round trip."""

import asyncio
import sys


async def move(reader, writer, delay):
    """Passes bytes one way, each after the delay, without slowing the flow."""
    loop, waiting = asyncio.get_running_loop(), asyncio.Queue()

    async def take():
        chunk = b"."
        while chunk:
            chunk = await reader.read(1 << 16)
            waiting.put_nowait((loop.time() + delay, chunk))

    taking = asyncio.create_task(take())
    while True:
        due, chunk = await waiting.get()
        await asyncio.sleep(due - loop.time())
        if not chunk:
            break
        writer.write(chunk)
        await writer.drain()
    await taking
    if writer.can_write_eof():
        writer.write_eof()


async def pass_on(near, near_out, host, port, delay):
    """One connection, both ways. The handshake, too, would have taken a round trip."""
    try:
        await asyncio.sleep(2 * delay)
        far, far_out = await asyncio.open_connection(host, port)
        await asyncio.gather(move(near, far_out, delay), move(far, near_out, delay))
        far_out.close()
    except OSError:
        pass
    near_out.close()


async def main():
    """Serves until it is stopped."""
    listen, host, port, milliseconds = sys.argv[1:]
    delay = float(milliseconds) / 2000
    accept = lambda reader, writer: pass_on(reader, writer, host, int(port), delay)
    server = await asyncio.start_server(accept, "127.0.0.1", int(listen))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
