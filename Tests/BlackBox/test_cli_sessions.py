"""`sluice session` and `sluice retained`: looking after MQTT clients from the console."""

import json

from test_mqtt_sessions import DISCONNECT, PUBACK, PUBLISH, Raw, publish, restart


def shown(server, client):
    return json.loads(server.sluice("session", "show", client, "-o", "json").stdout)


def test_a_session_is_shown_as_it_is(server):
    client = Raw(server, "dev/1", clean=False, expiry=3600, keepalive=30, will={"topic": "gone", "payload": "x", "delay": 5})
    client.subscribe(("a/+", 1), ("b", 0), identifier=7)
    client.subscribe(("$share/g/c", 0x09))
    publish(server, "a/1", "one", "two")
    first = client.expect(PUBLISH)
    client.expect(PUBLISH)
    client.ack(PUBACK, first.id)
    client.silent()
    session = shown(server, "dev/1")
    assert session["connected"] is True and session["stored"] is True
    assert session["protocol"] == "MQTT 5.0" and session["address"].startswith("127.0.0.1:")
    assert session["keep_alive"] == "30s" and session["kept_for"] == "1h"
    assert (session["queued"], session["in_flight"]) == (1, 1)
    assert "has 1 message to acknowledge" in session["state"]
    assert session["will"] == "gone, if the client is lost, 5s later"
    assert {(s["filter"], s["qos"], s["identifier"]) for s in session["subscriptions"]} == {
        ("a/+", 1, 7), ("b", 0, 7), ("$share/g/c", 1, None),
    }
    client.drop()
    publish(server, "a/1", "three")
    restart(server, "stop")
    session = shown(server, "dev/1")
    assert session["connected"] is False and session["queued"] == 2
    assert session["state"] == "away: 2 messages wait for its return, within 1h of its leaving"


def test_all_sessions_are_listed(server):
    clients = [Raw(server, f"stored{number}", clean=False, expiry=60) for number in range(3)]
    clients += [Raw(server, f"clean{number}", clean=True, expiry=None) for number in range(3)]
    clients[1].drop()
    rows = json.loads(server.sluice("session", "list", "-o", "json").stdout)
    assert [(row["client"], row["connected"]) for row in rows] == [
        ("stored0", True), ("stored1", False), ("stored2", True), ("clean0", True), ("clean1", True), ("clean2", True),
    ]
    rows = json.loads(server.sluice("session", "list", "--connected", "--limit", "4", "-o", "json").stdout)
    assert [row["client"] for row in rows] == ["stored0", "stored2", "clean0", "clean1"]


def test_pages_of_sessions_hold_all(server):
    clients = [Raw(server, f"c{number:03}", clean=number % 2 == 0, expiry=60 if number % 2 else None) for number in range(40)]
    from urllib.request import urlopen

    seen, token = [], ""
    while True:
        with urlopen(f"http://127.0.0.1:{server.http_port}/v1/sessions?limit=7{token}") as answer:
            page = json.load(answer)
        assert len(page["sessions"]) <= 7
        seen += [session["client"] for session in page["sessions"]]
        if "next_page_token" not in page:
            break
        token = "&page_token=" + page["next_page_token"]
    assert sorted(seen) == sorted(f"c{number:03}" for number in range(40))
    for client in clients:
        client.drop()


def test_kick_ends_the_connection_and_keeps_the_session(server):
    client = Raw(server, "k", clean=False)
    client.subscribe(("x", 1))
    assert "client k disconnected" in server.sluice("session", "kick", "k").stderr
    assert client.expect(DISCONNECT).reason == 0x98
    assert Raw(server, "k", clean=False).connack.session_present


def test_purge_ends_the_session_too(server):
    client = Raw(server, "p", clean=False)
    client.subscribe(("x", 1))
    asked = server.sluice("session", "purge", "p", check=False)
    assert asked.returncode == 64 and "--yes" in asked.stderr
    server.sluice("session", "purge", "p", "--yes")
    assert client.expect(DISCONNECT).reason == 0x98
    assert not Raw(server, "p", clean=False).connack.session_present
    # One that is away as well.
    Raw(server, "away", clean=False).drop()
    server.sluice("session", "purge", "away", "--yes")
    assert not Raw(server, "away", clean=False).connack.session_present


def test_who_is_not_there_is_not_found(server):
    for arguments in [("show", "nobody"), ("kick", "nobody"), ("purge", "nobody", "--yes")]:
        result = server.sluice("session", *arguments, check=False)
        assert result.returncode == 4, result
        assert "nobody" in result.stderr


def test_last_values_are_listed_read_and_cleared(server):
    for topic, body in [("r/a", "one"), ("r/b", "two"), ("s/a", "three")]:
        assert server.mosquitto_pub("-t", topic, "-m", body, "-r", "-q", "1").returncode == 0
    assert len(server.sluice("retained", "r/#").stdout.splitlines()) == 2
    assert len(server.sluice("retained", "list").stdout.splitlines()) == 3
    assert server.sluice("retained", "get", "r/b").stdout == "two"
    missing = server.sluice("retained", "get", "r/c", check=False)
    assert missing.returncode == 4 and "r/c has no last value" in missing.stderr
    assert server.sluice("retained", "get", "r/#", check=False).returncode == 64
    assert server.sluice("retained", "clear", "r/#", check=False).returncode == 64
    assert "2 last values cleared" in server.sluice("retained", "clear", "r/#", "--yes").stderr
    rows = json.loads(server.sluice("retained", "list", "-o", "json").stdout)
    assert [row["name"] for row in rows] == ["s/a"]
    # Subscribers see it as well.
    client = Raw(server, "late", clean=True)
    client.subscribe(("#", 0))
    assert client.expect(PUBLISH).topic == "s/a"
    client.silent()
