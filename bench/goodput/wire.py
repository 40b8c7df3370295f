"""Just enough HTTP/1.1 to call a server on this machine and read its answer, over kept connections."""

import asyncio
import ssl
from dataclasses import dataclass, field


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Client:
    """Connections to one port of this machine."""

    port: int
    headers: dict[str, str] = field(default_factory=dict)
    idle: list = field(default_factory=list)
    tls: ssl.SSLContext | None = None

    async def call(self, method: str, target: str, body: bytes = b"", **headers: str) -> Answer:
        """One exchange. A kept connection that turns out to be closed is replaced, once."""
        while self.idle:
            connection = self.idle.pop()
            try:
                return await self.exchange(connection, method, target, body, headers)
            except (ConnectionError, asyncio.IncompleteReadError):
                connection[1].close()
        connection = await asyncio.open_connection("127.0.0.1", self.port, ssl=self.tls)
        return await self.exchange(connection, method, target, body, headers)

    async def exchange(self, connection, method, target, body, headers) -> Answer:
        reader, writer = connection
        fields = {"Host": f"127.0.0.1:{self.port}", **self.headers, **headers}
        if body:
            fields["Content-Length"] = str(len(body))
        head = f"{method} {target} HTTP/1.1\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        done = False
        try:
            writer.write(head.encode() + b"\r\n" + body)
            answer = parse(await reader.readuntil(b"\r\n\r\n"))
            length = answer.headers.get("content-length")
            if length is None and answer.status != 204:
                raise ValueError(f"{method} {target}: an answer of unknown length")
            answer.body = await reader.readexactly(int(length or 0))
            done = answer.headers.get("connection") != "close"
            return answer
        finally:
            if done:
                self.idle.append(connection)
            else:
                writer.close()

    def close(self):
        for _, writer in self.idle:
            writer.close()
        self.idle.clear()


def parse(head: bytes) -> Answer:
    """Status and fields; names in lower case."""
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    fields = (line.split(":", 1) for line in lines)
    headers = {name.strip().lower(): value.strip() for name, value in fields}
    return Answer(int(first.split(" ", 2)[1]), headers, b"")
