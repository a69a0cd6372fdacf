"""MQTT sessions that outlive connections and the server: step by step, with packets written by hand."""

import struct
import threading
import time

import pytest
from conftest import read_until_closed

CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 2, 3, 4, 5, 6, 7
SUBACK, UNSUBACK, PINGRESP, DISCONNECT = 9, 11, 13, 14


def varint(value):
    encoded = b""
    while True:
        value, byte = value >> 7, value & 0x7F
        encoded += bytes([byte | (0x80 if value else 0)])
        if not value:
            return encoded


def text(value):
    value = value if isinstance(value, bytes) else value.encode()
    return struct.pack("!H", len(value)) + value


def packet(first, body):
    return bytes([first]) + varint(len(body)) + body


class Packet:
    """A packet of the server, with the fields that tests ask for."""

    def __init__(self, first, body, level):
        self.type, self.flags, self.body = first >> 4, first & 15, body
        self.id = self.reason = self.topic = self.payload = None
        self.properties = b""
        if self.type == PUBLISH:
            self.qos, self.dup, self.retain = first >> 1 & 3, bool(first & 8), bool(first & 1)
            length = struct.unpack_from("!H", body)[0]
            self.topic = body[2 : 2 + length].decode()
            place = 2 + length
            if self.qos:
                self.id = struct.unpack_from("!H", body, place)[0]
                place += 2
            if level == 5:
                size, place = read_varint(body, place)
                self.properties = body[place : place + size]
                place += size
            self.payload = body[place:].decode()
        elif self.type in (PUBACK, PUBREC, PUBREL, PUBCOMP):
            self.id = struct.unpack_from("!H", body)[0]
            self.reason = body[2] if len(body) > 2 else 0
        elif self.type in (SUBACK, UNSUBACK):
            self.id = struct.unpack_from("!H", body)[0]
            place = 2
            if level == 5:
                size, place = read_varint(body, place)
                place += size
            self.reasons = list(body[place:])
        elif self.type == CONNACK:
            self.session_present, self.reason = bool(body[0] & 1), body[1]
            self.properties = body[2:]
        elif self.type == DISCONNECT:
            self.reason = body[0] if body else 0

    def __repr__(self):
        return f"<{self.type} id={self.id} {self.topic} {self.payload}>"


def read_varint(body, place):
    value = shift = 0
    while True:
        byte = body[place]
        place += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value, place


class Raw:
    """A client that sends just what it is told to."""

    def __init__(self, server, client_id, clean=False, level=5, expiry=1000, will=None, properties=b"", keepalive=60):
        self.level = level
        self.buffer = b""
        self.socket = server.connect(server.mqtt_port)
        flags = 2 if clean else 0
        payload = text(client_id)
        if will:
            flags |= 4 | will.get("qos", 1) << 3 | (0x20 if will.get("retain") else 0)
            if level == 5:
                extra = b"\x18" + struct.pack("!I", will["delay"]) if will.get("delay") else b""
                extra += will.get("properties", b"")
                payload += varint(len(extra)) + extra
            payload += text(will["topic"]) + text(will["payload"])
        body = text("MQTT") + bytes([level, flags]) + struct.pack("!H", keepalive)
        if level == 5:
            if expiry is not None:
                properties += b"\x11" + struct.pack("!I", expiry)
            body += varint(len(properties)) + properties
        self.socket.sendall(packet(0x10, body + payload))
        self.connack = self.read()
        assert self.connack.type == CONNACK

    def send(self, data):
        self.socket.sendall(data)

    def read(self, seconds=10):
        """The next packet; nil where the connection ends."""
        self.socket.settimeout(seconds)
        while True:
            if len(self.buffer) >= 2:
                try:
                    size, place = read_varint(self.buffer, 1)
                except IndexError:
                    size, place = None, None
                if size is not None and len(self.buffer) >= place + size:
                    first, body = self.buffer[0], self.buffer[place : place + size]
                    self.buffer = self.buffer[place + size :]
                    return Packet(first, body, self.level)
            piece = self.socket.recv(65536)
            if not piece:
                return None
            self.buffer += piece

    def expect(self, kind, **fields):
        received = self.read()
        assert received is not None, "the connection ended"
        assert received.type == kind, received
        for name, value in fields.items():
            assert getattr(received, name) == value, (name, getattr(received, name), received)
        return received

    def silent(self):
        """Nothing is on its way: a ping is answered first."""
        self.send(b"\xc0\x00")
        received = self.read()
        assert received.type == PINGRESP, received

    def subscribe(self, *filters, id=1, identifier=None):
        """Filters are pairs of a filter and its options byte."""
        body = struct.pack("!H", id)
        if self.level == 5:
            extra = b"\x0b" + varint(identifier) if identifier else b""
            body += varint(len(extra)) + extra
        for name, options in filters:
            body += text(name) + bytes([options])
        self.send(packet(0x82, body))
        return self.expect(SUBACK, id=id).reasons

    def unsubscribe(self, *filters, id=1):
        body = struct.pack("!H", id) + (b"\x00" if self.level == 5 else b"")
        self.send(packet(0xA2, body + b"".join(text(name) for name in filters)))
        return self.expect(UNSUBACK, id=id).reasons

    def publish(self, topic, payload, qos=0, id=None, dup=False, retain=False, properties=b""):
        body = text(topic)
        if qos:
            body += struct.pack("!H", id)
        if self.level == 5:
            body += varint(len(properties)) + properties
        self.send(packet(0x30 | qos << 1 | (8 if dup else 0) | (1 if retain else 0), body + payload.encode()))

    def ack(self, kind, id, reason=None):
        first = {PUBACK: 0x40, PUBREC: 0x50, PUBREL: 0x62, PUBCOMP: 0x70}[kind]
        self.send(packet(first, struct.pack("!H", id) + (bytes([reason]) if reason is not None else b"")))

    def disconnect(self, reason=None, expiry=None):
        body = b""
        if reason is not None or expiry is not None:
            extra = b"\x11" + struct.pack("!I", expiry) if expiry is not None else b""
            body = bytes([reason or 0]) + varint(len(extra)) + extra
        self.send(packet(0xE0, body))
        assert self.read() is None
        self.socket.close()

    def drop(self):
        """Goes without a word."""
        self.socket.close()


