"""Values under $SYS, as Mosquitto publishes them."""

import re
import time

import pytest
from test_mqtt_sessions import DISCONNECT, PUBACK, PUBLISH, Raw


@pytest.fixture
def quick(make_server):
    return make_server("quick", ["mqtt.sys_interval=200ms"]).start()


def until(client, topic, condition, seconds=10):
    """Reads values until one of the topic is as it is to be."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        received = client.read()
        assert received.type == PUBLISH
        if received.topic == topic and condition(received.payload):
            return received
    raise AssertionError(f"{topic} did not become what it is to be")


def values(client, *filters):
    """What comes with a subscription."""
    client.subscribe(*filters)
    client.send(b"\xc0\x00")
    result = {}
    while (received := client.read()).type == PUBLISH:
        assert received.retain and received.qos == 0
        result[received.topic] = received.payload
    return result


def test_values_come_with_the_subscription(server):
    found = values(Raw(server, "watch", clean=True), ("$SYS/#", 1))
    assert re.fullmatch(r"sluice version \S+", found["$SYS/broker/version"])
    assert re.fullmatch(r"\d+ seconds", found["$SYS/broker/uptime"])
    for name in [
        "bytes/received", "bytes/sent", "clients/connected", "clients/active", "clients/maximum", "messages/received",
        "messages/sent", "publish/messages/received", "publish/messages/sent",
        "publish/messages/dropped", "publish/bytes/received", "publish/bytes/sent", "subscriptions/count",
        "shared_subscriptions/count", "retained messages/count",
    ]:
        assert re.fullmatch(r"\d+", found["$SYS/broker/" + name]), name
    for name in ["messages/received", "publish/sent", "bytes/received", "sockets", "connections"]:
        for minutes in ["1min", "5min", "15min"]:
            assert re.fullmatch(r"\d+\.\d\d", found[f"$SYS/broker/load/{name}/{minutes}"])


def test_they_follow_what_happens(quick):
    watch = Raw(quick, "watch", clean=True)
    watch.subscribe(("$SYS/broker/publish/messages/received", 0), ("$SYS/broker/clients/connected", 0))
    publisher = Raw(quick, "publisher", clean=True)
    for number in range(1, 8):
        publisher.publish("a", "x", qos=1, id=number, retain=True)
        publisher.expect(PUBACK)
    assert not until(watch, "$SYS/broker/publish/messages/received", lambda text: text == "7").retain
    publisher.drop()
    until(watch, "$SYS/broker/clients/connected", lambda text: text == "1")
    watch.subscribe(("$SYS/broker/retained messages/count", 0), ("$SYS/broker/load/publish/received/1min", 0))
    until(watch, "$SYS/broker/retained messages/count", lambda text: text == "1")


def test_sessions_of_clients_that_are_away_are_counted(quick):
    name = "$SYS/broker/clients/"
    stored = Raw(quick, "stored", expiry=1000)
    stored.subscribe(("a", 1), ("b", 0), ("$share/g/c", 2))
    Raw(quick, "x" * 300, expiry=1000).drop()
    watch = Raw(quick, "watch", clean=True, expiry=None)
    watch.subscribe((name + "total", 0), (name + "disconnected", 0), (name + "expired", 0), ("$SYS/broker/subscriptions/count", 0))
    until(watch, name + "disconnected", lambda text: text == "1")
    stored.drop()
    until(watch, name + "disconnected", lambda text: text == "2")
    watch.drop()
    quick.kill()
    quick.start()
    watch = Raw(quick, "watch", clean=True, expiry=None)
    watch.subscribe((name + "#", 0), ("$SYS/broker/subscriptions/count", 0))
    until(watch, name + "disconnected", lambda text: text == "2")
    until(watch, "$SYS/broker/subscriptions/count", lambda text: text == "5")
    stored = Raw(quick, "stored", expiry=1)
    until(watch, name + "disconnected", lambda text: text == "1")
    stored.unsubscribe("b")
    until(watch, "$SYS/broker/subscriptions/count", lambda text: text == "4")
    stored.drop()
    until(watch, name + "total", lambda text: text == "2")
    until(watch, name + "expired", lambda text: text == "1")
    watch.unsubscribe("$SYS/broker/subscriptions/count")
    assert values(watch, ("$SYS/broker/subscriptions/count", 0))["$SYS/broker/subscriptions/count"] in ("1", "2")


def test_wildcards_at_the_beginning_do_not_see_them(quick):
    # [MQTT-4.7.2-1]
    client = Raw(quick, "all", clean=True)
    assert values(client, ("#", 0), ("+/broker/version", 0), ("+/#", 0)) == {}
    time.sleep(0.5)
    client.silent()
    assert list(values(client, ("$SYS/+/version", 0))) == ["$SYS/broker/version"]


@pytest.mark.parametrize("clean", [True, False])
def test_a_session_gets_them_once(quick, clean):
    client = Raw(quick, f"session{clean}", clean=clean)
    assert len(values(client, ("$SYS/broker/version", 2), ("$SYS/broker/uptime", 1))) == 2
    until(client, "$SYS/broker/uptime", lambda text: text == "1 seconds")
    client.unsubscribe("$SYS/broker/uptime")
    client.drop()
    again = Raw(quick, f"session{clean}", clean=False)
    time.sleep(0.5)
    again.silent()


def test_retain_handling_counts_for_them(server):
    client = Raw(server, "handling", clean=True)
    assert values(client, ("$SYS/broker/version", 0x20)) == {}
    assert len(values(client, ("$SYS/broker/uptime", 0x10))) == 1
    assert values(client, ("$SYS/broker/uptime", 0x10)) == {}


def test_clients_cannot_publish_them(server):
    watch = Raw(server, "watch", clean=True)
    values(watch, ("$SYS/#", 0))
    client = Raw(server, "liar", clean=True)
    client.publish("$SYS/broker/version", "mine", qos=1, id=1)
    client.expect(PUBACK, reason=0x87)
    client.publish("$SYS/broker/version", "mine", retain=True)
    client.silent()
    watch.silent()
    assert "mine" not in values(Raw(server, "other", clean=True), ("$SYS/#", 0)).values()


def test_they_can_be_switched_off(make_server):
    server = make_server("off", ["mqtt.sys_interval=0s"]).start()
    assert values(Raw(server, "watch", clean=True), ("$SYS/#", 0)) == {}
