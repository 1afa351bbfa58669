"""aioice as a client of our relay: one named case a run,
`aioice_client.py CASE HOST PORT USERNAME PASSWORD TRANSPORT CA`; TRANSPORT is udp, tcp or tls, CA the file of the authority.

Ends with 0 when everything that was sent came back; a traceback says what did not.
"""

import asyncio
import os
import ssl
import sys

import aioice
from aioice import stun, turn

MESSAGES = 50

TRANSPORT, CA = sys.argv[6:]
LEG = {
    "transport": "udp" if TRANSPORT == "udp" else "tcp",
    "ssl": ssl.create_default_context(cafile=CA) if TRANSPORT == "tls" else False,
}


class Inbox(asyncio.DatagramProtocol):
    """Keeps what arrives, in order."""

    def __init__(self):
        self.arrived = asyncio.Queue()

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        self.arrived.put_nowait((data, address))

    def error_received(self, error):
        raise error

    async def next(self):
        return await asyncio.wait_for(self.arrived.get(), 30)


class Echo(Inbox):
    def datagram_received(self, data, address):
        self.transport.sendto(data, address)


async def allocate(server, username, password, **more):
    return await turn.create_turn_endpoint(Inbox, server, username, password, **LEG, **more)


async def echo(server, username, password):
    """To a plain peer and back, every length of padding, in order.

    aioice asks for no address family, so the relay is an IPv4 one also for a client that comes over IPv6.
    """
    loop = asyncio.get_running_loop()
    peer, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
    transport, inbox = await allocate(server, username, password)
    address = peer.get_extra_info("sockname")[:2]
    for size in range(1, MESSAGES + 1):
        message = os.urandom(size)
        transport.sendto(message, address)
        data, source = await inbox.next()
        assert (data, source) == (message, address), (data, source)
    transport.close()
    peer.close()
    await asyncio.sleep(0.2)


async def both_relayed(server, username, password):
    """Two allocations of this server are each other's peers."""
    left, left_inbox = await allocate(server, username, password)
    right, right_inbox = await allocate(server, username, password)
    ends = [left.get_extra_info("sockname"), right.get_extra_info("sockname")]
    # The first packet of each side opens its own door only: knock until each has heard the other.
    while left_inbox.arrived.empty() or right_inbox.arrived.empty():
        left.sendto(b"open", ends[1])
        right.sendto(b"open", ends[0])
        await asyncio.sleep(0.1)

    async def after_knocks(inbox):
        while True:
            data, source = await inbox.next()
            if data != b"open":
                return data, source

    for number in range(MESSAGES):
        for sender, receiver, to, source in (
            (left, right_inbox, ends[1], ends[0]),
            (right, left_inbox, ends[0], ends[1]),
        ):
            message = b"%d " % number + os.urandom(number)
            sender.sendto(message, to)
            assert await after_knocks(receiver) == (message, source)
    left.close()
    right.close()
    await asyncio.sleep(0.2)


async def refresh(server, username, password):
    """A short allocation outlives its first lifetime, with its channel."""
    loop = asyncio.get_running_loop()
    peer, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
    transport, inbox = await allocate(server, username, password, lifetime=3, channel_refresh_time=1)
    for number in range(5):
        message = b"%d" % number
        transport.sendto(message, peer.get_extra_info("sockname")[:2])
        assert (await inbox.next())[0] == message
        await asyncio.sleep(1)
    transport.close()
    peer.close()
    await asyncio.sleep(0.2)


async def ice(server, username, password):
    """Full ICE over the relay only, data both ways."""
    ends = [
        aioice.Connection(
            ice_controlling=controlling,
            components=1,
            turn_server=server,
            turn_username=username,
            turn_password=password,
            turn_transport=LEG["transport"],
            turn_ssl=LEG["ssl"],
            transport_policy=aioice.TransportPolicy.RELAY,
            use_ipv6=":" in server[0],
        )
        for controlling in (True, False)
    ]
    for end in ends:
        await end.gather_candidates()
    for one, other in (ends, ends[::-1]):
        assert one.local_candidates and all(c.type == "relay" for c in one.local_candidates), one.local_candidates
        for candidate in one.local_candidates:
            await other.add_remote_candidate(candidate)
        await other.add_remote_candidate(None)
        other.remote_username, other.remote_password = one.local_username, one.local_password
    await asyncio.gather(*(end.connect() for end in ends))
    for one, other in (ends, ends[::-1]):
        for number in range(MESSAGES):
            await one.send(b"%d" % number)
            assert await asyncio.wait_for(other.recv(), 30) == b"%d" % number
    await asyncio.gather(*(end.close() for end in ends))


async def wrong_password(server, username, password):
    """401, also the second time."""
    try:
        await allocate(server, username, password + "x")
    except stun.TransactionFailed as failed:
        assert failed.response.error_code == 401, failed.response
    else:
        raise AssertionError("an allocation with a wrong password")


if __name__ == "__main__":
    case, host, port, username, password = sys.argv[1:6]
    asyncio.run(asyncio.wait_for(globals()[case]((host, int(port)), username, password), 120))
