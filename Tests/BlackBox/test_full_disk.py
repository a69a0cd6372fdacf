"""A full disk refuses writes with the storage error, and loses nothing that was acknowledged."""

import os
import subprocess
import time

import pytest
import sluice_native
from test_cross_protocol import http
from test_mqtt_sessions import PUBCOMP, PUBLISH, PUBREC, PUBREL, Raw, publish
from test_restart import read_all


@pytest.fixture
def small_disk(tmp_path):
    """A file system with room for three segments of 16 MiB."""
    path = tmp_path / "disk"
    path.mkdir()
    mounted = os.geteuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=52m", "tmpfs", str(path)], capture_output=True
    ).returncode == 0
    if not mounted:
        pytest.skip("mounting a small file system needs root")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def test_writes_are_refused_and_nothing_is_lost(small_disk, make_server):
    server = make_server("disk/data").start()
    acknowledged = []
    refusal = None
    body = "x" * 50_000
    with sluice_native.Client(port=server.native_port) as client:
        client.create_topic("big")
        producer = client.producer("big", anonymous=True)
        for number in range(2_000):
            try:
                producer.produce([f"{number}:{body}".encode()])
                acknowledged.append(number)
            except sluice_native.SluiceError as error:
                refusal = error
                break
    assert refusal is not None and refusal.status == 0x8001
    assert len(acknowledged) > 300
    status, problem = http(server, "GET", "/readyz")
    assert status == 503
    # Reading goes on.
    stored = [int(body.split(":")[0]) for body in read_all(server, "big")]
    assert stored == acknowledged
    server.kill()
    server.start()
    assert [int(body.split(":")[0]) for body in read_all(server, "big")] == acknowledged
    server.kill()


def test_writes_go_on_once_there_is_room(small_disk, make_server):
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"\0" * (18 << 20))
    server = make_server("disk/data").start()
    body = b"x" * 50_000
    with sluice_native.Client(port=server.native_port) as client:
        client.create_topic("big")
        producer = client.producer("big", anonymous=True)
        stored = 0
        with pytest.raises(sluice_native.SluiceError):
            for _ in range(2_000):
                producer.produce([body])
                stored += 1
        ballast.unlink()
        deadline = time.monotonic() + 20
        while True:
            try:
                producer.produce([body])
                break
            except sluice_native.SluiceError:
                assert time.monotonic() < deadline, "still refused after room was made"
                time.sleep(0.2)
    assert len(read_all(server, "big")) == stored + 1
    server.stop()


def test_a_member_of_a_group_gets_its_messages_once_there_is_room(small_disk, make_server):
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"\0" * (18 << 20))
    server = make_server("disk/data").start()
    member = Raw(server, "member", properties=b"\x21\0\1")
    assert member.subscribe(("$share/g/job", 2)) == [2]
    publish(server, "job", "first", "second", "third", qos=2)
    first = member.expect(PUBLISH, payload="first")
    with sluice_native.Client(port=server.native_port) as client:
        client.create_topic("big")
        producer = client.producer("big", anonymous=True)
        for size in [50_000, 2_000, 50, 1]:
            with pytest.raises(sluice_native.SluiceError):
                for _ in range(2_000):
                    producer.produce([b"x" * size])
    # It refuses one, and could have the next.
    member.ack(PUBREC, first.id, 0x80)
    time.sleep(1.5)
    member.silent()
    ballast.unlink()
    got = []
    while len(got) < 2:
        received = member.read(seconds=20)
        assert received is not None, "the member was closed"
        if received.type == PUBLISH:
            got.append(received.payload)
            member.ack(PUBREC, received.id)
        else:
            assert received.type == PUBREL
            member.ack(PUBCOMP, received.id)
    assert sorted(got) == ["second", "third"]
    server.stop()
