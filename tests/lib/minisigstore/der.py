"""As much DER (X.690) as timestamps and odd certificate extensions need."""

import datetime


def tlv(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    size = len(body)
    if size < 128:
        return bytes([tag, size]) + body
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + body


def sequence(*parts: bytes) -> bytes:
    return tlv(0x30, *parts)


def set_of(*parts: bytes) -> bytes:
    return tlv(0x31, *sorted(parts))


def integer(number: int) -> bytes:
    return tlv(0x02, number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True))


def octets(data: bytes) -> bytes:
    return tlv(0x04, data)


def utf8(text: str) -> bytes:
    return tlv(0x0C, text.encode())


def context(number: int, *parts: bytes, constructed: bool = True) -> bytes:
    return tlv((0xA0 if constructed else 0x80) | number, *parts)


def oid(text: str) -> bytes:
    first, second, *rest = map(int, text.split("."))
    body = b""
    for arc in (first * 40 + second, *rest):
        piece = bytes([arc & 0x7F])
        while arc := arc >> 7:
            piece = bytes([0x80 | (arc & 0x7F)]) + piece
        body += piece
    return tlv(0x06, body)


def generalized_time(seconds: int) -> bytes:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return tlv(0x18, moment.strftime("%Y%m%d%H%M%SZ").encode())


def algorithm(number: str) -> bytes:
    return sequence(oid(number))