def restart(server, how):
    if how == "kill":
        server.kill()
    else:
        assert server.stop() == 0
    server.start()


@pytest.fixture(params=["reconnect", "kill", "stop"])
def interrupt(request):
    """What comes between two connections of a client."""

    def between(server):
        if request.param != "reconnect":
            restart(server, request.param)

    return between


def publish(server, topic, *payloads, qos=1):
    client = Raw(server, "publisher", clean=True, expiry=None)
    for number, payload in enumerate(payloads, 1):
        client.publish(topic, payload, qos=qos, id=number)
        if qos == 1:
            client.expect(PUBACK, id=number, reason=0)
        elif qos == 2:
            client.expect(PUBREC, id=number)
            client.ack(PUBREL, number)
            client.expect(PUBCOMP, id=number)
    client.disconnect()


# Session present


@pytest.mark.parametrize("level", [4, 5])
def test_session_present_is_true_exactly_where_it_is(server, interrupt, level):
    def connect(clean, expiry=1000):
        client = Raw(server, "present", clean=clean, level=level, expiry=expiry)
        present = client.connack.session_present
        client.drop()
        return present

    assert not connect(clean=False)
    interrupt(server)
    assert connect(clean=False)
    assert not connect(clean=True, expiry=None)
    interrupt(server)
    # The clean one ended it.
    assert not connect(clean=False)
    assert connect(clean=False)


def test_a_session_without_expiry_ends_with_its_connection(server):
    Raw(server, "short", expiry=None).drop()
    assert not Raw(server, "short", expiry=1000).connack.session_present
    client = Raw(server, "short", expiry=None)
    assert client.connack.session_present
    client.drop()
    time.sleep(0.2)
    assert not Raw(server, "short", expiry=None).connack.session_present


def test_expiry_ends_a_session_also_over_a_restart(server):
    client = Raw(server, "expiring", expiry=2)
    client.subscribe(("e", 1))
    client.drop()
    time.sleep(0.5)
    server.kill()
    server.start()
    assert Raw(server, "expiring", expiry=2).connack.session_present
    time.sleep(3)
    # It is connected: nothing expires.
    Raw(server, "expiring", expiry=2).drop()
    time.sleep(3)
    assert not Raw(server, "expiring", expiry=2).connack.session_present


def test_disconnect_changes_the_expiry(server):
    client = Raw(server, "changing", expiry=1000)
    client.disconnect(expiry=0)
    assert not Raw(server, "changing", expiry=1).connack.session_present
    client = Raw(server, "changing", expiry=1)
    client.disconnect(expiry=1000)
    time.sleep(2.5)
    assert Raw(server, "changing", expiry=1000).connack.session_present
    client = Raw(server, "never", expiry=None)
    client.send(packet(0xE0, b"\x00\x05\x11" + struct.pack("!I", 5)))
    client.expect(DISCONNECT, reason=0x82)


# Messages that wait


@pytest.mark.parametrize("level", [3, 4, 5])
@pytest.mark.parametrize("qos", [1, 2])
def test_messages_wait_for_a_client_that_is_away(server, interrupt, level, qos):
    if level == 3:
        client = Raw31(server, "away")
    else:
        client = Raw(server, "away", level=level)
    assert client.subscribe(("wait/#", qos)) == [qos]
    client.drop()
    publish(server, "wait/a", "one", "two", "three", qos=qos)
    publish(server, "wait/a", "never", qos=0)
    interrupt(server)
    client = Raw31(server, "away") if level == 3 else Raw(server, "away", level=level)
    assert client.connack.session_present == (level != 3)
    for payload in ["one", "two", "three"]:
        message = client.expect(PUBLISH, payload=payload, topic="wait/a", qos=qos, dup=False)
        if qos == 1:
            client.ack(PUBACK, message.id)
        else:
            client.ack(PUBREC, message.id)
            # The other messages may come before.
            pending = [client.read()]
            while pending[-1].type != PUBREL:
                pending.append(client.read())
            assert pending.pop().id == message.id
            client.ack(PUBCOMP, message.id)
            client.buffer = b"".join(encode(p) for p in pending) + client.buffer
    client.silent()
    # Acknowledgements are on the disk within a moment.
    time.sleep(0.2)
    client.drop()
    interrupt(server)
    client = Raw31(server, "away") if level == 3 else Raw(server, "away", level=level)
    client.silent()
    # The subscription is still there.
    publish(server, "wait/b", "four", qos=qos)
    client.expect(PUBLISH, payload="four")


def encode(received):
    return packet(received.type << 4 | received.flags, received.body)


class Raw31(Raw):
    """MQTT 3.1: another name, level 3; CONNACK has no session present flag."""

    def __init__(self, server, client_id):
        self.level = 3
        self.buffer = b""
        self.socket = server.connect(server.mqtt_port)
        body = text("MQIsdp") + bytes([3, 0]) + struct.pack("!H", 60) + text(client_id)
        self.socket.sendall(packet(0x10, body))
        self.connack = self.read()


