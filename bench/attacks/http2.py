"""Just enough HTTP/2 to call a server on this machine, and to do to it what nobody should."""

import asyncio
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    0, 1, 3, 4, 6, 7, 8, 9,
)  # fmt: skip
END_STREAM, ACK, END_HEADERS = 1, 1, 4
INITIAL_WINDOW_SIZE = 4
CANCEL = 8
# `:status: 200` of the static table: where it stands first, the answer is a 200.
STATUS_200 = 0x88
MOST = 0x7FFF_FFFF


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def literals(fields: list[tuple[str, str]]) -> bytes:
    """Fields in the plainest encoding: literal, not indexed (RFC 7541 section 6.2.2)."""
    out = bytearray()
    for field in fields:
        out.append(0)
        for text in field:
            data = text.encode()
            out += integer(len(data), 7) + data
    return bytes(out)


def integer(value: int, bits: int) -> bytes:
    """RFC 7541 section 5.1."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([value])
    out, value = [most], value - most
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    return bytes([*out, value])


def head(method: str, path: str, scheme: str = "http") -> bytes:
    return literals([(":method", method), (":scheme", scheme), (":authority", "localhost"),
                     (":path", path)])


def get(stream: int, path: str, scheme: str = "http") -> bytes:
    return frame(HEADERS, END_HEADERS | END_STREAM, stream, head("GET", path, scheme))


def setting(name: int, value: int) -> bytes:
    return struct.pack(">HI", name, value)


def wide_open(window: int = MOST) -> bytes:
    """What begins a connection on which everything may come at once."""
    return (
        PREFACE
        + frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, window))
        + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", MOST - 65_535))
    )


class Connection:
    """A polite caller's: many calls at once, each answered by a status and an end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, scheme: str):
        self.reader, self.writer, self.scheme = reader, writer, scheme
        self.next = 1
        self.waiting: dict[int, asyncio.Future] = {}
        self.statuses: dict[int, bool] = {}
        writer.write(wide_open())
        self.task = asyncio.create_task(self.read())

    @property
    def usable(self) -> bool:
        return not self.task.done() and self.next < MOST

    async def get(self, path: str) -> int:
        """200, or 0 for anything else."""
        stream, self.next = self.next, self.next + 2
        done = self.waiting[stream] = asyncio.get_running_loop().create_future()
        self.writer.write(get(stream, path, self.scheme))
        return await done

    async def read(self):
        try:
            while True:
                prefix = await self.reader.readexactly(9)
                length = int.from_bytes(prefix[:3], "big")
                kind, flags, stream = struct.unpack(">BBI", prefix[3:])
                self.take(kind, flags, stream, await self.reader.readexactly(length))
        except (OSError, EOFError):
            pass
        finally:
            self.writer.close()
            for done in self.waiting.values():
                if not done.done():
                    done.set_exception(ConnectionError("closed"))

    def take(self, kind: int, flags: int, stream: int, payload: bytes):
        if kind == SETTINGS and not flags & ACK:
            self.writer.write(frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            self.writer.write(frame(PING, ACK, 0, payload))
        elif kind == GOAWAY:
            raise EOFError
        elif kind == HEADERS and stream not in self.statuses:
            self.statuses[stream] = payload[:1] == bytes([STATUS_200])
        if kind == RST_STREAM or (kind in (HEADERS, DATA) and flags & END_STREAM):
            good = self.statuses.pop(stream, False) and kind != RST_STREAM
            if (done := self.waiting.pop(stream, None)) and not done.done():
                done.set_result(200 if good else 0)

    def close(self):
        self.task.cancel()
