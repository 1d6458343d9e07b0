"""What is written of a dynamic update is what dnspython reads, signature and all."""

from __future__ import annotations

import dns.message
import dns.rcode
import dns.tsig
import dns.tsigkeyring
import dns.update
import pytest
from crowbar_dns.comparing import Edit
from crowbar_dns.drivers.messages import update_message

RING = dns.tsigkeyring.from_text({"crowbar": ("hmac-sha256", "Y3Jvd2JhciB0ZWxscyBuYW1lcyB0byBzZXJ2ZXJzIQ==")})
ZONE = "example.test"
LONG = "x" * 300
EDITS = [
    Edit(name="a.b.example.test", type="A", values=frozenset(("10.0.0.2", "10.0.0.1")), ttl=60, new=True),
    Edit(name="a.b.example.test", type="AAAA", values=frozenset(("fd00::1",))),
    Edit(name="new.example.test", type="CNAME", values=frozenset(("a.b.example.test",)), new=True),
    Edit(name="example.test", type="TXT", values=frozenset(('"ä\\', LONG)), ttl=5),
    Edit(name="_ssh._tcp.example.test", type="SRV", values=frozenset(("0 5 22 a.b.example.test",)), ttl=5),
    Edit(name="www.example.test", type="CNAME", values=frozenset(("a.b.other.test",))),
    Edit(name="odd\\032name.example.test", type="PTR"),
    Edit(name="elsewhere.invalid", type="MX", values=frozenset(("5 mail.invalid.",))),
]
_OTHERWISE = ("id ", "rcode ", "flags ", "crowbar. ")
READ = """\
opcode UPDATE
;ZONE
example.test. IN SOA
;PREREQ
a.b.example.test. NONE A
a.b.example.test. NONE CNAME
new.example.test. NONE ANY
;UPDATE
a.b.example.test. 60 IN A 10.0.0.1
a.b.example.test. 60 IN A 10.0.0.2
a.b.example.test. ANY AAAA
a.b.example.test. 300 IN AAAA fd00::1
new.example.test. 300 IN CNAME a.b.example.test.
example.test. ANY TXT
example.test. 5 IN TXT "\\"\\195\\164\\\\"
example.test. 5 IN TXT "{}" "{}"
_ssh._tcp.example.test. ANY SRV
_ssh._tcp.example.test. 5 IN SRV 0 5 22 a.b.example.test.
www.example.test. ANY CNAME
www.example.test. 300 IN CNAME a.b.other.test.
odd\\032name.example.test. ANY PTR
elsewhere.invalid. ANY MX
elsewhere.invalid. 300 IN MX 5 mail.invalid.
;ADDITIONAL
""".format("x" * 250, "x" * 50)


def test_an_update_is_read_as_it_was_meant() -> None:
    wire, mac = update_message(ZONE, EDITS, next(iter(RING.values())), 4711)
    read = dns.message.from_wire(wire, keyring=RING)
    lines = [line for line in read.to_text().splitlines() if not line.startswith(_OTHERWISE)]
    assert "\n".join([*lines, ""]) == READ
    assert read.had_tsig
    assert read.mac == mac
    with pytest.raises(dns.tsig.BadSignature):
        dns.message.from_wire(wire.replace(b"\x0a\x00\x00\x01", b"\x0a\x00\x00\x09"), keyring=RING)


def test_without_a_key_it_is_not_signed() -> None:
    wire, mac = update_message(ZONE, EDITS[:1], None, 4711)
    assert mac == b""
    assert not dns.message.from_wire(wire).had_tsig