def test_unacknowledged_messages_come_again_with_their_identifiers_in_order(server, interrupt):
    client = Raw(server, "again")
    client.subscribe(("again", 1))
    publish(server, "again", *"abcde")
    first = [client.expect(PUBLISH, dup=False) for _ in range(5)]
    assert [m.payload for m in first] == list("abcde")
    client.ack(PUBACK, first[1].id)
    client.ack(PUBACK, first[3].id)
    client.silent()
    time.sleep(0.1)
    client.drop()
    interrupt(server)
    client = Raw(server, "again")
    again = [client.expect(PUBLISH, dup=True) for _ in range(3)]
    assert [(m.payload, m.id) for m in again] == [(m.payload, m.id) for m in (first[0], first[2], first[4])]
    client.silent()


# QoS 2 to the client, cut at each step


def test_qos_2_to_the_client_survives_a_cut_before_pubrec(server, interrupt):
    client = Raw(server, "cut")
    client.subscribe(("cut", 2))
    publish(server, "cut", "once", qos=2)
    first = client.expect(PUBLISH, payload="once", qos=2)
    time.sleep(0.1)
    client.drop()
    interrupt(server)
    client = Raw(server, "cut")
    client.expect(PUBLISH, payload="once", qos=2, id=first.id, dup=True)
    client.ack(PUBREC, first.id)
    client.expect(PUBREL, id=first.id)
    client.ack(PUBCOMP, first.id)
    client.silent()


def test_qos_2_to_the_client_survives_a_cut_behind_pubrec(server, interrupt):
    client = Raw(server, "cut")
    client.subscribe(("cut", 2))
    publish(server, "cut", "once", "twice", qos=2)
    first = client.expect(PUBLISH, payload="once", qos=2)
    client.expect(PUBLISH, payload="twice", qos=2)
    client.ack(PUBREC, first.id)
    client.expect(PUBREL, id=first.id)
    client.drop()
    interrupt(server)
    client = Raw(server, "cut")
    # PUBREL, and PUBLISH never again.
    client.expect(PUBREL, id=first.id)
    second = client.expect(PUBLISH, payload="twice")
    client.ack(PUBCOMP, first.id)
    client.ack(PUBREC, second.id)
    client.expect(PUBREL, id=second.id)
    client.ack(PUBCOMP, second.id)
    client.silent()
    client.drop()
    interrupt(server)
    Raw(server, "cut").silent()


def test_qos_2_to_the_client_survives_a_cut_behind_pubcomp(server, interrupt):
    client = Raw(server, "cut")
    client.subscribe(("cut", 2))
    publish(server, "cut", "once", qos=2)
    first = client.expect(PUBLISH, payload="once", qos=2)
    client.ack(PUBREC, first.id)
    client.expect(PUBREL, id=first.id)
    client.ack(PUBCOMP, first.id)
    client.silent()
    client.drop()
    interrupt(server)
    client = Raw(server, "cut")
    received = []
    client.send(b"\xc0\x00")
    while not received or received[-1].type != PINGRESP:
        received.append(client.read())
        if received[-1].type == PUBREL:
            client.ack(PUBCOMP, received[-1].id, 0x92)
    # PUBREL may come again after a crash; the message never.
    assert all(p.type in (PUBREL, PINGRESP) for p in received), received


# QoS 2 from the client, cut at each step


def observer(server):
    client = Raw(server, "observer")
    client.subscribe(("exactly/#", 1))
    return client


def collected(client, least=0):
    """Everything that comes until a ping is answered, and so many in any case."""
    payloads = []
    while len(payloads) < least:
        received = client.expect(PUBLISH)
        payloads.append(received.payload)
        client.ack(PUBACK, received.id)
    client.send(b"\xc0\x00")
    while True:
        received = client.read()
        if received.type == PINGRESP:
            return payloads
        if received.type == PUBLISH:
            payloads.append(received.payload)
            client.ack(PUBACK, received.id)


def test_qos_2_from_the_client_is_one_message_cut_behind_publish(server, interrupt):
    watcher = observer(server)
    watcher.drop()
    client = Raw(server, "sender")
    client.publish("exactly/a", "one", qos=2, id=10)
    time.sleep(0.2)
    client.drop()
    interrupt(server)
    client = Raw(server, "sender")
    assert client.connack.session_present
    client.publish("exactly/a", "one", qos=2, id=10, dup=True)
    client.expect(PUBREC, id=10, reason=0)
    client.ack(PUBREL, 10)
    client.expect(PUBCOMP, id=10, reason=0)
    assert collected(Raw(server, "observer"), 1) == ["one"]


def test_qos_2_from_the_client_is_one_message_cut_behind_pubrec(server, interrupt):
    watcher = observer(server)
    watcher.drop()
    client = Raw(server, "sender")
    client.publish("exactly/a", "one", qos=2, id=10)
    client.expect(PUBREC, id=10)
    client.drop()
    interrupt(server)
    client = Raw(server, "sender")
    # The client may not have seen PUBREC, and sends it again; or it has, and releases it.
    client.publish("exactly/a", "one", qos=2, id=10, dup=True)
    client.expect(PUBREC, id=10)
    client.ack(PUBREL, 10)
    client.expect(PUBCOMP, id=10, reason=0)
    client.drop()
    interrupt(server)
    assert collected(Raw(server, "observer"), 1) == ["one"]


def test_qos_2_from_the_client_is_a_new_message_behind_pubcomp(server, interrupt):
    watcher = observer(server)
    watcher.drop()
    client = Raw(server, "sender")
    client.publish("exactly/a", "one", qos=2, id=10)
    client.expect(PUBREC, id=10)
    client.ack(PUBREL, 10)
    client.expect(PUBCOMP, id=10, reason=0)
    client.drop()
    interrupt(server)
    client = Raw(server, "sender")
    client.ack(PUBREL, 10)
    client.expect(PUBCOMP, id=10, reason=0x92)
    client.publish("exactly/a", "two", qos=2, id=10)
    client.expect(PUBREC, id=10, reason=0)
    client.ack(PUBREL, 10)
    client.expect(PUBCOMP, id=10, reason=0)
    assert collected(Raw(server, "observer"), 2) == ["one", "two"]


