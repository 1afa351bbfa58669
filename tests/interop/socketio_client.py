"""PyPI's python-socketio as two clients in a call: `socketio_client.py URL DIALECT TRANSPORT [CA]`. Ends with 0 if all went well."""

import queue
import socket
import sys
import time

import requests
import socketio
from engineio.payload import Payload

URL, DIALECT, TRANSPORT = sys.argv[1:4]
CA = sys.argv[4] if len(sys.argv) > 4 else None
PATIENCE = 5
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

    def __init__(self, user, before=""):
        self.user = user
        self.heard = {}
        session = requests.Session()
        if CA:
            session.verify = CA
        self.client = socketio.Client(reconnection=False, http_session=session)
        self.client.on("*", self.hear)
        query = f"?userId={user}&reconnecting={before}" if DIALECT == "community" or before else ""
        self.client.connect(URL + query, transports=[TRANSPORT], auth={"dialect": DIALECT}, wait_timeout=PATIENCE)
        self.sid = self.client.get_sid()

    def events(self, name):
        return self.heard.setdefault(name, queue.Queue())

    def hear(self, event, *data):
        self.events(event).put(data[0] if data else None)

    def next(self, event):
        try:
            return self.events(event).get(timeout=PATIENCE)
        except queue.Empty:
            seen = {name: list(all.queue) for name, all in self.heard.items()}
            raise AssertionError(f"{self.user} hears no {event}: {str(seen)[:1500]}") from None

    def enter(self, room):
        event, body = WORDS["enter"](room, self.user)
        if "entered" not in WORDS:
            answer = self.client.call(event, body, timeout=PATIENCE)
            assert answer["ok"], answer
            return answer
        self.client.emit(event, body)
        return self.next(WORDS["entered"])

    def say(self, what, *of):
        self.client.emit(*WORDS[what](*of))

    def hears(self, event, expected):
        got = self.next(event)[WORDS["hears"][event]]
        assert got == expected, (self.user, event, got, expected)

    def kill(self):
        """As a network dies: without a word."""
        if TRANSPORT == "websocket":
            self.client.eio.ws.sock.shutdown(socket.SHUT_RDWR)
        else:
            # Of Engine.IO, not of Socket.IO: nobody has taken leave.
            self.client.eio.http.post(f"{self.client.eio.base_url}&sid={self.client.eio.sid}", data="1")


def events():
    of = list(WORDS["hears"])
    return (of[0], of[1], of[2]) if len(of) == 3 else (of[0], of[0], of[1])


def other(answer):
    """How to name the other one."""
    if DIALECT == "mesh":
        return answer["users"][0]
    peers = answer["peers"]
    return peers[0] if DIALECT == "call" else peers[0].get("userId", peers[0]["peerId"])


offer, candidate, chat = events()
room = f"python-{DIALECT}-{TRANSPORT}-{time.time_ns()}"
ada = Person("ada")
if DIALECT == "community":
    made = ada.client.call("createRoom", {"name": "Python", "isPrivate": False, "maxUsers": None}, timeout=PATIENCE)
    assert made["success"], made
    room = made["roomId"]
else:
    ada.enter(room)
ben = Person("ben")
answer = ben.enter(room)
assert answer["iceServers"], answer
ada.next(WORDS["came"])
to = other(answer)

ben.say("offer", room, to, {"type": "offer", "sdp": "v=0"})
ada.hears(offer, {"type": "offer", "sdp": "v=0"})
for n in range(30):
    ben.say("candidate", room, to, {"candidate": f"c{n}"})
for n in range(30):
    ada.hears(candidate, {"candidate": f"c{n}"})
ben.say("chat", room, "grüße")
ada.hears(chat, "grüße")
if DIALECT == "community":
    ben.hears(chat, "grüße")
    answer = ben.client.call("sendMessage", {"roomId": room, "text": "x"}, timeout=PATIENCE)
    assert answer["success"] and answer["messageId"], answer
    answer = ben.client.call("joinRoom", "no-such-room", timeout=PATIENCE)
    assert answer["success"] is False and isinstance(answer["error"], str), answer
    ada.hears(chat, "x")

# Ben's connection breaks, and he comes back by its id.
ben.kill()
time.sleep(0.3)
ada.say("chat", room, "still there?")
ben = Person("ben", ben.sid)
back = ben.next(WORDS.get("entered", "room.admitted"))
assert back["resumed"] is True, back
ben.hears(chat, "still there?")
ada.next(WORDS["back"])

ben.say("leave", room)
ada.next(WORDS["went"])
for person in (ada, ben):
    assert person.events("error").empty(), list(person.events("error").queue)
    person.client.disconnect()
print("ok")
