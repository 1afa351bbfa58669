"""PyPI's python-socketio as two clients in a call: `socketio_client.py URL TOKEN DIALECT TRANSPORT [CA]`. Ends with 0 if all
went well. TOKEN is the operator's.

Its AsyncClient: the other one takes in every packet on a thread of its own, so that their order is left to chance, and reads and
writes TLS on two threads at once, which CPython guards since 3.13.1 only.
"""

import asyncio
import socket
import ssl
import sys
import time

import aiohttp
import socketio
from engineio.payload import Payload

URL, TOKEN, DIALECT, TRANSPORT = sys.argv[1:5]
CA = sys.argv[5] if len(sys.argv) > 5 else None
PATIENCE = 30
# It takes 16 packets a poll unless told otherwise, whatever the server.
Payload.max_decode_packets = 500

# How each dialect says what is needed here: events and bodies out, and what comes in as (what, key of its payload).
WORDS = {
    "call": {
        "enter": lambda room, user: ("join", {"roomId": room}),
        "entered": "joined",
        "offer": lambda room, to, data: ("offer", {"roomId": room, "sdp": data}),
        "candidate": lambda room, to, data: ("ice-candidate", {"roomId": room, "candidate": data}),
        "chat": lambda room, text: ("chat-message", {"roomId": room, "msg": text}),
        "leave": lambda room: ("leave", {"roomId": room}),
        "hears": {"offer": "sdp", "ice-candidate": "candidate", "chat-message": "msg"},
        "came": "peer-joined", "went": "peer-left", "back": "peer-rejoined",
    },
    "mesh": {
        "enter": lambda room, user: ("join-room", {"roomId": room, "userId": user}),
        "entered": "room-users",
        "offer": lambda room, to, data: ("offer", {"roomId": room, "targetId": to, "offer": data}),
        "candidate": lambda room, to, data: ("ice-candidate", {"roomId": room, "targetId": to, "candidate": data}),
        "chat": lambda room, text: ("chat-message", {"roomId": room, "msg": text}),
        "leave": lambda room: ("leave-room", {"roomId": room}),
        "hears": {"offer": "offer", "ice-candidate": "candidate", "chat-message": "msg"},
        "came": "user-joined", "went": "user-left", "back": "user-rejoined",
    },
    "community": {
        "enter": lambda room, user: ("joinRoom", room),
        "entered": "joinedRoom",
        "offer": lambda room, to, data: ("offer", {"roomId": room, "targetId": to, "offer": data}),
        "candidate": lambda room, to, data: ("ice-candidate", {"roomId": room, "targetId": to, "candidate": data}),
        "chat": lambda room, text: ("sendMessage", {"roomId": room, "text": text}),
        "leave": lambda room: ("leaveRoom", room),
        "hears": {"offer": "offer", "ice-candidate": "candidate", "newMessage": "text"},
        "came": "userJoined", "went": "userLeft", "back": "userReconnected",
    },
    "native": {
        "enter": lambda room, user: ("room.join", {"room": room, "userId": user}),
        "offer": lambda room, to, data: ("signal", {"room": room, "to": to, "kind": "offer", "data": data}),
        "candidate": lambda room, to, data: ("signal", {"room": room, "to": to, "kind": "candidate", "data": data}),
        "chat": lambda room, text: ("chat", {"room": room, "text": text}),
        "leave": lambda room: ("room.leave", {"room": room}),
        "hears": {"signal": "data", "chat": "text"},
        "came": "room.peer-joined", "went": "room.peer-left", "back": "room.peer-reconnected",
    },
}[DIALECT]