def test_qos_2_is_exactly_once_while_the_server_is_killed_again_and_again(make_server):
    server = make_server().start()
    watcher = Raw(server, "observer")
    watcher.subscribe(("exactly/#", 2))
    watcher.drop()
    # A client that keeps to the protocol and remembers what it has, over five lives of the server.
    state = {}
    next_message = 0
    for life in range(5):
        client = Raw(server, "sender")
        for id, (payload, step) in sorted(state.items()):
            if step == "publish":
                client.publish("exactly/a", payload, qos=2, id=id, dup=True)
            else:
                client.ack(PUBREL, id)
        killer = threading.Timer(0.15 + 0.07 * life, server.kill)
        killer.start()
        try:
            while True:
                while len(state) < 20:
                    id = next(i for i in range(1, 100) if i not in state)
                    state[id] = (str(next_message), "publish")
                    next_message += 1
                    client.publish("exactly/a", state[id][0], qos=2, id=id)
                received = client.read()
                if received is None:
                    break
                if received.type == PUBREC:
                    state[received.id] = (state[received.id][0], "release")
                    client.ack(PUBREL, received.id)
                elif received.type == PUBCOMP:
                    state.pop(received.id, None)
        except OSError:
            pass
        killer.join()
        server.start()
    client = Raw(server, "sender")
    for id, (payload, step) in sorted(state.items()):
        if step == "publish":
            client.publish("exactly/a", payload, qos=2, id=id, dup=True)
        else:
            client.ack(PUBREL, id)
    while state:
        received = client.read()
        if received.type == PUBREC:
            client.ack(PUBREL, received.id)
        elif received.type == PUBCOMP:
            state.pop(received.id, None)
    watcher = Raw(server, "observer")
    payloads = []
    while len(payloads) < next_message:
        received = watcher.read()
        if received.type == PUBLISH:
            payloads.append(received.payload)
            watcher.ack(PUBREC, received.id)
        elif received.type == PUBREL:
            watcher.ack(PUBCOMP, received.id)
    assert next_message > 20
    assert sorted(payloads, key=int) == [str(n) for n in range(next_message)]


# Takeover


def test_a_takeover_goes_on_where_the_earlier_connection_was(server):
    first = Raw(server, "same")
    first.subscribe(("over", 1))
    publish(server, "over", "a", "b")
    a = first.expect(PUBLISH, payload="a")
    b = first.expect(PUBLISH, payload="b")
    first.ack(PUBACK, a.id)
    first.silent()
    second = Raw(server, "same")
    assert second.connack.session_present
    first.expect(DISCONNECT, reason=0x8E)
    assert first.read() is None
    second.expect(PUBLISH, payload="b", id=b.id, dup=True)
    second.silent()


# Wills


def test_a_will_waits_for_its_delay_and_a_return_withdraws_it(server):
    watcher = Raw(server, "watcher", clean=True, expiry=None)
    watcher.subscribe(("will/#", 1))
    will = {"topic": "will/x", "payload": "gone", "delay": 1}
    Raw(server, "dying", will=will).drop()
    time.sleep(0.3)
    back = Raw(server, "dying", will=will)
    time.sleep(1.5)
    watcher.silent()
    back.drop()
    started = time.monotonic()
    watcher.expect(PUBLISH, topic="will/x", payload="gone")
    assert 0.8 <= time.monotonic() - started <= 4


def test_the_time_of_a_will_counts_from_its_publication(server):
    # MQTT 5.0 §3.1.3.2.4
    watch = Raw(server, "watch", clean=True, expiry=None)
    watch.subscribe(("gone/#", 1))
    expiry = b"\x02" + struct.pack("!I", 1)
    for delay in [2, None]:
        will = {"topic": "gone/x", "payload": "gone", "delay": delay, "properties": expiry}
        Raw(server, "dying", clean=True, will=will).drop()
        watch.ack(PUBACK, watch.expect(PUBLISH, payload="gone", properties=expiry).id)


def test_a_will_that_waits_survives_a_restart_of_the_server(server):
    watcher = Raw(server, "watcher")
    watcher.subscribe(("will/#", 1))
    watcher.drop()
    Raw(server, "dying", will={"topic": "will/x", "payload": "later", "delay": 2}).drop()
    time.sleep(0.3)
    connected = Raw(server, "connected", will={"topic": "will/y", "payload": "crash"})
    connected.silent()
    time.sleep(0.1)
    server.kill()
    server.start()
    watcher = Raw(server, "watcher")
    # The one that was connected is gone with the server; the other waits for its time.
    watcher.expect(PUBLISH, topic="will/y", payload="crash")
    watcher.expect(PUBLISH, topic="will/x", payload="later")


def test_a_will_does_not_outlive_the_session_and_a_clean_start_ends_it(server):
    watcher = Raw(server, "watcher", clean=True, expiry=None)
    watcher.subscribe(("will/#", 1))
    will = {"topic": "will/x", "payload": "gone", "delay": 60}
    Raw(server, "dying", will=will, expiry=1).drop()
    watcher.expect(PUBLISH, payload="gone")
    Raw(server, "dying", will=will, expiry=1000).drop()
    time.sleep(0.2)
    watcher.silent()
    Raw(server, "dying", clean=True).drop()
    watcher.expect(PUBLISH, payload="gone")
    client = Raw(server, "polite", will=will)
    client.disconnect()
    client = Raw(server, "asking", will={**will, "delay": 0})
    client.disconnect(reason=4)
    watcher.expect(PUBLISH, payload="gone")
    watcher.silent()


