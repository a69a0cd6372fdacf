"""Enhanced authentication with SCRAM-SHA-256, by a client that is written out here (RFC 5802, MQTT 5.0 §4.12)."""

import base64
import hashlib
import hmac
import os
import struct

import pytest
from conftest import read_until_closed
from test_mqtt_sessions import CONNACK, DISCONNECT, PUBACK, Raw, packet, read_varint, text, varint

AUTH = 15


@pytest.fixture
def guarded(make_server):
    """A server that knows alice, and nobody who does not say who he is."""
    probe = make_server("probe")
    entry = probe.sluice("config", "user", "alice", input="wonderland\n").stdout.strip()
    assert entry.startswith("alice=SCRAM-SHA-256$4096:")
    return make_server("guarded", [f"mqtt.scram_users={entry}", "mqtt.allow_anonymous=false"]).start()


class Scram:
    def __init__(self, user="alice", password="wonderland"):
        self.user, self.password = user, password
        self.nonce = base64.b64encode(os.urandom(12)).decode()
        self.bare = f"n={user},r={self.nonce}"

    @property
    def first(self):
        return ("n,," + self.bare).encode()

    def final(self, challenge):
        challenge = challenge.decode()
        fields = dict(part.split("=", 1) for part in challenge.split(","))
        assert fields["r"].startswith(self.nonce) and len(fields["r"]) > len(self.nonce)
        salted = hashlib.pbkdf2_hmac(
            "sha256", self.password.encode(), base64.b64decode(fields["s"]), int(fields["i"])
        )
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        without_proof = f"c=biws,r={fields['r']}"
        signed = ",".join([self.bare, challenge, without_proof]).encode()
        signature = hmac.digest(hashlib.sha256(client_key).digest(), signed, "sha256")
        proof = base64.b64encode(bytes(a ^ b for a, b in zip(client_key, signature))).decode()
        server_key = hmac.digest(salted, b"Server Key", "sha256")
        self.expected = b"v=" + base64.b64encode(hmac.digest(server_key, signed, "sha256"))
        return f"{without_proof},p={proof}".encode()


def properties(body):
    """Method, data and reason string of a packet's properties."""
    size, place = read_varint(body, 0)
    end, found = place + size, {}
    lengths = {0x11: 4, 0x21: 2, 0x22: 2, 0x27: 4, 0x13: 2, 0x24: 1, 0x25: 1, 0x28: 1, 0x29: 1, 0x2A: 1}
    while place < end:
        key = body[place]
        place += 1
        if key in lengths:
            place += lengths[key]
            continue
        length = struct.unpack_from("!H", body, place)[0]
        found[key] = body[place + 2 : place + 2 + length]
        place += 2 + length
    return found


def with_properties(*pairs):
    body = b"".join(bytes([key]) + text(value) for key, value in pairs)
    return varint(len(body)) + body


class Client(Raw):
    """Sends CONNECT with a method, and reads what comes as it comes."""

    def __init__(self, server, scram, method="SCRAM-SHA-256"):
        self.level, self.buffer = 5, b""
        self.socket = server.connect(server.mqtt_port)
        body = text("MQTT") + b"\x05\x02\x00\x3c" + with_properties((0x15, method), (0x16, scram.first))
        self.send(packet(0x10, body + text("c")))

    def auth(self, reason, data, method="SCRAM-SHA-256"):
        self.send(packet(0xF0, bytes([reason]) + with_properties((0x15, method), (0x16, data))))

    def challenge(self):
        received = self.expect(AUTH)
        found = properties(received.body[1:])
        assert received.body[0] == 0x18 and found[0x15] == b"SCRAM-SHA-256"
        return found[0x16]


def signed_in(server):
    scram = Scram()
    client = Client(server, scram)
    client.auth(0x18, scram.final(client.challenge()))
    connack = client.expect(CONNACK, reason=0)
    found = properties(connack.properties)
    assert found[0x15] == b"SCRAM-SHA-256" and found[0x16] == scram.expected
    return client


def test_who_has_the_password_gets_in(guarded):
    client = signed_in(guarded)
    client.publish("a", "x", qos=1, id=1)
    client.expect(PUBACK, id=1, reason=0)


@pytest.mark.parametrize("scram", [Scram(password="looking-glass"), Scram(user="mallory")], ids=["password", "user"])
def test_who_has_not_is_refused(guarded, scram):
    client = Client(guarded, scram)
    client.auth(0x18, scram.final(client.challenge()))
    client.expect(CONNACK, reason=0x87)
    assert client.read() is None


def test_who_does_not_say_who_he_is_is_refused(guarded):
    with guarded.connect(guarded.mqtt_port) as connection:
        connection.sendall(packet(0x10, text("MQTT") + b"\x04\x02\x00\x3c" + text("c")))
        assert read_until_closed(connection) == b"\x20\x02\x00\x05"
    with guarded.connect(guarded.mqtt_port) as connection:
        connection.sendall(packet(0x10, text("MQTT") + b"\x05\x02\x00\x3c\x00" + text("c")))
        assert read_until_closed(connection)[3] == 0x87


def test_another_method_is_refused(guarded, server):
    for each in [guarded, server]:
        Client(each, Scram(), method="PLAIN").expect(CONNACK, reason=0x8C)
    Client(server, Scram()).expect(CONNACK, reason=0x8C)


def test_other_packets_wait_for_nobody(guarded):
    client = Client(guarded, Scram())
    client.challenge()
    client.publish("a", "x", qos=1, id=1)
    client.expect(CONNACK, reason=0x82)
    assert client.read() is None


def test_a_client_authenticates_again(guarded):
    client = signed_in(guarded)
    for _ in range(2):
        scram = Scram()
        client.auth(0x19, scram.first)
        challenge = client.challenge()
        # Messages go on meanwhile.
        client.publish("a", "x", qos=1, id=1)
        client.expect(PUBACK, id=1, reason=0)
        client.auth(0x18, scram.final(challenge))
        received = client.expect(AUTH)
        assert received.body[0] == 0 and properties(received.body[1:])[0x16] == scram.expected
        client.silent()


def test_who_fails_to_authenticate_again_goes(guarded):
    client = signed_in(guarded)
    scram = Scram(password="other")
    client.auth(0x19, scram.first)
    client.auth(0x18, scram.final(client.challenge()))
    client.expect(DISCONNECT, reason=0x87)
    assert client.read() is None


def test_auth_that_nobody_waits_for_is_a_protocol_error(guarded, server):
    client = signed_in(guarded)
    client.auth(0x18, b"x")
    client.expect(DISCONNECT, reason=0x82)
    client = Raw(server, "plain", clean=True)
    client.send(packet(0xF0, b"\x19" + with_properties((0x15, "SCRAM-SHA-256"))))
    client.expect(DISCONNECT, reason=0x82)


def test_a_user_must_be_as_the_console_writes_it(server):
    result = server.sluice("config", "show", "--set", "mqtt.scram_users=alice=secret", check=False)
    assert result.returncode != 0 and "sluice config user" in result.stderr
    entry = server.sluice("config", "user", "a", input="x\n").stdout.strip()
    shown = server.sluice("config", "show", "--set", f"mqtt.scram_users={entry}").stdout
    assert "a=SCRAM-SHA-256$4096:" in shown
    # What is secret is not shown.
    assert entry.split("$")[2] not in shown