class Person:
    """A client that keeps what it hears."""

    def __init__(self, user):
        self.user = user
        self.heard = {}

    @classmethod
    async def connect(cls, user, before=""):
        person = cls(user)
        connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=CA)) if CA else None
        person.http = aiohttp.ClientSession(connector=connector)
        person.client = socketio.AsyncClient(reconnection=False, http_session=person.http)
        person.client.on("*", person.hear)
        query = f"?userId={user}&reconnecting={before}" if DIALECT == "community" or before else ""
        auth = {"dialect": DIALECT}
        await person.client.connect(URL + query, transports=[TRANSPORT], auth=auth, wait_timeout=PATIENCE)
        person.sid = person.client.get_sid()
        return person

    def events(self, name):
        return self.heard.setdefault(name, asyncio.Queue())

    async def hear(self, event, *data):
        self.events(event).put_nowait(data[0] if data else None)

    async def next(self, event):
        try:
            return await asyncio.wait_for(self.events(event).get(), PATIENCE)
        except asyncio.TimeoutError:
            seen = {name: list(all._queue) for name, all in self.heard.items()}
            raise AssertionError(f"{self.user} hears no {event}: {str(seen)[:1500]}") from None

    async def call(self, event, body):
        return await self.client.call(event, body, timeout=PATIENCE)

    async def enter(self, room):
        event, body = WORDS["enter"](room, self.user)
        if "entered" not in WORDS:
            answer = await self.call(event, body)
            assert answer["ok"], answer
            return answer
        await self.client.emit(event, body)
        return await self.next(WORDS["entered"])

    async def say(self, what, *of):
        await self.client.emit(*WORDS[what](*of))

    async def hears(self, event, expected):
        got = (await self.next(event))[WORDS["hears"][event]]
        assert got == expected, (self.user, event, got, expected)

    async def kill(self):
        """As a network dies: without a word."""
        if TRANSPORT == "websocket":
            self.client.eio.ws.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
        else:
            # Of Engine.IO, not of Socket.IO: nobody has taken leave.
            eio = self.client.eio
            await (await eio.http.post(f"{eio.base_url}&sid={eio.sid}", data="1")).release()

    async def sees_away(self, room):
        """Waits until the daemon takes somebody in the room for away: what is said before that may be lost with the connection."""
        deadline = time.monotonic() + PATIENCE
        while True:
            async with self.http.get(f"{URL}/api/rooms/{room}", headers={"Authorization": f"Bearer {TOKEN}"}) as answer:
                assert answer.status == 200, answer.status
                members = (await answer.json())["members"]
            if any(member["away"] for member in members):
                return
            assert time.monotonic() < deadline, members
            await asyncio.sleep(0.02)

    async def close(self):
        await self.client.disconnect()
        await self.http.close()


def events():
    of = list(WORDS["hears"])
    return (of[0], of[1], of[2]) if len(of) == 3 else (of[0], of[0], of[1])


def other(answer):
    """How to name the other one."""
    if DIALECT == "mesh":
        return answer["users"][0]
    peers = answer["peers"]
    return peers[0] if DIALECT == "call" else peers[0].get("userId", peers[0]["peerId"])


async def main():
    offer, candidate, chat = events()
    room = f"python-{DIALECT}-{TRANSPORT}-{time.time_ns()}"
    ada = await Person.connect("ada")
    if DIALECT == "community":
        made = await ada.call("createRoom", {"name": "Python", "isPrivate": False, "maxUsers": None})
        assert made["success"], made
        room = made["roomId"]
    else:
        await ada.enter(room)
    ben = await Person.connect("ben")
    answer = await ben.enter(room)
    assert answer["iceServers"], answer
    await ada.next(WORDS["came"])
    to = other(answer)

    await ben.say("offer", room, to, {"type": "offer", "sdp": "v=0"})
    await ada.hears(offer, {"type": "offer", "sdp": "v=0"})
    for n in range(30):
        await ben.say("candidate", room, to, {"candidate": f"c{n}"})
    for n in range(30):
        await ada.hears(candidate, {"candidate": f"c{n}"})
    await ben.say("chat", room, "grüße")
    await ada.hears(chat, "grüße")
    if DIALECT == "community":
        await ben.hears(chat, "grüße")
        answer = await ben.call("sendMessage", {"roomId": room, "text": "x"})
        assert answer["success"] and answer["messageId"], answer
        answer = await ben.call("joinRoom", "no-such-room")
        assert answer["success"] is False and isinstance(answer["error"], str), answer
        await ada.hears(chat, "x")

    # Ben's connection breaks, and he comes back by its id.
    await ben.kill()
    await ada.sees_away(room)
    await ada.say("chat", room, "still there?")
    broken, ben = ben, await Person.connect("ben", ben.sid)
    back = await ben.next(WORDS.get("entered", "room.admitted"))
    assert back["resumed"] is True, back
    await ben.hears(chat, "still there?")
    await ada.next(WORDS["back"])

    await ben.say("leave", room)
    await ada.next(WORDS["went"])
    for person in (ada, ben):
        assert person.events("error").empty(), person.events("error").get_nowait()
    for person in (ada, ben, broken):
        await person.close()


asyncio.run(main())
print("ok")