# Retained messages


def test_retained_messages_come_with_a_subscription(server, interrupt):
    client = Raw(server, "keeper", clean=True, expiry=None)
    for number in range(3):
        client.publish(f"kept/{number}", f"value {number}", qos=1, id=1, retain=True)
        client.expect(PUBACK)
    client.publish("kept/1", "", qos=1, id=1, retain=True)
    client.expect(PUBACK)
    # Without the flag nothing changes.
    client.publish("kept/2", "passing", qos=1, id=1)
    client.expect(PUBACK)
    client.drop()
    interrupt(server)
    client = Raw(server, "reader", clean=True, expiry=None)
    client.subscribe(("kept/+", 1), identifier=9)
    got = [client.expect(PUBLISH, retain=True, qos=1, properties=b"\x0b\x09") for _ in range(2)]
    assert sorted((m.topic, m.payload) for m in got) == [("kept/0", "value 0"), ("kept/2", "value 2")]
    for message in got:
        client.ack(PUBACK, message.id)
    client.silent()
    # Live ones have the flag only where that is asked for.
    publisher = Raw(server, "keeper", clean=True, expiry=None)
    publisher.publish("kept/0", "new", retain=True)
    client.expect(PUBLISH, payload="new", retain=False)
    client.subscribe(("kept/+", 0x08 | 0x20))
    publisher.publish("kept/0", "newer", retain=True)
    client.expect(PUBLISH, payload="newer", retain=True)


def test_retain_handling(server):
    client = Raw(server, "keeper", clean=True, expiry=None)
    client.publish("h", "value", qos=1, id=1, retain=True)
    client.expect(PUBACK)
    reader = Raw(server, "reader", clean=True, expiry=None)
    reader.subscribe(("h", 0x20))
    reader.silent()
    reader.subscribe(("h", 0x10))
    reader.silent()
    reader.unsubscribe("h")
    reader.subscribe(("h", 0x10))
    reader.expect(PUBLISH, payload="value", retain=True, qos=0)
    reader.subscribe(("h", 0x00))
    reader.expect(PUBLISH, payload="value", retain=True, qos=0)


def test_many_retained_messages_come_all(server):
    client = Raw(server, "keeper", clean=True, expiry=None)
    for number in range(2000):
        client.publish(f"many/{number}", "x", retain=True)
    client.publish("many/last", "x", qos=1, id=1, retain=True)
    client.expect(PUBACK)
    reader = Raw(server, "reader", clean=True, expiry=None, properties=b"\x21\x00\x0a")
    reader.subscribe(("many/#", 1))
    topics = set()
    while len(topics) < 2001:
        message = reader.expect(PUBLISH, retain=True)
        assert message.topic not in topics
        topics.add(message.topic)
        if message.qos:
            reader.ack(PUBACK, message.id)


# Overlap, no-local, identifiers


@pytest.mark.parametrize("stored", [False, True])
def test_overlapping_subscriptions_bring_one_copy(server, stored):
    client = Raw(server, "overlap", clean=not stored, expiry=1000 if stored else None)
    client.subscribe(("o/#", 0), identifier=1)
    client.subscribe(("o/+", 2), identifier=2)
    client.subscribe(("o/x", 1), identifier=3)
    publish(server, "o/x", "all", qos=2)
    message = client.expect(PUBLISH, payload="all", qos=2)
    assert message.properties == b"\x0b\x01\x0b\x02\x0b\x03"
    publish(server, "o/x", "low", qos=0)
    message = client.expect(PUBLISH, payload="low", qos=0)
    assert message.properties == b"\x0b\x01\x0b\x02\x0b\x03"
    publish(server, "o/y/z", "one filter", qos=1)
    message = client.expect(PUBLISH, payload="one filter", qos=0)
    assert message.properties == b"\x0b\x01"
    client.silent()


@pytest.mark.parametrize("stored", [False, True])
def test_no_local(server, stored):
    client = Raw(server, "local", clean=not stored, expiry=1000 if stored else None)
    client.subscribe(("own/#", 0x04 | 1))
    client.subscribe(("both/#", 0x04 | 1), ("both/x", 1))
    for qos in (0, 1):
        client.publish("own/a", "mine", qos=qos, id=5)
    client.expect(PUBACK, id=5)
    client.publish("both/x", "wanted once", qos=1, id=6)
    received = {client.read().type, client.read().type}
    assert received == {PUBACK, PUBLISH}
    publish(server, "own/a", "theirs")
    client.expect(PUBLISH, payload="theirs")
    client.silent()


def test_a_subscription_of_a_stored_session_can_be_replaced_and_removed(server, interrupt):
    client = Raw(server, "replacing")
    client.subscribe(("r", 1), identifier=1)
    client.subscribe(("r", 2), identifier=2)
    client.drop()
    interrupt(server)
    publish(server, "r", "x", qos=2)
    client = Raw(server, "replacing")
    message = client.expect(PUBLISH, qos=2, payload="x")
    assert message.properties == b"\x0b\x02"
    client.ack(PUBREC, message.id)
    client.expect(PUBREL)
    client.ack(PUBCOMP, message.id)
    client.subscribe(("r", 0))
    publish(server, "r", "y", qos=1)
    client.expect(PUBLISH, qos=0, payload="y")
    assert client.unsubscribe("r", "s") == [0, 0x11]
    client.drop()
    interrupt(server)
    publish(server, "r", "z", qos=1)
    Raw(server, "replacing").silent()


# Expiry, limits


