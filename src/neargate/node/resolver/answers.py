"""Answers to queries for our names, as messages. Called by server.py; what is not ours goes to forward.py.

A CNAME that leads out of our zones is followed there, as a stub resolver expects it: it asks once.
"""

import random
from collections.abc import Awaitable, Callable

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from neargate.model.zones import HOST_TTL, RecordSet, Zone
from neargate.node.resolver.book import Book

PAYLOAD = 1232
_PLAIN_PAYLOAD = 512
_LONGEST_CHAIN = 8
_ANY_TTL = 0
_random = random.SystemRandom()

Ask = Callable[[dns.message.Message], Awaitable[dns.message.Message | None]]
"""A query of our own, upstream; None if nobody answers."""


def read(data: bytes) -> dns.message.Message | None:
    """A query that can be worked on; None for anything else. Bounds the work before it is parsed."""
    if not 12 <= len(data) <= PAYLOAD or data[2] & 0xF8:  # an answer, or what is no question
        return None
    questions, answers, authorities, more = (int.from_bytes(data[at : at + 2]) for at in (4, 6, 8, 10))
    if questions != 1 or answers or authorities or more > 2:
        return None
    try:
        return dns.message.from_wire(data)
    except Exception:  # whatever hostile bytes bring a parser to
        return None


class Answerer:
    def __init__(self, query: dns.message.Message, book: Book) -> None:
        self._query = query
        self._book = book
        self.response = dns.message.make_response(query, recursion_available=True, our_payload=PAYLOAD)
        self._question = query.question[0]
        self._type = self._question.rdtype

    @property
    def ours(self) -> bool:
        """To be answered here, if only by a refusal."""
        if self._refusal() is not None:
            return True
        name = _text(self._question.name)
        if self._book.host(name):
            return True
        return self._book.known(name) is not None or self._book.pointer(name) is not None

    def _refusal(self) -> dns.rcode.Rcode | None:
        if self._query.edns > 0:
            return dns.rcode.BADVERS
        if self._question.rdclass != dns.rdataclass.IN:
            return dns.rcode.REFUSED
        if self._type in (dns.rdatatype.AXFR, dns.rdatatype.IXFR):
            return dns.rcode.REFUSED
        return None

    async def answer(self, ask: Ask) -> dns.message.Message:
        refusal = self._refusal()
        if refusal is not None:
            self.response.set_rcode(refusal)
            return self.response
        name = self._question.name
        for _ in range(_LONGEST_CHAIN):
            target = self._add(name)
            if target is None:
                return self.response
            if not self._is_ours(target):
                await self._follow(target, ask)
                return self.response
            name = target
        return self.response

    def _is_ours(self, name: dns.name.Name) -> bool:
        text = _text(name)
        return bool(self._book.host(text)) or self._book.known(text) is not None

    def _add(self, name: dns.name.Name) -> dns.name.Name | None:
        """What is known of a name; the next one to look for, if it is but another's alias."""
        text, response = _text(name), self.response
        response.flags |= dns.flags.AA
        addresses = self._book.host(text)
        if addresses:
            if self._type in (dns.rdatatype.A, dns.rdatatype.ANY):
                self._put(name, RecordSet(text, "A", HOST_TTL, tuple(addresses)))
            return None
        pointer = self._book.pointer(text)
        if pointer is not None:
            if self._type in (dns.rdatatype.PTR, dns.rdatatype.ANY):
                self._put(name, RecordSet(text, "PTR", HOST_TTL, (f"{pointer}.",)))
            return None
        known = self._book.known(text)
        if known is None:
            return None
        alias = known.sets.get("CNAME")
        if alias is not None and self._type not in (dns.rdatatype.CNAME, dns.rdatatype.ANY):
            return dns.name.from_text(self._put(name, alias)[0].to_text())
        wanted = [one for kind, one in known.sets.items() if self._type in (dns.rdatatype.ANY, _type(kind))]
        for one in wanted:
            self._put(name, one)
        at_top = text == known.zone.name and self._type in (dns.rdatatype.SOA, dns.rdatatype.ANY)
        if at_top:
            response.answer.append(_soa(known.zone))
        if not wanted and not at_top:
            response.authority.append(_soa(known.zone))
            if not known.exists:
                response.set_rcode(dns.rcode.NXDOMAIN)
        return None

    def _put(self, name: dns.name.Name, one: RecordSet) -> dns.rrset.RRset:
        """As many of its values as an answer has, in an order of chance."""
        chosen = _random.sample(one.values, min(one.most, len(one.values)))
        kind = _type(one.type)
        data = [dns.rdata.from_text(dns.rdataclass.IN, kind, _pointed(one.type, value)) for value in chosen]
        found = dns.rrset.from_rdata_list(name, one.ttl, data)
        self.response.answer.append(found)
        return found

    async def _follow(self, target: dns.name.Name, ask: Ask) -> None:
        """Add what others know of the name that one of ours leads to."""
        self.response.flags &= ~dns.flags.AA
        found = await ask(dns.message.make_query(target, self._type))
        if found is None:
            self.response.set_rcode(dns.rcode.SERVFAIL)
            return
        self.response.set_rcode(found.rcode())
        self.response.answer += found.answer
        self.response.authority += found.authority

    def wire(self, response: dns.message.Message, *, stream: bool) -> bytes:
        """For a client over UDP no more than it takes: the rest is to be asked for over TCP."""
        if stream:
            return response.to_wire()
        most = min(max(self._query.payload, _PLAIN_PAYLOAD), PAYLOAD) if self._query.edns >= 0 else 512
        try:
            return response.to_wire(max_size=most)
        except dns.exception.TooBig:
            short = dns.message.make_response(self._query, recursion_available=True, our_payload=PAYLOAD)
            short.flags |= dns.flags.TC
            return short.to_wire()

    def failure(self) -> bytes:
        """The answer where nobody upstream had one."""
        self.response.set_rcode(dns.rcode.SERVFAIL)
        return self.response.to_wire()


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()


def _type(kind: str) -> dns.rdatatype.RdataType:
    return dns.rdatatype.from_text(kind)


def _pointed(kind: str, value: str) -> str:
    """A CNAME's target is a whole name, however it was written."""
    return f"{value.removesuffix('.')}." if kind == "CNAME" else value


def _soa(zone: Zone) -> dns.rrset.RRset:
    text = f"ns.{zone.name}. hostmaster.{zone.name}. 1 7200 900 1209600 {zone.ttl}"
    return dns.rrset.from_text(f"{zone.name}.", zone.ttl, "IN", "SOA", text)
