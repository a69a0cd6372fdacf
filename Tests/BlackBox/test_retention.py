"""What is not kept any more leaves the disk; what somebody still needs stays, through kills and without the derived files."""

import pathlib
import shutil
import time

import pytest
import sluice_native
from test_cross_protocol import http
from test_full_disk import small_disk  # noqa: F401 (a fixture)

MIB = 1 << 20
SMALL = [
    "storage.segment_size=1MiB", "storage.max_batch_size=256KiB", "storage.tail_cache=1MiB",
    "mqtt.max_packet_size=128KiB",
]
BODY = "x" * 20_000
STORAGE_FULL = 0x8001
OUT_OF_RANGE = 0x6003


def disk_bytes(server):
    """What the log and its derived files take."""
    shard = pathlib.Path(server.data_dir) / "shards" / "0"
    return sum(file.stat().st_blocks * 512 for file in shard.rglob("*") if file.is_file())


def numbers(client, topic):
    """The numbers in front of the bodies of all messages that a topic has, from its first offset on."""
    first, end = client.describe_topic(topic)["partitions"][0]
    found, offset = [], first
    while offset < end:
        try:
            records, _, _ = client.fetch(topic, offset, max_bytes=4 << 20)
        except sluice_native.SluiceError as error:
            # More went meanwhile.
            assert error.status == OUT_OF_RANGE
            return numbers(client, topic)
        assert records, f"nothing at {offset} of {first}...{end}"
        found += [int(record.body.split(b":")[0]) for record in records]
        offset = records[-1].offset + 1
    return found


def waiting(server, inbox, count):
    """The numbers of what an inbox has, which goes back with the end of the connection."""
    with sluice_native.Client(port=server.native_port) as client:
        records = client.consumer(inbox, messages=count, size=1 << 30).take(count)
        return [int(record.body.split(b":")[0]) for record in records]


def eventually(condition, seconds=30, pause=0.2):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(pause)


def test_a_limited_topic_shrinks_and_what_others_need_stays(make_server):
    server = make_server(settings=SMALL).start()
    kept = list(range(0, 1_500, 50))
    with sluice_native.Client(port=server.native_port) as client:
        client.create_topic("ring", max_bytes=3 * MIB)
        client.create_subscription("keeper", bindings=[sluice_native.binding("ring/keep")], lease_us=0)
        ring = client.producer("ring", anonymous=True)
        keep = client.producer("ring/keep", anonymous=True)
        for number in range(1_500):
            producer = keep if number in kept else ring
            producer.produce([f"{number}:{BODY}".encode()])
        # 30 MiB were stored. Live are three of the topic and 600 KiB of the inbox, beside two segments.
        eventually(lambda: disk_bytes(server) < 1.5 * 3.6 * MIB + 4 * MIB)
        eventually(lambda: len(numbers(client, "ring")) * len(BODY) <= 3 * MIB)
        stored = numbers(client, "ring")
        assert stored == list(range(1_500 - len(stored), 1_500))
        assert len(stored) * len(BODY) > 2 * MIB
        with pytest.raises(sluice_native.SluiceError) as refusal:
            client.fetch("ring", 0)
        assert "offset" in str(refusal.value)
        assert waiting(server, "keeper", len(kept)) == kept
    for without_files in (False, True, False):
        server.kill()
        if without_files:
            shutil.rmtree(f"{server.data_dir}/shards/0/files")
        server.start()
        with sluice_native.Client(port=server.native_port) as client:
            assert numbers(client, "ring") == stored
            assert client.describe_subscription("keeper")["lanes"][0]["backlog"] == len(kept)
            assert waiting(server, "keeper", len(kept)) == kept
    assert disk_bytes(server) < 1.5 * 3.6 * MIB + 4 * MIB
    server.stop()
    assert "damage" not in server.log_text()


def test_messages_go_when_their_time_is_over(make_server):
    server = make_server(settings=SMALL).start()
    with sluice_native.Client(port=server.native_port) as client:
        client.create_topic("short", max_age_us=1_500_000)
        producer = client.producer("short", anonymous=True)
        for number in range(600):
            producer.produce([f"{number}:{BODY}".encode()])
        eventually(lambda: client.describe_topic("short")["partitions"][0] == (600, 600))
        eventually(lambda: disk_bytes(server) < 5 * MIB)
        # The built-in topic keeps a day.
        assert client.describe_topic("default")["policy"]["max_age_us"] == 86_400_000_000
    server.stop()


def test_watermarks(small_disk, make_server):  # noqa: F811
    server = make_server("disk/data", settings=SMALL).start()
    body = "x" * 60_000

    def is_accepted(producer, number):
        try:
            producer.produce([f"{number}:{body}".encode()])
            return True
        except sluice_native.SluiceError as error:
            assert error.status == STORAGE_FULL
            return False

    with sluice_native.Client(port=server.native_port) as client:
        client.create_topic("history", max_age_us=86_400_000_000)
        history = client.producer("history", anonymous=True)
        # Twice what the disk holds: the oldest go before their time, which makes room for the others.
        for number in range(1_750):
            eventually(lambda: is_accepted(history, number), pause=0.02)
        stored = numbers(client, "history")
        assert stored == list(range(1_750 - len(stored), 1_750)) and 150 < len(stored) < 800
        assert "before their time" in server.log_text()
        # What subscriptions need is not let go for that: what comes is refused once all the rest has gone.
        client.create_topic("work", retention=1)
        client.create_subscription("worker", bindings=[sluice_native.binding("work/#")], lease_us=0)
        work = client.producer("work", anonymous=True)

        def history_is_gone():
            first, end = client.describe_topic("history")["partitions"][0]
            return (end - first) * len(body) < MIB

        accepted, refused_at = 0, None
        while accepted < 1_750:
            if is_accepted(work, accepted):
                accepted, refused_at = accepted + 1, None
                continue
            # What has gone needs a moment to leave the disk.
            refused_at = refused_at or time.monotonic()
            if history_is_gone() and time.monotonic() - refused_at > 2:
                break
            assert time.monotonic() - refused_at < 30, "it is refused with room that could be made"
            time.sleep(0.02)
        assert 300 < accepted < 900
        assert http(server, "GET", "/readyz")[0] == 503
        assert "no messages are stored" in server.log_text()
        # Reading and acknowledging go on, and make room.
        consumer = client.consumer("worker", messages=100_000, size=1 << 30)
        done = 0
        while done < accepted:
            records = consumer.next_delivery()
            done += len(records)
            consumer.accept(records, wait=False)
        eventually(lambda: is_accepted(work, accepted))
        assert http(server, "GET", "/readyz")[0] == 200
    server.kill()
    server.start()
    with sluice_native.Client(port=server.native_port) as client:
        assert waiting(server, "worker", 1) == [accepted]
    server.kill()