@pytest.mark.parametrize("stored", [False, True])
def test_message_expiry_counts_down(server, stored):
    client = Raw(server, "counting", clean=not stored, expiry=1000 if stored else None)
    client.subscribe(("x/#", 1))
    if stored:
        client.drop()
    publisher = Raw(server, "publisher", clean=True, expiry=None)
    publisher.publish("x/short", "short", qos=1, id=1, properties=b"\x02" + struct.pack("!I", 1))
    publisher.publish("x/long", "long", qos=1, id=2, properties=b"\x02" + struct.pack("!I", 100))
    publisher.expect(PUBACK)
    publisher.expect(PUBACK)
    if stored:
        time.sleep(2)
        client = Raw(server, "counting")
    else:
        client.expect(PUBLISH, payload="short")
    message = client.expect(PUBLISH, payload="long")
    left = struct.unpack("!I", message.properties[1:5])[0]
    assert 95 <= left <= (98 if stored else 100)
    client.silent()


def test_the_clients_receive_maximum_and_packet_size_hold(server):
    properties = b"\x21\x00\x02" + b"\x27" + struct.pack("!I", 60)
    client = Raw(server, "small", properties=properties)
    client.subscribe(("s", 1))
    publish(server, "s", "a", "x" * 100, "b", "c")
    a = client.expect(PUBLISH, payload="a")
    b = client.expect(PUBLISH, payload="b")
    client.silent()
    client.ack(PUBACK, a.id)
    client.expect(PUBLISH, payload="c")
    client.drop()
    # What was too large counts as delivered.
    client = Raw(server, "small")
    client.expect(PUBLISH, payload="b", id=b.id)
    client.expect(PUBLISH, payload="c")
    client.silent()


def test_topic_aliases_towards_the_client(server):
    client = Raw(server, "alias", clean=True, expiry=None, properties=b"\x22\x00\x01")
    client.subscribe(("t/#", 1))
    publish(server, "t/a", "1", "2")
    publish(server, "t/b", "3")
    publish(server, "t/a", "4")
    got = [client.expect(PUBLISH) for _ in range(4)]
    assert [(m.topic, m.properties) for m in got] == [
        ("t/a", b"\x23\x00\x01"),
        ("", b"\x23\x00\x01"),
        ("t/b", b""),
        ("", b"\x23\x00\x01"),
    ]


# Shared subscriptions


def test_a_shared_subscription_gives_each_message_to_one_member(server):
    members = [Raw(server, f"member {n}", clean=True, expiry=None) for n in range(3)]
    for member in members:
        assert member.subscribe(("$share/g/job/#", 2)) == [2]
    publish(server, "job/a", *[str(n) for n in range(30)])
    got = [collected(member) for member in members]
    deadline = time.monotonic() + 5
    while sum(map(len, got)) < 30 and time.monotonic() < deadline:
        got = [have + collected(member) for have, member in zip(got, members)]
    assert sorted(sum(got, []), key=int) == [str(n) for n in range(30)]
    assert all(len(have) >= 1 for have in got)
    # QoS 0 too.
    publisher = Raw(server, "publisher", clean=True, expiry=None)
    for number in range(30):
        publisher.publish("job/a", f"zero {number}")
    publisher.silent()
    received = []
    for member in members:
        member.send(b"\xc0\x00")
        while (message := member.read()).type != PINGRESP:
            received.append(message.payload)
    assert sorted(received) == sorted(f"zero {n}" for n in range(30))


def test_what_a_member_of_a_group_leaves_goes_to_others(server):
    first = Raw(server, "first", clean=True, expiry=None)
    first.subscribe(("$share/g/job", 1))
    publish(server, "job", "a", "b", "c")
    a = first.expect(PUBLISH, payload="a")
    first.expect(PUBLISH, payload="b")
    first.expect(PUBLISH, payload="c")
    first.ack(PUBACK, a.id)
    first.silent()
    second = Raw(server, "second", clean=True, expiry=None)
    second.subscribe(("$share/g/job", 1))
    second.silent()
    first.drop()
    assert second.expect(PUBLISH).payload == "b"
    assert second.expect(PUBLISH).payload == "c"


@pytest.mark.parametrize("qos", [1, 2])
def test_what_was_sent_does_not_expire_while_its_client_is_away(server, interrupt, qos):
    # [MQTT-4.3.3-7]
    client = Raw(server, "away", properties=b"\x21" + struct.pack("!H", 2))
    client.subscribe(("e/#", qos))
    publisher = Raw(server, "publisher", clean=True, expiry=None)
    for number in range(1, 5):
        publisher.publish("e/x", str(number), qos=1, id=number, properties=b"\x02" + struct.pack("!I", 2))
        publisher.expect(PUBACK)
    if qos == 2:
        publisher.publish("e/x", "5", qos=2, id=5, properties=b"\x02" + struct.pack("!I", 2))
        publisher.expect(PUBREC)
    sent = [client.expect(PUBLISH, payload=str(number)) for number in (1, 2)]
    time.sleep(0.1)
    client.drop()
    interrupt(server)
    time.sleep(2.5)
    client = Raw(server, "away")
    for before in sent:
        again = client.expect(PUBLISH, payload=before.payload, id=before.id, dup=True)
        assert again.properties == b"\x02\0\0\0\0"
        client.ack(PUBACK, again.id)
    # The others were not sent, and have expired.
    client.silent()


@pytest.mark.parametrize("qos", [1, 2])
def test_what_was_sent_before_unsubscribe_is_finished_by_the_next_connection(server, interrupt, qos):
    # [MQTT-3.10.4-3]
    client = Raw(server, "leaving")
    client.subscribe(("u/#", qos))
    publish(server, "u/x", "sent", qos=qos)
    message = client.expect(PUBLISH, payload="sent", qos=qos)
    assert client.unsubscribe("u/#") == [0]
    publish(server, "u/x", "later", qos=qos)
    time.sleep(0.1)
    client.drop()
    interrupt(server)
    client = Raw(server, "leaving")
    client.expect(PUBLISH, payload="sent", qos=qos, id=message.id, dup=True)
    if qos == 1:
        client.ack(PUBACK, message.id)
    else:
        client.ack(PUBREC, message.id)
        client.expect(PUBREL, id=message.id)
        client.ack(PUBCOMP, message.id)
    client.silent()


