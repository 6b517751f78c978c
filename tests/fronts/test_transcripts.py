"""Conversations of the wire reference, held against a session in memory."""

import json

import pytest
import pytest_twisted

from tests.support.transcript import Connection, Transcript, transcripts
from tests.support.world import furnish

SECONDS = 10


class MemoryConnection(Connection):
    """A client without a transport."""

    def __init__(self, client, reactor):
        self._client = client
        self._reactor = reactor
        self._read = 0

    def send(self, text):
        self._client.send_text(text)

    async def receive(self, subscription_id=None):
        if self._read == len(self._client.messages):
            await self._client.arrival().addTimeout(SECONDS, self._reactor)
        self._read += 1
        return json.dumps(self._client.messages[self._read - 1])

    def close(self):
        self._client.close()


@pytest.mark.parametrize("transcript", transcripts(), ids=lambda transcript: transcript.name)
@pytest_twisted.ensureDeferred
async def test_transcript(transcript, open_server, reactor):
    server = await open_server(hash_password=True)

    async def connect():
        return MemoryConnection(server.connect(), reactor)

    await transcript.run(connect, await furnish(server))


@pytest.mark.parametrize(
    ("text", "difference"),
    [
        ('> {"action":"server/info"}\n< {"action":"server/info","requestId":null,"status":"error","info":"$:any"}', "status"),
        ('> {"action":"server/info"}\n< {"action":"server/info","requestId":null,"status":"success"}', "members"),
        ('> {"action":"server/info","requestId":1}\n< {"action":"server/info","requestId":true,"status":"success","info":"$:any"}', "Id"),
        ('> {"action":"server/info"}\n< {"action":"server/info","requestId":null,"status":"success","info":"$:id"}', "which is no id"),
        ('> {"action":"server/info"}\n< {"action":"$a","requestId":"$a","status":"success","info":"$:any"}', "as \\$a was before"),
        ('a> {"action":"server/info"}', "a got more"),
        ("> [", "got more"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_runner_sees_every_difference(text, difference, tmp_path, server, reactor):
    path = tmp_path / "wrong.transcript"
    path.write_text(text)

    async def connect():
        return MemoryConnection(server.connect(), reactor)

    with pytest.raises(AssertionError, match=difference):
        await Transcript(path).run(connect, {})