def test_what_was_sent_does_not_make_room_for_others(make_server):
    server = make_server("full", ["mqtt.max_queued_messages=5"]).start()
    client = Raw(server, "away", properties=b"\x21" + struct.pack("!H", 2))
    client.subscribe(("f", 2))
    publish(server, "f", "1", "2", qos=2)
    for payload in "12":
        client.expect(PUBLISH, payload=payload)
    time.sleep(0.1)
    client.drop()
    publish(server, "f", *"3456789", qos=2)
    client = Raw(server, "away")
    assert [client.expect(PUBLISH, qos=2).payload for _ in range(5)] == list("12789")
    client.silent()


@pytest.mark.parametrize("level", [4, 5])
def test_expiry_counts_down_while_a_message_waits_for_room_in_the_window(make_server, level):
    server = make_server("narrow", ["mqtt.max_in_flight=1"]).start()
    client = Raw(server, "slow", clean=True, level=level, expiry=None)
    client.subscribe(("w", 1))
    publisher = Raw(server, "publisher", clean=True, expiry=None)
    for number, seconds in enumerate([100, 1, 100, None, 1, None], 1):
        properties = b"\x02" + struct.pack("!I", seconds) if seconds else b""
        publisher.publish("w", str(number), qos=1, id=number, properties=properties)
        publisher.expect(PUBACK)
    message = client.expect(PUBLISH, payload="1")
    time.sleep(2.2)
    client.ack(PUBACK, message.id)
    message = client.expect(PUBLISH, payload="3")
    if level == 5:
        assert message.properties in (b"\x02\0\0\0\x62", b"\x02\0\0\0\x61")
    client.ack(PUBACK, message.id)
    client.ack(PUBACK, client.expect(PUBLISH, payload="4").id)
    client.ack(PUBACK, client.expect(PUBLISH, payload="6").id)
    client.silent()


# Shared subscriptions with QoS 2: a message is one member's for good, [MQTT-4.8.2-4] and [MQTT-4.8.2-5]


@pytest.mark.parametrize("step", ["PUBLISH", "PUBREC", "PUBREL"])
def test_a_member_finishes_its_exchange_of_qos_2(server, interrupt, step):
    first = Raw(server, "first")
    assert first.subscribe(("$share/g/job/#", 2), identifier=7) == [2]
    second = Raw(server, "second")
    publish(server, "job/a", "one", qos=2)
    message = first.expect(PUBLISH, payload="one", qos=2, dup=False)
    assert message.properties == b"\x0b\x07"
    assert second.subscribe(("$share/g/job/#", 2)) == [2]
    if step != "PUBLISH":
        first.ack(PUBREC, message.id)
        first.expect(PUBREL, id=message.id)
    if step == "PUBREL":
        first.ack(PUBCOMP, message.id)
        first.silent()
        time.sleep(0.1)
    second.silent()
    # What is sent is in the log within a moment, for the DUP flag.
    time.sleep(0.1)
    first.drop()
    second.drop()
    interrupt(server)
    second = Raw(server, "second")
    second.silent()
    first = Raw(server, "first")
    assert first.connack.session_present
    if step == "PUBLISH":
        again = first.expect(PUBLISH, payload="one", id=message.id, qos=2, dup=True)
        assert again.properties == message.properties
        first.ack(PUBREC, message.id)
    if step != "PUBREL":
        first.expect(PUBREL, id=message.id)
        first.ack(PUBCOMP, message.id)
    first.silent()
    second.silent()
    # Both are members as before.
    time.sleep(0.1)
    publish(server, "job/a", *[str(n) for n in range(10)], qos=2)
    got = [finished(member) for member in (first, second)]
    assert sorted(got[0] + got[1], key=int) == [str(n) for n in range(10)]
    assert got[0] and got[1]


def finished(client, seconds=1.0):
    """The messages that come, each with its exchange finished."""
    payloads = []
    while True:
        try:
            received = client.read(seconds=seconds)
        except TimeoutError:
            return payloads
        if received.type == PUBREL:
            client.ack(PUBCOMP, received.id)
        else:
            assert received.type == PUBLISH
            payloads.append(received.payload)
            client.ack(PUBREC if received.qos == 2 else PUBACK, received.id)


@pytest.mark.parametrize("expiry", [None, 1])
def test_what_was_sent_to_a_member_with_qos_2_goes_to_no_other_though_its_session_ends(server, expiry):
    first = Raw(server, "first", clean=expiry is None, expiry=expiry)
    first.subscribe(("$share/g/job", 2))
    publish(server, "job", "a", "b", qos=2)
    publish(server, "job", "c", qos=1)
    for payload in "abc":
        first.expect(PUBLISH, payload=payload)
    second = Raw(server, "second", clean=True, expiry=None)
    second.subscribe(("$share/g/job", 2))
    first.drop()
    # Of QoS 1 it was promised that somebody gets it.
    assert finished(second) == ["c"]
    if expiry:
        time.sleep(2)
    assert not Raw(server, "first", expiry=expiry).connack.session_present
    second.silent()
    publish(server, "job", "d", qos=2)
    assert finished(second) == ["d"]


def test_a_crash_before_a_member_answers_gives_nobody_else_its_message(server):
    passing = Raw(server, "passing", clean=True, expiry=None)
    passing.subscribe(("$share/g/job", 2))
    stays = Raw(server, "stays")
    publish(server, "job", "a", qos=2)
    passing.expect(PUBLISH, payload="a", qos=2)
    # At once: what it has is known before it has it.
    server.kill()
    server.start()
    stays = Raw(server, "stays")
    stays.subscribe(("$share/g/job", 2))
    stays.silent()


def test_a_member_that_refuses_with_qos_2_ends_a_message(server):
    first = Raw(server, "first")
    first.subscribe(("$share/g/job", 2))
    publish(server, "job", "a", qos=2)
    message = first.expect(PUBLISH, payload="a")
    second = Raw(server, "second")
    second.subscribe(("$share/g/job", 2))
    first.ack(PUBREC, message.id, 0x80)
    first.silent()
    first.drop()
    second.silent()
    Raw(server, "first").silent()


def test_a_member_gets_no_more_of_qos_2_than_its_window(server):
    for stored in [True, False]:
        properties = b"\x21" + struct.pack("!H", 3)
        name = f"narrow {stored}"
        slow = Raw(server, name, clean=not stored, expiry=1000 if stored else None, properties=properties)
        slow.subscribe((f"$share/{stored}/job", 2))
        publish(server, "job", *[str(n) for n in range(20)], qos=2)
        sent = [slow.expect(PUBLISH, payload=str(n)) for n in range(3)]
        slow.silent()
        quick = Raw(server, f"quick {stored}", clean=True, expiry=None)
        quick.subscribe((f"$share/{stored}/job", 2))
        rest = finished(quick)
        # What waits for the slow one is not more than it may have.
        assert set(str(n) for n in range(6, 20)) <= set(rest)
        for message in sent:
            slow.ack(PUBREC, message.id)
            slow.expect(PUBREL, id=message.id)
            slow.ack(PUBCOMP, message.id)
        assert sorted(rest + finished(slow), key=int) == [str(n) for n in range(3, 20)]


def test_a_member_that_unsubscribes_gets_what_was_sent_to_it_with_qos_2(server, interrupt):
    member = Raw(server, "leaving")
    member.subscribe(("$share/g/job", 2))
    publish(server, "job", "a", qos=2)
    message = member.expect(PUBLISH, payload="a", qos=2)
    assert member.unsubscribe("$share/g/job") == [0]
    assert member.subscribe(("other", 1)) == [1]
    time.sleep(0.1)
    member.drop()
    interrupt(server)
    member = Raw(server, "leaving")
    member.expect(PUBLISH, payload="a", qos=2, dup=True, id=message.id)
    member.ack(PUBREC, message.id)
    member.expect(PUBREL, id=message.id)
    member.ack(PUBCOMP, message.id)
    member.silent()


def test_a_group_waits_for_members_with_stored_sessions_only(server, interrupt):
    member = Raw(server, "stored")
    member.subscribe(("$share/g/job", 1))
    member.drop()
    passing = Raw(server, "passing", clean=True, expiry=None)
    passing.subscribe(("$share/h/job", 1))
    passing.drop()
    time.sleep(0.2)
    interrupt(server)
    publish(server, "job", "a")
    member = Raw(server, "stored")
    member.expect(PUBLISH, payload="a")
    passing = Raw(server, "passing", clean=True, expiry=None)
    passing.subscribe(("$share/h/job", 1))
    passing.silent()


def test_delayed_publications(server):
    client = Raw(server, "patient", clean=True, expiry=None)
    client.subscribe(("d/#", 1))
    started = time.monotonic()
    client.publish("$delayed/1/d/x", "later", qos=2, id=1)
    client.expect(PUBREC, id=1, reason=0)
    client.expect(PUBLISH, topic="d/x", payload="later")
    assert time.monotonic() - started >= 0.9
    client.publish("$delayed/soon/d/x", "never", qos=1, id=2)
    client.expect(PUBACK, id=2, reason=0x87)


def test_packets_behind_connect_are_not_lost(server):
    connection = server.connect(server.mqtt_port)
    connect = packet(0x10, text("MQTT") + b"\x04\x00" + struct.pack("!H", 60) + text("hasty"))
    subscribe = packet(0x82, struct.pack("!H", 1) + text("q") + b"\x01")
    publish = packet(0x32, text("q") + struct.pack("!H", 2) + b"body")
    stream = connect + subscribe + publish + b"\xc0\x00"
    connection.sendall(stream[:-1])
    time.sleep(0.1)
    connection.sendall(stream[-1:])
    received = b""
    connection.settimeout(10)
    while b"body" not in received or b"\xd0\x00" not in received:
        received += connection.recv(4096)
    assert received.startswith(b"\x20\x02\x00\x00")
    assert b"\x90\x03\x00\x01\x01" in received
    connection.close()


def test_retained_messages_of_a_stored_session_wait_in_its_inbox(server, interrupt):
    keeper = Raw(server, "keeper", clean=True, expiry=None)
    for number in range(5):
        keeper.publish(f"kept/{number}", f"value {number}", qos=2, id=1, retain=True)
        keeper.expect(PUBREC)
        keeper.ack(PUBREL, 1)
        keeper.expect(PUBCOMP)
    client = Raw(server, "stored", properties=b"\x21\x00\x02")
    assert client.subscribe(("kept/#", 2)) == [2]
    first = client.expect(PUBLISH, retain=True, qos=2, payload="value 0")
    second = client.expect(PUBLISH, retain=True, qos=2, payload="value 1")
    client.ack(PUBREC, first.id)
    client.expect(PUBREL, id=first.id)
    client.drop()
    interrupt(server)
    client = Raw(server, "stored", properties=b"\x21\x00\x02")
    client.expect(PUBREL, id=first.id)
    client.expect(PUBLISH, retain=True, qos=2, payload="value 1", id=second.id)
    client.ack(PUBCOMP, first.id)
    client.expect(PUBLISH, retain=True, qos=2, payload="value 2")
